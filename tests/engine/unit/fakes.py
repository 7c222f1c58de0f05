"""A hub without sockets: time, WebSockets and the layer above, as far as the core sees them."""

from collections.abc import Callable

from stockstream.engine import Limits, Metrics
from stockstream.engine.core.connection import Connection
from stockstream.engine.core.handshake import Handshake
from stockstream.engine.core.hub import Hub


class FakeSocket:
    """A WebSocket that notes what is done to it."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closed_with: int | None = None
        self.aborted = False
        self.reading = True
        self.when_written: Callable[[], None] = lambda: None

    def write(self, data: bytes, /) -> None:
        assert self.closed_with is None, "written after the close frame"
        self.written.append(data)
        self.when_written()

    def close(self, code: int) -> None:
        if self.closed_with is None:
            self.closed_with = code

    def abort(self) -> None:
        self.aborted = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    @property
    def texts(self) -> list[str]:
        """The packets of all frames written (short text frames only)."""
        data = b"".join(self.written)
        found = []
        while data:
            size = data[1]
            assert data[0] == 0x81
            assert size < 126
            found.append(data[2 : 2 + size].decode())
            data = data[2 + size :]
        return found


class FakeHub:
    """A hub, its clock, and what its listener was told."""

    def __init__(self, limits: Limits | None = None, handshake: Handshake | None = None) -> None:
        self.now = 100.0
        self.received: list[tuple[str, str | bytes]] = []
        self.closed: list[tuple[str, str]] = []
        self.armed: list[float] = []
        self.metrics = Metrics()
        self.hub = Hub(
            handshake=handshake or Handshake(),
            limits=limits or Limits(),
            metrics=self.metrics,
            listener=self,
            clock=lambda: self.now,
            arm=self.armed.append,
        )

    def on_message(self, connection: Connection, data: str | bytes) -> None:
        self.received.append((connection.id, data))

    def on_close(self, connection: Connection, reason: str) -> None:
        self.closed.append((connection.id, reason))

    def websocket(self, sid: str = "ws") -> tuple[Connection, FakeSocket]:
        """Open a session on a WebSocket."""
        socket = FakeSocket()
        self.hub.admit("192.0.2.1")
        return Connection(self.hub, sid, "192.0.2.1", socket), socket

    def polling(self, sid: str = "poll") -> Connection:
        """Open a session on long-polling."""
        self.hub.admit("192.0.2.1")
        return Connection(self.hub, sid, "192.0.2.1", None)

    def pass_time(self, seconds: float) -> None:
        """Let time pass as the shared timer would."""
        self.now += seconds
        self.hub.tick(self.now)


class FakePoll:
    """A GET that may have to wait."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.woken = connection.begin_poll(self._wake)

    def _wake(self) -> None:
        self.woken = True

    def answer(self) -> list[str]:
        """Return the packets that it gets."""
        assert self.woken
        return self._connection.answer_poll().decode().split("\x1e")
