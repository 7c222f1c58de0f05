"""An unmodified JavaScript client, 3.x or 4.x, that a test gives orders to."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from tests.support.npm import NodeProgram, run_node


@dataclass(frozen=True, kw_only=True, slots=True)
class ClientKind:
    """Which client, and how it connects."""

    #: Major version of socket.io-client: 3 or 4.
    version: int
    #: Transports in the order of trying.
    transports: tuple[str, ...]
    #: Whether it moves on from long-polling to WebSocket.
    upgrade: bool = False
    #: Whether it speaks MessagePack.
    msgpack: bool = False

    def __str__(self) -> str:
        way = "upgrade" if self.upgrade else self.transports[0]
        return f"{self.version}.x-{way}{'-msgpack' if self.msgpack else ''}"


class JsClient:
    """A running client. It reports what happens to it; nothing it said is lost."""

    def __init__(self, program: NodeProgram) -> None:
        """Speak with a running tests/js/client.js."""
        self._program = program
        #: All that the client reported so far, oldest first.
        self.heard: list[dict[str, Any]] = []
        self._tags = 0

    async def hear(self, kind: str, **facts: object) -> dict[str, Any]:
        """Wait for the next report of that kind with these facts, and return it."""
        wanted = {"is": kind, **facts}
        while True:
            report = await self.hear_any()
            if all(report.get(name) == value for name, value in wanted.items()):
                return report

    async def hear_count(self, kind: str, count: int) -> list[dict[str, Any]]:
        """Wait until so many reports of that kind came, from the start on; returns them."""
        while len(found := self.all(kind)) < count:
            await self.hear_any()
        return found

    def all(self, kind: str) -> list[dict[str, Any]]:
        """Return every report of that kind so far."""
        return [report for report in self.heard if report["is"] == kind]

    async def emit(self, event: str, *args: object) -> None:
        """Have it send an event."""
        await self._program.send({"emit": [event, *args]})

    async def call(self, event: str, *args: object) -> list[Any]:
        """Have it send an event and return the arguments of the acknowledgement."""
        self._tags += 1
        await self._program.send({"call": [event, *args], "tag": self._tags})
        answer: list[Any] = (await self.hear("answer", tag=self._tags))["args"]
        return answer

    async def record(self, run: str, *, first: int, count: int, size: int) -> None:
        """Have it send numbered events in one go, each of so many bytes."""
        await self._program.send({"record": run, "first": first, "count": count, "size": size})

    async def stream(self, run: str, *, size: int, every: int) -> None:
        """Have it send one numbered event every so many milliseconds."""
        await self._program.send({"stream": run, "size": size, "every": every})

    async def end_stream(self) -> None:
        """End the stream, once one of the events sent from now on was acknowledged.

        The connection over which that came was made after all the faults so far.
        """
        await self._program.send({"mark": True})
        first = (await self.hear("mark"))["n"]
        while (await self.hear("recorded"))["n"] < first:
            pass
        await self._program.send({"stop": True})

    async def hear_any(self) -> dict[str, Any]:
        """Wait for the next report, whatever it is."""
        report: dict[str, Any] = await self._program.read()
        self.heard.append(report)
        return report


@asynccontextmanager
async def js_client(
    kind: ClientKind, port: int, *, namespace: str = "/", on_connect: Sequence[object] = ()
) -> AsyncIterator[JsClient]:
    """Run a client against 127.0.0.1:`port`; `on_connect` is what it emits on each connection."""
    options: dict[str, object] = {
        "version": kind.version,
        "port": port,
        "namespace": namespace,
        "transports": kind.transports,
        "upgrade": kind.upgrade,
        "msgpack": kind.msgpack,
    }
    if on_connect:
        options["onConnect"] = list(on_connect)
    async with run_node("client.js", json.dumps(options)) as program:
        yield JsClient(program)
