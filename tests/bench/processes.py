"""The processes of one measurement: a server under test and the load generator."""

import os
import select
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import msgspec

from tests.bench.machine import on_core


class BenchError(Exception):
    """A measurement could not be made; the text says why."""


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """What a server says when it listens."""

    port: int
    #: TCP port that takes the orders.
    control: int
    version: str


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What the load generator saw during one command."""

    clients: int
    #: Connections that the server refused, closed or left without an answer.
    clients_lost: int
    turns: int
    #: Updates times watchers: what had to arrive, and what did.
    expected: int
    received: int
    #: Updates that were not the next one of their client and symbol.
    disorder: int
    #: Updates of symbols that the client had not subscribed to.
    unwanted: int
    #: Packets that are no updates: greetings and the like.
    other: int
    #: Handshakes that were answered with "come back later", and connections that broke in a storm.
    refused: int
    broken: int
    #: From the tick to the arrival; -1 where nothing was delivered.
    p50_us: int
    p99_us: int
    #: From dialing to the answer that refuses; -1 where nobody was refused.
    refusal_p99_us: int
    wall_s: float
    #: CPU time of the generator itself.
    cpu_s: float


class Process:
    """A child process that talks in lines over its standard streams."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        core: int | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._name = Path(command[0]).name
        with on_core(core):
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, **(env or {})},
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def _stdin(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def _stdout(self) -> IO[bytes]:
        assert self._process.stdout is not None
        return self._process.stdout

    def read_line(self, timeout_s: float) -> bytes:
        """The next line; each is written in one piece.

        Raises:
            BenchError: none came in time, or the process has ended.
        """
        ready, _, _ = select.select([self._stdout], [], [], timeout_s)
        line = self._stdout.readline() if ready else b""
        if not line:
            raise BenchError(f"{self._name} says nothing (exit status {self._process.poll()})")
        return line

    def write_line(self, line: str) -> None:
        self._stdin.write(line.encode() + b"\n")
        self._stdin.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Nothing is worth saving in it, and a polite end would wait for thousands of clients.
        self._process.kill()
        self._process.wait()
        self._stdin.close()
        self._stdout.close()


class Server(Process):
    """A server under test, listening when the constructor returns."""

    def __init__(
        self, command: Sequence[str], *, core: int | None = None, env: Mapping[str, str]
    ) -> None:
        super().__init__(command, core=core, env=env)
        try:
            self.ready = msgspec.json.decode(self.read_line(30), type=Ready)
        except BaseException:
            self.__exit__(None, None, None)
            raise

    def collect_garbage(self) -> None:
        """Lets the server give back what it can, so that its memory is what it needs."""
        with socket.create_connection(("127.0.0.1", self.ready.control), 60) as connection:
            connection.sendall(b"collect\n")
            if connection.recv(3) != b"ok\n":
                raise BenchError("the server did not answer to collect")


class Generator(Process):
    """The load generator; its commands are described in load/loadgen.c."""

    #: Longer than any command takes: the generator itself gives up where nothing moves.
    TIMEOUT_S = 600.0

    def __init__(
        self, program: str, to: Ready, *, symbols: int, per_client: int, stall_s: float = 20.0
    ) -> None:
        """Starts it without clients.

        Args:
            program: the compiled generator.
            to: the server, listening.
            symbols: how many there are on the market.
            per_client: how many of them each client watches.
            stall_s: seconds without progress after which a command is given up.
        """
        numbers = (to.port, to.control, symbols, per_client, stall_s)
        super().__init__([program, *map(str, numbers)])

    def ask(self, command: str) -> Answer:
        """Runs one command to its end.

        Raises:
            BenchError: the server lost clients, so that the figures would mean nothing.
        """
        self.write_line(command)
        answer = msgspec.json.decode(self.read_line(self.TIMEOUT_S), type=Answer)
        if answer.clients_lost:
            raise BenchError(f"{answer.clients_lost} clients lost during {command!r}")
        return answer
