"""One client: the state of its session, and its one ordered way out."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any

from stockstream.engine.core.handshake import POLLING, WEBSOCKET
from stockstream.engine.core.hub import (
    CLIENT_DISCONNECT,
    SLOW_CONSUMER,
    TRANSPORT_CLOSE,
    TRANSPORT_ERROR,
    Hub,
)
from stockstream.engine.core.message import Message
from stockstream.engine.core.packets import (
    CLOSE,
    MESSAGE,
    NOOP,
    PONG,
    PROBE_ANSWER,
    SEPARATOR,
    UPGRADE,
)
from stockstream.engine.core.ports import InboundPort, WebSocketPort
from stockstream.engine.errors import LimitViolation, PacketViolation, ProtocolViolation

# States of a session.
_OPEN = 0
# Ended; a polling client is told so by its next poll.
_LEAVING = 1
_GONE = 2

# Steps of an upgrade.
_NO_PROBE = 0
_PROBE_OPENED = 1
_PROBE_ANSWERED = 2

#: Frames of a burst joined into one write: enough to save system calls, little enough to notice
#: between two writes that the client stopped reading.
_BURST_BYTES = 65_536


def _woken() -> None:
    """Stand for a pending poll that was told already."""


class Connection:
    """One client of the engine.

    Everything for the client leaves in the order in which it was given, whatever the transport,
    also while that changes. While the client can take it, a message goes straight to its
    socket. While it cannot (no poll is pending, an upgrade is on its way, its socket is full)
    messages wait in one ordered outbox, limited in bytes and in time.

    Attributes:
        id: Engine.IO session id.
        transport: `polling` or `websocket`.
        remote_address: The client's address; taken from forwarded headers only where they come
            from a trusted proxy.
        connected_at: When the session was opened, in seconds of the server's clock
            (`loop.time()`).
        bytes_in, bytes_out: Bytes of packets (WebSocket: of frames sent, of payloads received).
        messages_in, messages_out: Messages; heartbeats and the like count among those sent only.
        conflated: Waiting messages replaced by newer ones with the same key.
        dropped: Messages that came too late: the session had ended.
        context: For the layer above.
    """

    __slots__ = (
        "__weakref__",
        "_corked",
        "_hub",
        "_inbound",
        "_outbox",
        "_pace",
        "_polled",
        "_port",
        "_probe",
        "_probe_step",
        "_state",
        "_unread",
        "_write",
        "bytes_in",
        "bytes_out",
        "conflated",
        "connected_at",
        "context",
        "dropped",
        "held",
        "id",
        "messages_in",
        "messages_out",
        "remote_address",
        "transport",
    )

    def __init__(self, hub: Hub, sid: str, address: str, port: WebSocketPort | None) -> None:
        self.id = sid
        self.remote_address = address
        self.connected_at = hub.clock()
        self.bytes_in = self.bytes_out = self.messages_in = self.messages_out = 0
        self.conflated = self.dropped = 0
        self.context: Any = None
        #: Whether its packets are not taken for now, because their handlers lag behind.
        self.held = False
        self._hub = hub
        self._state = _OPEN
        self._corked = False
        # key -> message, in order; None while nothing waits.
        self._outbox: dict[Hashable, Message] | None = None
        # Bytes in the outbox.
        self._unread = 0
        # Whom to tell that a pending poll can be answered.
        self._polled: Callable[[], None] | None = None
        self._inbound: InboundPort | None = port
        self._probe: WebSocketPort | None = None
        self._probe_step = _NO_PROBE
        # When the inbound allowance is used up, in seconds of the clock (see `pace`).
        self._pace = 0.0
        self._port = port
        # Writes straight to the socket; None whenever something must wait.
        self._write: Callable[[bytes], None] | None = None if port is None else port.write
        self.transport = POLLING if port is None else WEBSOCKET
        hub.add(self)

    # The way out.

    @property
    def writable(self) -> bool:
        """Whether messages go straight to the socket: WebSocket, nothing waits, not full."""
        return self._write is not None

    @property
    def open(self) -> bool:
        """Whether the session has not ended."""
        return self._state == _OPEN

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
            self._wait(object(), message)
            return
        frame = message.frame
        self.messages_out += 1
        self.bytes_out += len(frame)
        write(frame)

    def offer(self, key: Hashable, message: Message) -> None:
        """Send a message in order, if need be in place of an older one.

        While the client cannot take it, a newer message with the same key takes the place of
        the older one, also its place in the order: who waited longest goes first.
        """
        write = self._write
        if write is None:
            self._wait(key, message)
            return
        frame = message.frame
        self.messages_out += 1
        self.bytes_out += len(frame)
        write(frame)

    def offer_many(self, items: Sequence[tuple[Hashable, Message]]) -> None:
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
        """Drop the waiting message with this key; False if none waits."""
        outbox = self._outbox
        message = outbox.pop(key, None) if outbox is not None else None
        if message is None:
            return False
        self._unread -= len(message.frame)
        return True

    def close(self, reason: str) -> None:
        """End the session; what waits is still sent, in order.

        The listener gets the reason. Clients see the transport close, and reconnect unless they
        were told otherwise by a packet before. Closing a session that has ended does nothing.
        """
        self.end(reason, linger=True)

    def _write_frames(self, write: Callable[[bytes], None], frames: list[bytes], size: int) -> None:
        self.messages_out += len(frames)
        self.bytes_out += size
        write(frames[0] if len(frames) == 1 else b"".join(frames))

    def _wait(self, key: Hashable, message: Message) -> None:
        hub = self._hub
        if self._state != _OPEN:
            self.dropped += 1
            hub.metrics.dropped += 1
            return
        outbox = self._outbox
        if outbox is None:
            outbox = self._outbox = {}
        if not outbox and not self._corked and self not in hub.unread_due:
            hub.unread_due.start(self, hub.clock())
        older = outbox.get(key)
        if older is not None:
            self._unread -= len(older.frame)
            self.conflated += 1
            hub.metrics.conflated += 1
        outbox[key] = message
        self._unread += len(message.frame)
        if self._corked:
            if self._unread >= _BURST_BYTES:
                self.uncork()
        elif self._unread > hub.limits.unread_bytes:
            self.overflow()
        else:
            self._wake_poll()

    def overflow(self) -> None:
        """Close a client that does not read, without waiting for it."""
        self._hub.metrics.slow_consumers += 1
        self.end(SLOW_CONSUMER, abort=True)

    def _take(self) -> list[Message]:
        waiting = list(self._outbox.values()) if self._outbox else []
        self._outbox = None
        self._unread = 0
        self.messages_out += len(waiting)
        return waiting

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
        self._outbox = None
        self._unread = 0
        self.offer_many(list(outbox.items()))

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
            if self._state == _OPEN:
                self._flush()

    def pause_writing(self) -> None:
        """Stop writing: the socket's buffer is full."""
        if self.transport == WEBSOCKET and self._state == _OPEN:
            self._write = None
            self._corked = False
            self._hub.unread_due.start(self, self._hub.clock())

    def resume_writing(self) -> None:
        """Go on writing: the buffer has room again."""
        if self.transport == WEBSOCKET and self._state == _OPEN:
            self._flush()

    def hold(self) -> None:
        """Take no more packets of the client until `release`."""
        if not self.held:
            self.held = True
            self._hub.metrics.held += 1
            if self._inbound is not None:
                self._inbound.pause_reading()

    def release(self) -> None:
        """Take packets again."""
        if self.held:
            self.held = False
            if self._inbound is not None:
                self._inbound.resume_reading()

    # What comes in.

    def receive(self, packet: str | bytes) -> float:
        """Take one packet that arrived on the session's transport.

        Returns:
            Seconds for which no more should be read from the client, 0.0 as a rule.

        Raises:
            ProtocolViolation: the caller must hand it to `violate`.
        """
        if self._state != _OPEN:
            return 0.0
        self.bytes_in += len(packet)
        if isinstance(packet, bytes):
            self.messages_in += 1
            self._hub.listener.on_message(self, packet)
        elif packet.startswith(MESSAGE):
            self.messages_in += 1
            self._hub.listener.on_message(self, packet[1:])
        elif packet == PONG:
            self._pong()
        elif packet == CLOSE:
            self.end(CLIENT_DISCONNECT, last=NOOP)
        else:
            raise PacketViolation("unexpected Engine.IO packet")
        return self.pace()

    def _pong(self) -> None:
        # A pong that nobody asked for starts nothing, so a flood of them costs nothing.
        hub = self._hub
        if hub.pong_due.cancel(self):
            hub.ping_due.start(self, hub.clock())

    def pace(self) -> float:
        """Count one frame that came in; returns for how many seconds to read no more."""
        # Generic cell rate algorithm: one number for each client instead of a bucket.
        limits = self._hub.limits
        now = self._hub.clock()
        step = 1.0 / limits.inbound_messages_per_second
        self._pace = max(self._pace, now) + step
        ahead = self._pace - now - step * limits.inbound_burst
        if ahead <= 0.0:
            return 0.0
        self._hub.metrics.throttled += 1
        return ahead

    def violate(self, violation: ProtocolViolation) -> None:
        """Close a client that broke the protocol."""
        metrics = self._hub.metrics
        metrics.violations += 1
        if isinstance(violation, LimitViolation):
            metrics.oversize += 1
        self.end(TRANSPORT_ERROR, code=violation.close_code)

    def accepted(self) -> None:
        """Stop the deadline of the first CONNECT: the layer above knows the client now."""
        self._hub.connect_due.cancel(self)

    # Polling.

    def begin_poll(self, wake: Callable[[], None]) -> bool:
        """Take a poll; True if it can be answered at once with `answer_poll`.

        Otherwise `wake` is called, once, when it can.

        Raises:
            PacketViolation: another poll is pending; both must be answered.
        """
        if self._polled is not None:
            raise PacketViolation("overlapping polls")
        # An upgrade begins: the client waits for its poll to end before it goes on.
        if self._outbox or self._state != _OPEN or self._probe_step == _PROBE_ANSWERED:
            return True
        self._polled = wake
        return False

    def answer_poll(self) -> bytes:
        """Return the payload for the pending poll; what was in it is no longer waiting."""
        self._polled = None
        packets = [message.packet for message in self._take()]
        payload = SEPARATOR.join(packets or [NOOP]).encode("utf-8", "replace")
        self.bytes_out += len(payload)
        self._hub.unread_due.cancel(self)
        if self._state == _LEAVING:
            self.forget()
        return payload

    def lose_poll(self) -> None:
        """End the session: a poll vanished, and nobody knows what the client has seen."""
        self._polled = None
        self._hub.metrics.lost_polls += 1
        if self._state == _OPEN:
            self.end(TRANSPORT_CLOSE)
        self.forget()

    def begin_post(self, port: InboundPort) -> None:
        """Take a POST whose body will be given to `receive`.

        Raises:
            PacketViolation: another one is still being read.
        """
        if self._inbound is not None:
            raise PacketViolation("overlapping posts")
        self._take_from(port)

    def _take_from(self, port: InboundPort) -> None:
        self._inbound = port
        if self.held:
            # Held on the way before: a new way in must not be a way around it.
            port.pause_reading()

    def end_post(self, port: InboundPort) -> None:
        """End what `begin_post` began."""
        if self._inbound is port:
            self._inbound = None

    def _wake_poll(self) -> None:
        # Stays pending, so that another poll beside it is noticed, until it is answered.
        wake = self._polled
        if wake is not None:
            self._polled = _woken
            wake()

    # The upgrade.

    def begin_probe(self, port: WebSocketPort) -> bool:
        """Take a second transport; False if the session cannot use it and it must be closed."""
        if self._state != _OPEN or self.transport == WEBSOCKET or self._probe is not None:
            return False
        self._probe = port
        self._probe_step = _PROBE_OPENED
        self._hub.upgrade_due.start(self, self._hub.clock())
        return True

    def receive_probe(self, port: WebSocketPort, packet: str | bytes) -> None:
        """Take a packet from a WebSocket that is not the session's transport yet."""
        if port is not self._probe or self._state != _OPEN:
            port.close(1000)
        elif self._probe_step == _PROBE_OPENED and packet == "2probe":
            self._probe_step = _PROBE_ANSWERED
            port.write(PROBE_ANSWER.frame)
            self._wake_poll()
        elif self._probe_step == _PROBE_ANSWERED and packet == UPGRADE:
            self._upgrade(port)
        else:
            self._fail_probe()

    def is_transport(self, port: WebSocketPort) -> bool:
        """Whether this WebSocket is the session's transport, not just a probe."""
        return self._port is port

    def _upgrade(self, port: WebSocketPort) -> None:
        self._end_probe()
        self.transport = WEBSOCKET
        self._port = port
        self._take_from(port)
        self._hub.metrics.upgraded += 1
        self._flush()
        # A client that still has a poll pending breaks the rules; it is answered with a NOOP.
        self._wake_poll()

    def _end_probe(self) -> None:
        self._hub.upgrade_due.cancel(self)
        self._probe = None
        self._probe_step = _NO_PROBE

    def _fail_probe(self) -> None:
        port = self._probe
        self._end_probe()
        self._hub.metrics.upgrades_failed += 1
        if port is not None:
            port.close(1002)

    def upgrade_timed_out(self) -> None:
        """Close a WebSocket that did not finish its upgrade; the session goes on polling."""
        self._fail_probe()

    # The end.

    def lose_websocket(self, port: WebSocketPort) -> None:
        """Take the end of a WebSocket, whoever ended it."""
        if port is self._probe:
            self._end_probe()
            self._hub.metrics.upgrades_failed += 1
        elif port is self._port:
            self._port = None
            if self._state == _OPEN:
                self.end(TRANSPORT_CLOSE)

    def end(
        self,
        reason: str,
        *,
        code: int = 1000,
        abort: bool = False,
        linger: bool = False,
        last: str = CLOSE,
    ) -> None:
        """End the session; see `close`.

        Args:
            reason: For the listener.
            code: WebSocket close code.
            abort: Drop what waits instead of sending it.
            linger: Keep what waits for the next poll, if none is pending.
            last: Engine.IO packet that ends the poll.
        """
        if self._state != _OPEN:
            return
        self._state = _LEAVING
        self._write = None
        probe, self._probe = self._probe, None
        if probe is not None:
            probe.close(code)
        if abort:
            self._drop()
        if self._port is not None:
            self._leave_websocket(self._port, code, abort=abort)
        elif self.transport == POLLING and not abort and (linger or self._polled is not None):
            self._leave_polling(last)
        else:
            self.forget()
            self._wake_poll()
        self._hub.end(self, reason)

    def _leave_websocket(self, port: WebSocketPort, code: int, *, abort: bool) -> None:
        self._state = _GONE
        if abort:
            self._hub.remove(self)
            port.abort()
            return
        waiting = b"".join([message.frame for message in self._take()])
        if waiting:
            self.bytes_out += len(waiting)
            port.write(waiting)
        self._hub.remove(self)
        port.close(code)

    def _leave_polling(self, last: str) -> None:
        outbox = self._outbox
        if outbox is None:
            outbox = self._outbox = {}
        farewell = Message(last)
        farewell.packet, farewell.frame = last, b""
        outbox[object()] = farewell
        self._hub.goodbye_due.start(self, self._hub.clock())
        self._wake_poll()

    def _drop(self) -> None:
        lost = len(self._outbox) if self._outbox else 0
        self._outbox = None
        self._unread = 0
        self.dropped += lost
        self._hub.metrics.dropped += lost

    def forget(self) -> None:
        """Let go of a session that has ended: its client cannot be told any more."""
        self._state = _GONE
        self._drop()
        self._hub.remove(self)
