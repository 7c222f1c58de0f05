"""A TCP proxy that treats the bytes between a client and a server badly, in a repeatable way."""

import asyncio
import random
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

#: Most bytes taken from a socket in one read.
READ_BYTES = 65_536

_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]

#: SO_LINGER on with a time of zero: closing the socket then sends RST instead of FIN.
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Faults:
    """What happens to the bytes of each connection, in both directions."""

    #: Bytes are passed on in pieces of at most so many bytes, each a TCP segment of its own.
    segment_bytes: int | None = None
    #: Before each piece the proxy waits a random time of up to so many seconds.
    delay_seconds: float = 0.0
    #: Bytes a second for each direction of each connection; None: as fast as it goes.
    rate: float | None = None
    #: A connection is reset once it has passed on so many bytes, both directions together.
    #: The smallest and the largest count: each connection draws its own.
    abort_after_bytes: tuple[int, int] | None = None


class FaultProxy:
    """Passes TCP connections on to one server, with faults.

    The same seed, faults and order of connections give the same delays and abort points.
    An async context manager: leaving it resets whatever is still open.
    """

    def __init__(
        self,
        port: int,
        *,
        host: str = "127.0.0.1",
        faults: Faults | None = None,
        seed: int = 0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Prepare a proxy to `host:port`; `sleep` takes the seconds of every wait."""
        self._upstream = (host, port)
        #: May be replaced at any time: pieces and connections from then on are treated so.
        self.faults = faults or Faults()
        self._random = random.Random(seed)
        self._sleep = sleep
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._passing = asyncio.Event()
        self._passing.set()
        self._trap: _Trap | None = None
        self._listener: socket.socket | None = None
        # Accepted, and not yet in the hands of a task that has begun.
        self._unclaimed: set[socket.socket] = set()
        #: Port on 127.0.0.1 that clients connect to, known once the proxy was entered.
        self.port = 0
        #: Connections accepted so far.
        self.accepted = 0
        #: Connections that were reset by the proxy, on command or at their byte limit.
        self.aborted = 0

    async def __aenter__(self) -> Self:
        # Not `asyncio.start_server`: it loses a connection, unclosed, that it is accepting while
        # it is closed.
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._listener.setblocking(False)
        self.port = self._listener.getsockname()[1]
        asyncio.get_running_loop().add_reader(self._listener, self._accept)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._listener is not None
        asyncio.get_running_loop().remove_reader(self._listener)
        self._listener.close()
        for link in self._links:
            link.reset()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        # Those whose tasks were cancelled before their first step.
        for connection in self._unclaimed:
            connection.close()

    @property
    def open_connections(self) -> int:
        """Connections that are being passed on now."""
        return len(self._links)

    def blackhole(self) -> None:
        """Stop passing bytes on, in silence: nothing is closed, what is sent waits."""
        self._passing.clear()

    def close_between(self, begins: bytes, ends: bytes) -> asyncio.Event:
        """Close one connection at a certain point, with all others in a blackhole by then.

        Args:
            begins: The first connection that is to pass this on is the one; nothing more is
                passed on for others until `restore`.
            ends: It is closed when it has passed this on, to either side. Both must come in one
                piece.

        Returns:
            What is set when it has been closed.
        """
        self._trap = _Trap(begins, ends)
        return self._trap.closed

    def restore(self) -> None:
        """End the blackhole; what waited is passed on."""
        self._passing.set()

    def abort(self) -> int:
        """Reset every open connection on both sides; returns how many there were."""
        before = self.aborted
        for link in self._links:
            self._reset(link)
        return self.aborted - before

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            connection, _ = self._listener.accept()
        except OSError:
            # It has gone before it was accepted.
            return
        connection.setblocking(False)
        self.accepted += 1
        self._unclaimed.add(connection)
        task = asyncio.create_task(self._serve(connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, connection: socket.socket) -> None:
        self._unclaimed.discard(connection)
        limit = self.draw_limit()
        there, back = (random.Random(self._random.getrandbits(64)) for _ in range(2))
        client = await asyncio.open_connection(sock=connection)
        try:
            upstream = await asyncio.open_connection(*self._upstream)
        except OSError:
            client[1].transport.abort()
            return
        except asyncio.CancelledError:
            client[1].transport.abort()
            raise
        link = _Link(client, upstream, bytes_left=limit)
        self._links.add(link)
        try:
            link.send_at_once()
            async with asyncio.TaskGroup() as directions:
                directions.create_task(self._pass_on(link, client[0], upstream[1], there))
                directions.create_task(self._pass_on(link, upstream[0], client[1], back))
        except OSError:
            # The client went away while it was being connected.
            link.reset()
        finally:
            link.close()
            self._links.discard(link)

    def draw_limit(self) -> int | None:
        """Return the byte limit of the next connection, None for none."""
        between = self.faults.abort_after_bytes
        return None if between is None else self._random.randint(*between)

    async def _pass_on(
        self,
        link: "_Link",
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        delays: random.Random,
    ) -> None:
        try:
            while data := await reader.read(READ_BYTES):
                for piece in self._pieces(data):
                    await self._wait_before(link, piece, delays)
                    if link.spend(len(piece)):
                        self._reset(link)
                        return
                    writer.write(piece)
                    if self._trap is not None and self._trap.ends_with(link, piece):
                        self._trap = None
                        link.close()
                        return
                    await writer.drain()
            if writer.can_write_eof():
                writer.write_eof()
        except OSError:
            # One side went away without a word: the other one is told in the same way.
            link.reset()

    def _pieces(self, data: bytes) -> list[bytes]:
        size = self.faults.segment_bytes or len(data)
        return [data[start : start + size] for start in range(0, len(data), size)]

    async def _wait_before(self, link: "_Link", piece: bytes, delays: random.Random) -> None:
        if self._trap is not None and self._trap.begins_with(link, piece):
            self.blackhole()
        seconds = delays.uniform(0, self.faults.delay_seconds)
        if self.faults.rate is not None:
            seconds += len(piece) / self.faults.rate
        if seconds:
            await self._sleep(seconds)
        if self._trap is None or self._trap.link is not link:
            await self._passing.wait()

    def _reset(self, link: "_Link") -> None:
        # Both directions may come to the limit.
        if not link.is_reset:
            self.aborted += 1
            link.reset()


class _Trap:
    """See `FaultProxy.close_between`."""

    def __init__(self, begins: bytes, ends: bytes) -> None:
        self._begins = begins
        self._ends = ends
        self.link: _Link | None = None
        self.closed = asyncio.Event()

    def begins_with(self, link: "_Link", piece: bytes) -> bool:
        """Whether a connection is caught, from this piece on."""
        if self.link is not None or self._begins not in piece:
            return False
        self.link = link
        return True

    def ends_with(self, link: "_Link", piece: bytes) -> bool:
        """Whether a connection is to be closed now that this piece was passed on."""
        if link is not self.link or self._ends not in piece:
            return False
        self.closed.set()
        return True


class _Link:
    """One client connection and its counterpart to the server."""

    def __init__(
        self,
        client: _Streams,
        upstream: _Streams,
        *,
        bytes_left: int | None,
    ) -> None:
        self._writers = (client[1], upstream[1])
        self._bytes_left = bytes_left
        self.is_reset = False

    def send_at_once(self) -> None:
        """Have each piece leave as a segment of its own.

        Raises:
            OSError: One of the sides is closed already.
        """
        for writer in self._writers:
            _socket(writer).setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def spend(self, count: int) -> bool:
        """Take `count` bytes off the limit; True once it is used up."""
        if self._bytes_left is None:
            return False
        self._bytes_left -= count
        return self._bytes_left < 0

    def reset(self) -> None:
        """End both sides at once, with RST."""
        self.is_reset = True
        for writer in self._writers:
            if not writer.transport.is_closing():
                _socket(writer).setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
                writer.transport.abort()

    def close(self) -> None:
        """Let go of both sides after their last byte."""
        for writer in self._writers:
            writer.close()


def _socket(writer: asyncio.StreamWriter) -> socket.socket:
    found = writer.get_extra_info("socket")
    assert found is not None
    # asyncio hands out a wrapper without public way in; setsockopt is what both have.
    return found  # type: ignore[no-any-return]
