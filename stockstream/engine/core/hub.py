"""All sessions of one server and their clocks."""

from collections.abc import Callable, Iterator
from math import inf
from typing import TYPE_CHECKING, Protocol

from stockstream.engine.core.admission import Admission
from stockstream.engine.core.deadlines import Deadlines
from stockstream.engine.core.handshake import Handshake
from stockstream.engine.core.ports import Abortable, WebSocketPort
from stockstream.engine.errors import HandshakeRefused
from stockstream.engine.limits import Limits
from stockstream.engine.metrics import Metrics

if TYPE_CHECKING:
    from stockstream.engine.core.connection import Connection
    from stockstream.engine.core.outlet import Outlet

#: Why sessions end, in python-socketio's words where it has them.
SERVER_DISCONNECT = "server disconnect"
CLIENT_DISCONNECT = "client disconnect"
PING_TIMEOUT = "ping timeout"
TRANSPORT_CLOSE = "transport close"
TRANSPORT_ERROR = "transport error"
SLOW_CONSUMER = "slow consumer"
CONNECT_TIMEOUT = "connect timeout"


class Listener(Protocol):
    """The layer above. Called in the order of events, never awaited; must not block."""

    def on_message(self, connection: "Connection", data: str | bytes) -> None:
        """Take a message; raising `ProtocolViolation` closes the connection."""

    def on_close(self, connection: "Connection", reason: str) -> None:
        """Take the end of a session; called exactly once for each one that was opened."""


class Hub:
    """Sessions by id, and what is due when.

    Args:
        handshake: What clients are told.
        limits: What they may cost.
        metrics: Where everything is counted.
        listener: Who gets messages and ends.
        clock: Seconds that only grow.
        arm: Called with a time at which `tick` must be called, when that is earlier than before.
        admission: Who counts sessions, where those of several hubs count together.
    """

    def __init__(
        self,
        *,
        handshake: Handshake,
        limits: Limits,
        metrics: Metrics,
        listener: Listener,
        clock: Callable[[], float],
        arm: Callable[[float], None],
        admission: Admission | None = None,
    ) -> None:
        self.handshake = handshake
        self.limits = limits
        self.metrics = metrics
        self.listener = listener
        self.clock = clock
        self.sessions: dict[str, Connection] = {}
        #: False once the server is shutting down.
        self.accepting = True
        self.admission = admission or Admission(limits, metrics)
        # Connections whose first request has not arrived.
        self.head_due: Deadlines[Abortable] = Deadlines(limits.header_seconds, arm)
        self.ping_due: Deadlines[Connection] = Deadlines(handshake.ping_interval, arm)
        self.pong_due: Deadlines[Connection] = Deadlines(handshake.ping_timeout, arm)
        self.connect_due: Deadlines[Connection] = Deadlines(limits.connect_seconds, arm)
        self.upgrade_due: Deadlines[Connection] = Deadlines(limits.upgrade_seconds, arm)
        self.unread_due: Deadlines[Outlet] = Deadlines(limits.slow_consumer_seconds, arm)
        # Polling sessions that have ended and wait for one more poll to say so.
        self.goodbye_due: Deadlines[Connection] = Deadlines(limits.close_seconds, arm)
        # WebSockets that have sent their close frame.
        self.closing_due: Deadlines[WebSocketPort] = Deadlines(limits.close_seconds, arm)

    def admit(self, address: str) -> None:
        """Make room for a session; `remove` gives it back.

        Raises:
            HandshakeRefused: there is none.
        """
        if not self.accepting:
            self.metrics.refused_shutdown += 1
            raise HandshakeRefused(503, 3, "Shutting down", retry_after=1)
        self.admission.enter(address, self.clock())

    def leave(self, address: str) -> None:
        """Give back the room of a session that was admitted but never opened."""
        self.admission.leave(address)

    def add(self, connection: "Connection") -> None:
        """Take in a session that was admitted and has opened."""
        self.sessions[connection.id] = connection
        now = self.clock()
        self.ping_due.start(connection, now)
        self.connect_due.start(connection, now)

    def end(self, connection: "Connection", reason: str) -> None:
        """Stop the clocks of a session, and tell the listener."""
        self.ping_due.cancel(connection)
        self.pong_due.cancel(connection)
        self.connect_due.cancel(connection)
        self.upgrade_due.cancel(connection)
        self.unread_due.cancel(connection)
        self.admission.leave(connection.remote_address)
        metrics = self.metrics
        metrics.closed += 1
        metrics.bytes_in += connection.bytes_in
        metrics.messages_in += connection.messages_in
        self.listener.on_close(connection, reason)

    def remove(self, connection: "Connection") -> None:
        """Forget a session: there is nothing left that it could be told."""
        self.goodbye_due.cancel(connection)
        if self.sessions.pop(connection.id, None) is not None:
            self.metrics.bytes_out += connection.bytes_out
            self.metrics.messages_out += connection.messages_out

    def cut_off(self) -> None:
        """Let go of all that have been told to go and have not."""
        for connection in list(self.sessions.values()):
            connection.forget()
        for port in self.closing_due.expired(inf):
            port.abort()
        for newcomer in self.head_due.expired(inf):
            newcomer.abort()

    def tick(self, now: float) -> float | None:
        """Do all that is due by then; returns when to call again, None if nothing is to come."""
        # All of them first: with very short intervals the next one is due by then as well.
        for connection in list(self.ping_due.expired(now)):
            connection.ping()
        for connection in self.pong_due.expired(now):
            self.metrics.ping_timeouts += 1
            connection.end(PING_TIMEOUT)
        for connection in self.connect_due.expired(now):
            self.metrics.connect_timeouts += 1
            connection.end(CONNECT_TIMEOUT)
        for connection in self.upgrade_due.expired(now):
            connection.fail_probe()
        for outlet in self.unread_due.expired(now):
            outlet.overflow()
        for connection in self.goodbye_due.expired(now):
            connection.forget()
        for port in self.closing_due.expired(now):
            port.abort()
        for newcomer in self.head_due.expired(now):
            self.metrics.slow_heads += 1
            newcomer.abort()
        return min(self._next(), default=None)

    def _next(self) -> Iterator[float]:
        for queue in (
            self.ping_due,
            self.pong_due,
            self.connect_due,
            self.upgrade_due,
            self.unread_due,
            self.goodbye_due,
        ):
            due = queue.next()
            if due is not None:
                yield due
        for due in (self.closing_due.next(), self.head_due.next()):
            if due is not None:
                yield due
