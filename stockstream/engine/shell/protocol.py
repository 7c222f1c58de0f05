"""A WebSocket as an asyncio protocol of its own: no task, no queue, no aiohttp object kept."""

import asyncio
from struct import Struct

from stockstream.engine.core import frames
from stockstream.engine.core.connection import Connection
from stockstream.engine.core.frames import FrameReader
from stockstream.engine.core.hub import Hub
from stockstream.engine.core.message import server_frame
from stockstream.engine.errors import ProtocolViolation
from stockstream.engine.shell.owned import OwnedTransport

_CODE = Struct("!H").pack

# Why nothing is read for now.
_HELD = 1
_THROTTLED = 2


class WebSocketProtocol(OwnedTransport):
    """Reads frames for a connection and is its `WebSocketPort`.

    Args:
        hub: Of the connection.
        transport: The socket's.
        deflates: Whether compression was agreed on.
    """

    __slots__ = ("_blocked", "_failed", "_reader", "_throttle", "_writing_paused")

    def __init__(self, hub: Hub, transport: asyncio.Transport, *, deflates: bool = False) -> None:
        super().__init__(hub, transport)
        self._reader = FrameReader(hub.handshake.max_payload, deflates=deflates)
        # Whether it broke the protocol: what it sends from then on has no meaning.
        self._failed = False
        self._blocked = 0
        self._throttle: asyncio.TimerHandle | None = None
        self._writing_paused = False

    # What the transport calls.

    def data_received(self, data: bytes) -> None:
        """Take bytes."""
        if self._failed:
            return
        self._reader.feed(data)
        self._pump()

    def connection_lost(self, exc: Exception | None) -> None:
        """Take the end of the transport."""
        if self._throttle is not None:
            self._throttle.cancel()
            self._throttle = None
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Stop writing: the transport's buffer is full."""
        self._writing_paused = True
        connection = self._connection
        if connection is not None and connection.is_transport(self):
            connection.pause_writing()

    def resume_writing(self) -> None:
        """Go on writing."""
        self._writing_paused = False
        connection = self._connection
        if connection is not None and connection.is_transport(self):
            connection.resume_writing()

    # What the connection calls.

    def pause_reading(self) -> None:
        """Read nothing until `resume_reading`: handlers lag behind."""
        self._block(_HELD)

    def resume_reading(self) -> None:
        """Go on reading."""
        self._unblock(_HELD)

    def close(self, code: int) -> None:
        """Send a close frame and wait a while for the answer."""
        if self._closing:
            return
        self._closing = True
        self.write(server_frame(frames.CLOSE, _CODE(code)))
        self._hub.closing_due.start(self, self._hub.clock())
        if self._blocked:
            # The answer must get through; what comes before it is read and dropped.
            self._blocked = 0
            self._transport.resume_reading()

    # Reading.

    def _pump(self) -> None:
        try:
            while not self._blocked:
                item = self._reader.next()
                if item is None:
                    return
                self._handle(*item)
        except ProtocolViolation as violation:
            self._fail(violation)

    def _handle(self, opcode: int, payload: str | bytes) -> None:
        if opcode == frames.CLOSE and isinstance(payload, bytes):
            self._answer_close(payload)
        elif self._closing or self._connection is None:
            return
        elif opcode == frames.PING and isinstance(payload, bytes):
            # Unanswered while nothing can be written: the answers must not pile up.
            if not self._writing_paused:
                self.write(server_frame(frames.PONG, payload))
            self._pause_for(self._connection.pace())
        elif opcode == frames.PONG:
            self._pause_for(self._connection.pace())
        else:
            self._receive(self._connection, payload)

    def _receive(self, connection: Connection, payload: str | bytes) -> None:
        if connection.is_transport(self):
            self._pause_for(connection.receive(payload))
            return
        connection.receive_probe(self, payload)
        if self._writing_paused and connection.is_transport(self):
            connection.pause_writing()

    def _answer_close(self, payload: bytes) -> None:
        code = frames.read_close(payload)
        if not self._closing:
            self._closing = True
            self.write(server_frame(frames.CLOSE, _CODE(1000 if code == 1005 else code)))
        self._transport.close()
        # Not left to connection_lost: nothing may be written to a transport that is closing.
        self.connection_lost(None)

    def _fail(self, violation: ProtocolViolation) -> None:
        self._failed = True
        connection = self._connection
        if not self._closing and connection is not None:
            if connection.is_transport(self):
                connection.violate(violation)
            else:
                self._hub.metrics.violations += 1
                self.close(violation.close_code)
        # Half closed, and read on for a while: a client that is still sending would take the reset
        # of a connection for a broken network, and never see why it was closed.
        if self._transport.can_write_eof() and not self._transport.is_closing():
            self._transport.write_eof()

    def _pause_for(self, seconds: float) -> None:
        if not seconds:
            return
        self._block(_THROTTLED)
        if self._throttle is None:
            loop = asyncio.get_running_loop()
            self._throttle = loop.call_later(seconds, self._throttle_over)

    def _throttle_over(self) -> None:
        self._throttle = None
        self._unblock(_THROTTLED)

    def _block(self, why: int) -> None:
        if self._closing:
            return
        if not self._blocked:
            self._transport.pause_reading()
        self._blocked |= why

    def _unblock(self, why: int) -> None:
        if not self._blocked & why:
            return
        self._blocked &= ~why
        if not self._blocked and not self._closing:
            # First what has been read already: it may block again.
            self._pump()
            self._resume_transport()

    def _resume_transport(self) -> None:
        if not self._blocked and not self._transport.is_closing():
            self._transport.resume_reading()
