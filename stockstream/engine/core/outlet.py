"""The one ordered way out of a client."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from itertools import count

from stockstream.engine.core.hub import Hub
from stockstream.engine.core.message import Message
from stockstream.engine.core.ports import WebSocketPort

#: Frames of a burst joined into one write: enough to save system calls, little enough to notice
#: between two writes that the client stopped reading.
_BURST_BYTES = 65_536

#: Bytes that wait between two polls before older messages give way to newer ones: about what a
#: socket takes of a client that does read.
_KEPT_BYTES = 262_144


_numbers = count()


def _woken() -> None:
    """Stand for a pending poll that was told already."""


class Outlet(ABC):
    """What leaves for one client, in the order in which it was given.

    While the client can take it, a message goes straight to its socket. While it cannot (no
    poll is pending, an upgrade is on its way, its socket is full) messages wait in one ordered
    outbox, limited in bytes and in time.

    Args:
        hub: Of the session.
        port: Its WebSocket, None while it polls.
    """

    __slots__ = (
        "_corked",
        "_hub",
        "_latest",
        "_outbox",
        "_polled",
        "_port",
        "_unread",
        "_write",
        "bytes_out",
        "conflated",
        "dropped",
        "messages_out",
        "open",
    )

    def __init__(self, hub: Hub, port: WebSocketPort | None) -> None:
        self.open = True
        self.bytes_out = self.messages_out = 0
        self.conflated = self.dropped = 0
        self._hub = hub
        self._corked = False
        # number -> key and message, in order; None while nothing waits. A message without a key is
        # never conflated.
        self._outbox: dict[int, tuple[Hashable | None, Message]] | None = None
        # key -> number of its newest message in the outbox.
        self._latest: dict[Hashable, int] | None = None
        # Bytes in the outbox.
        self._unread = 0
        # Whom to tell that a pending poll can be answered.
        self._polled: Callable[[], None] | None = None
        self._port = port
        # Writes straight to the socket; None whenever something must wait.
        self._write: Callable[[bytes], None] | None = None if port is None else port.write

    @abstractmethod
    def overflow(self) -> None:
        """End the session of a client that does not read, without waiting for it."""

    @property
    def writable(self) -> bool:
        """Whether messages go straight to the socket: WebSocket, nothing waits, not full."""
        return self._write is not None

    @property
    def unread_bytes(self) -> int:
        """Bytes that wait in the outbox."""
        return self._unread

    def send(self, message: Message) -> None:
        """Send a message in order; it is never conflated.

        A client whose outbox passes `Limits.unread_bytes` is closed with `slow consumer`.
        To a session that has ended it is dropped, and counted.
        """
        write = self._write
        if write is None:
            self._wait(None, message)
            return
        frame = message.frame
        self.messages_out += 1
        self.bytes_out += len(frame)
        write(frame)

    def offer(self, key: Hashable, message: Message) -> None:
        """Send a message in order, if need be instead of an older one.

        While the client does not read, an older message with the same key is dropped and the
        newer one waits behind everything else: what leaves is in the order in which it was
        given. Nothing starves, for all that waits leaves together. Between two polls, or while
        its transport changes, a client is given time: some 256 KiB wait before anything is dropped.
        """
        write = self._write
        if write is None:
            self._wait(key, message)
            return
        frame = message.frame
        self.messages_out += 1
        self.bytes_out += len(frame)
        write(frame)

    def offer_many(self, items: Sequence[tuple[Hashable | None, Message]]) -> None:
        """Do as `offer` for each item; while the client can take it, in one write."""
        frames: list[bytes] = []
        size = 0
        for key, message in items:
            write = self._write
            if write is None:
                self._wait(key, message)
                continue
            frames.append(message.frame)
            size += len(message.frame)
            if size >= _BURST_BYTES:
                self._write_frames(write, frames, size)
                frames, size = [], 0
        if frames and self._write is not None:
            self._write_frames(self._write, frames, size)

    def withdraw(self, key: Hashable) -> bool:
        """Drop the waiting messages with this key; False if none waits."""
        outbox, latest = self._outbox, self._latest
        if outbox is None or latest is None or latest.pop(key, None) is None:
            return False
        for number in [number for number, (other, _) in outbox.items() if other == key]:
            self._unread -= len(outbox.pop(number)[1].frame)
        return True

    def _write_frames(self, write: Callable[[bytes], None], frames: list[bytes], size: int) -> None:
        self.messages_out += len(frames)
        self.bytes_out += size
        write(frames[0] if len(frames) == 1 else b"".join(frames))

    def _wait(self, key: Hashable | None, message: Message) -> None:
        if not self.open:
            self.dropped += 1
            self._hub.metrics.dropped += 1
            return
        self._put(key, message)
        if self._corked:
            if self._unread >= _BURST_BYTES:
                self.uncork()
        elif self._unread > self._hub.limits.unread_bytes:
            self.overflow()
        else:
            self._wake_poll()

    def _put(self, key: Hashable | None, message: Message) -> None:
        hub = self._hub
        if not self._outbox and not self._corked and self not in hub.unread_due:
            hub.unread_due.start(self, hub.clock())
        self._append(key, message)
        self._unread += len(message.frame)

    def _append(self, key: Hashable | None, message: Message) -> None:
        outbox, latest = self._outbox, self._latest
        if outbox is None or latest is None:
            outbox, latest = self._outbox, self._latest = {}, {}
        number = next(_numbers)
        if key is not None:
            older = latest.get(key)
            if older is not None and not self._keeps:
                # Popped, not replaced: the newer one has its place at the end.
                self._unread -= len(outbox.pop(older)[1].frame)
                self.conflated += 1
                self._hub.metrics.conflated += 1
            latest[key] = number
        outbox[number] = key, message

    @property
    def _keeps(self) -> bool:
        """Whether what waits does so without the client being slow."""
        most = min(_KEPT_BYTES, self._hub.limits.unread_bytes // 2)
        return (self._port is None or self._corked) and self._unread < most

    def _take(self) -> list[Message]:
        waiting = [message for _, message in self._outbox.values()] if self._outbox else []
        self._outbox = self._latest = None
        self._unread = 0
        self.messages_out += len(waiting)
        return waiting

    def _drop(self) -> None:
        lost = len(self._outbox) if self._outbox else 0
        self._outbox = self._latest = None
        self._unread = 0
        self.dropped += lost
        self._hub.metrics.dropped += lost

    def _flush(self) -> None:
        """Let all that waits go to the WebSocket, and everything after it go straight there."""
        port = self._port
        if port is None:
            return
        self._hub.unread_due.cancel(self)
        self._write = port.write
        outbox = self._outbox
        if not outbox:
            return
        self._outbox = self._latest = None
        self._unread = 0
        self.offer_many(list(outbox.values()))

    def _wake_poll(self) -> None:
        # Stays pending, so that another poll beside it is noticed, until it is answered.
        wake = self._polled
        if wake is not None:
            self._polled = _woken
            wake()

    # Flow control.

    def cork(self) -> bool:
        """Gather what is sent until `uncork`; False if something keeps it waiting anyway.

        For the answers to a burst of events: they leave in one write. Ends by itself when much
        has gathered.
        """
        if self._write is None:
            return False
        self._write = None
        self._corked = True
        return True

    def uncork(self) -> None:
        """Send what was gathered."""
        if self._corked:
            self._corked = False
            if self.open:
                self._flush()

    def pause_writing(self) -> None:
        """Stop writing: the WebSocket's buffer is full."""
        if self._port is not None and self.open:
            self._write = None
            self._corked = False
            self._hub.unread_due.start(self, self._hub.clock())

    def resume_writing(self) -> None:
        """Go on writing: the buffer has room again."""
        if self._port is not None and self.open:
            self._flush()
