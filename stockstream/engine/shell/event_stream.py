"""Streams of Server-Sent Events over aiohttp, written straight to their transports."""

import asyncio
import secrets
from collections.abc import Callable, Mapping
from typing import Final

from aiohttp import hdrs, web

from stockstream.engine.core.connection import Connection
from stockstream.engine.core.handshake import Handshake
from stockstream.engine.core.hub import Hub
from stockstream.engine.core.message import Raw
from stockstream.engine.core.stream import StreamConnection
from stockstream.engine.limits import Limits
from stockstream.engine.shell.owned import OwnedTransport
from stockstream.engine.shell.takeover import Takeover
from stockstream.engine.shell.timer import SharedTimer

#: What proxies need to pass events on as they come: nginx does not gather, nobody compresses.
HEADERS: Final = {
    hdrs.CONTENT_TYPE: "text/event-stream",
    hdrs.CACHE_CONTROL: "no-store, no-transform",
    "X-Accel-Buffering": "no",
}
#: Bytes that a client may send behind its request; whoever listens has nothing to say.
_MOST_READ: Final = 65_536


class StreamProtocol(OwnedTransport):
    """Writes for a connection, and notices its end; what the client sends is dropped."""

    __slots__ = ("_read",)

    def __init__(self, hub: Hub, transport: asyncio.Transport) -> None:
        super().__init__(hub, transport)
        self._read = 0

    # What the transport calls.

    def data_received(self, data: bytes) -> None:
        """Take bytes."""
        self._read += len(data)
        if self._read > _MOST_READ and not self._closing:
            self._hub.metrics.violations += 1
            self.abort()

    def pause_writing(self) -> None:
        """Stop writing: the transport's buffer is full."""
        if self._connection is not None:
            self._connection.pause_writing()

    def resume_writing(self) -> None:
        """Go on writing."""
        if self._connection is not None:
            self._connection.resume_writing()

    # What the connection calls.

    def pause_reading(self) -> None:
        """Do nothing: what is read is dropped anyway."""

    def resume_reading(self) -> None:
        """Do nothing: see `pause_reading`."""

    def close(self, code: int) -> None:
        """End once what is buffered has left, or has not for a while."""
        if not self._closing:
            self._closing = True
            self._hub.closing_due.start(self, self._hub.clock())
            self._transport.close()


class EventStreams:
    """All streams of a server, within its limits and counted together with its sessions.

    Args:
        beside: Sessions that count together with these, in limits and in metrics.
        heartbeat: Seconds between two signs of life.
        limits: What clients may cost.
        on_close: Called with a connection that has ended, and why.
    """

    def __init__(
        self,
        *,
        beside: Hub,
        heartbeat: float,
        limits: Limits,
        on_close: Callable[[Connection, str], None],
    ) -> None:
        self._timer = SharedTimer(self._tick, None)
        self._on_close = on_close
        self.limits = limits
        self.hub = Hub(
            handshake=Handshake(ping_interval=heartbeat),
            limits=limits,
            metrics=beside.metrics,
            listener=self,
            clock=self._timer.now,
            arm=self._timer.arm,
            admission=beside.admission,
        )

    async def open(
        self,
        request: web.Request,
        address: str,
        headers: Mapping[str, str],
        on_open: Callable[[StreamConnection], None],
    ) -> web.StreamResponse:
        """Answer a request with a stream.

        Args:
            request: To be answered.
            address: Of the client.
            headers: Beside those that every stream has.
            on_open: Called with the client's connection once its head has left.

        Raises:
            HandshakeRefused: there is no room, now; says when to try again.
        """
        self.hub.admit(address)
        response = Takeover(200, {**HEADERS, **headers})
        opened = False
        try:
            await response.begin(request, b"")
            if request.transport is not None:
                port = StreamProtocol(self.hub, request.transport)
                connection = StreamConnection(self.hub, secrets.token_urlsafe(15), address, port)
                opened = True
                port.serve(connection)
                self.hub.metrics.opened_stream += 1
                response.hand_over(request, port)
                on_open(connection)
        finally:
            if not opened:
                self.hub.leave(address)
        return response

    async def shutdown(self, goodbye: Callable[[], Raw]) -> None:
        """Take no more clients, end the streams of those that are here, wait until they have gone.

        Takes at most `Limits.close_seconds`; who has not gone by then is cut off.

        Args:
            goodbye: Makes the last thing that a client is told.
        """
        self.hub.accepting = False
        for connection in [each for each in self.hub.sessions.values() if each.open]:
            connection.send(goodbye())
            connection.end("server shutting down")
        await self._timer.wait_for(
            lambda: not self.hub.sessions and not self.hub.closing_due, self.limits.close_seconds
        )
        self.hub.cut_off()
        self._timer.stop()

    # What the hub asks of its listener.

    def on_message(self, connection: Connection, data: str | bytes) -> None:
        """Never called: nothing that a client sends is taken for a message."""

    def on_close(self, connection: Connection, reason: str) -> None:
        """Pass the end of a stream on."""
        self._on_close(connection, reason)

    def _tick(self, now: float) -> float | None:
        return self.hub.tick(now)
