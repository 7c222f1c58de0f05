"""What stands before nodes in these tests: new connections go to one of them, as a test says."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit


class Balancer:
    """Passes TCP connections on to the node that is chosen when they begin."""

    def __init__(self, url: str) -> None:
        self.choose(url)
        self.port = 0
        self._open: set[asyncio.Task[None]] = set()

    def choose(self, url: str) -> None:
        """Send new connections to this node from now on."""
        parts = urlsplit(url)
        assert parts.port is not None
        self._target = parts.port

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            backend = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.close()
            return
        for source, sink in ((reader, backend[1]), (backend[0], writer)):
            task = asyncio.create_task(_pass_on(source, sink))
            self._open.add(task)
            task.add_done_callback(self._open.discard)

    async def close(self) -> None:
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)


async def _pass_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        with suppress(OSError):
            while data := await source.read(65_536):
                sink.write(data)
                await sink.drain()
    finally:
        sink.close()


@asynccontextmanager
async def balancing(url: str) -> AsyncIterator[Balancer]:
    """Run a balancer that sends everybody to this node at first."""
    balancer = Balancer(url)
    server = await asyncio.start_server(balancer.serve, "127.0.0.1", 0)
    balancer.port = server.sockets[0].getsockname()[1]
    try:
        yield balancer
    finally:
        server.close()
        await balancer.close()
