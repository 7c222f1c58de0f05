"""A real Redis of the test's own."""

import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from tests.support.ports import free_port
from tests.support.processes import DEADLINE, POLL_INTERVAL, Child


class RedisServer:
    """A redis-server on a port of its own that it keeps when it is stopped and started again.

    Nothing is persistent: after a restart it is empty.
    """

    def __init__(self, folder: Path, options: tuple[str, ...]) -> None:
        self.port = free_port()
        self._folder = folder
        self._options = options
        self._child: Child | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it and wait until it answers, which takes some hundredths of a second."""
        assert self._child is None, "Redis runs already"
        self._child = Child(self._command(), self._folder / "redis.log", None)
        deadline = time.monotonic() + DEADLINE
        while not self._answers():
            assert self._child.running, f"Redis ended:\n{self._child.output()}"
            assert time.monotonic() < deadline, f"no answer:\n{self._child.output()}"
            time.sleep(POLL_INTERVAL)

    def stop(self) -> None:
        """Shut it down; it closes its connections. Does nothing where it does not run."""
        if self._child is not None:
            self._child.end()
            self._child = None

    def kill(self) -> None:
        """End it at once; `start` brings it back."""
        self.child.kill()
        self._child = None

    def pause(self) -> None:
        """Keep it from answering while its connections stay open."""
        self.child.pause()

    def resume(self) -> None:
        """Let it run on after `pause`."""
        self.child.resume()

    def flush(self) -> None:
        """Remove every key."""
        with redis.Redis(port=self.port) as client:
            client.flushall()

    @property
    def child(self) -> Child:
        """The process that runs now."""
        assert self._child is not None, "Redis does not run"
        return self._child

    def _command(self) -> list[str]:
        own = ["--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self._folder)]
        volatile = ["--save", "", "--appendonly", "no"]
        return ["redis-server", *own, *volatile, *self._options]

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16) == b"+PONG\r\n"
        except OSError:
            return False


@contextmanager
def running_redis(*options: str) -> Iterator[RedisServer]:
    """Run a Redis, with further options of redis-server, for as long as the context lasts."""
    with tempfile.TemporaryDirectory(prefix="stockstream-redis-") as folder:
        server = RedisServer(Path(folder), options)
        try:
            server.start()
            yield server
        finally:
            server.stop()
