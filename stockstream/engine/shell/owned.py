"""A transport that aiohttp has accepted and that belongs to a protocol of ours from then on."""

import asyncio
from abc import ABC, abstractmethod

from stockstream.engine.core.connection import Connection
from stockstream.engine.core.hub import Hub


class OwnedTransport(asyncio.Protocol, ABC):
    """Stands between a transport and a connection: tells the one what becomes of the other.

    aiohttp feeds it through `feed_data` until the transport has been handed over; from then on
    the transport calls it directly.

    Args:
        hub: Of the connection.
        transport: The socket's.
    """

    __slots__ = ("_closing", "_connection", "_hub", "_owned", "_transport", "write")

    def __init__(self, hub: Hub, transport: asyncio.Transport) -> None:
        self._hub = hub
        self._transport = transport
        self._connection: Connection | None = None
        self._owned = False
        self._closing = False
        # A slot, not a method: the connection writes to the transport without a detour.
        self.write = transport.write

    def serve(self, connection: Connection) -> None:
        """Tell this connection from now on what is read, and what becomes of the transport."""
        self._connection = connection

    # What aiohttp calls as long as the transport is still its own.

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Take bytes that arrived behind the request."""
        self.data_received(data)
        return False, b""

    def feed_eof(self) -> None:
        """Take the end of the transport, unless it is aiohttp that lets go of it."""
        if not self._owned:
            self.connection_lost(None)

    def own(self, transport: asyncio.Transport, *, writing_paused: bool) -> None:
        """Become the protocol of the transport."""
        self._owned = True
        transport.set_protocol(self)
        transport.set_write_buffer_limits(high=self._hub.limits.transport_bytes)
        if writing_paused:
            self.pause_writing()

    # What the transport calls.

    def eof_received(self) -> bool:
        """Let the transport close."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Take the end of the transport."""
        self._closing = True
        self._hub.closing_due.cancel(self)
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.lose_websocket(self)

    # What the connection calls.

    @abstractmethod
    def pause_reading(self) -> None:
        """Take nothing more from the client until `resume_reading`."""

    @abstractmethod
    def resume_reading(self) -> None:
        """Go on reading."""

    @abstractmethod
    def close(self, code: int) -> None:
        """End in good order; the close code is for clients that can be told one."""

    def abort(self) -> None:
        """End at once; what is still buffered is lost."""
        self._closing = True
        self._transport.abort()
