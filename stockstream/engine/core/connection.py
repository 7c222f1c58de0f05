"""One client: the state of its session, and what it sends."""

from collections.abc import Callable
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
from stockstream.engine.core.outlet import Outlet
from stockstream.engine.core.packets import (
    CLOSE,
    MESSAGE,
    NOOP,
    PING_MESSAGE,
    PONG,
    PROBE_ANSWER,
    SEPARATOR,
    UPGRADE,
)
from stockstream.engine.core.ports import InboundPort, WebSocketPort
from stockstream.engine.core.probe import Probe
from stockstream.engine.errors import LimitViolation, PacketViolation, ProtocolViolation


class Connection(Outlet):
    """One client of the engine.

    What is for the client leaves by `Outlet`, in one order, whatever the transport, also while
    that changes.

    Attributes:
        id: Engine.IO session id.
        open: Whether the session has not ended.
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
        "_inbound",
        "_pace",
        "_probe",
        "_stranded",
        "bytes_in",
        "connected_at",
        "context",
        "held",
        "id",
        "messages_in",
        "remote_address",
        "transport",
    )

    def __init__(self, hub: Hub, sid: str, address: str, port: WebSocketPort | None) -> None:
        super().__init__(hub, port)
        self.id = sid
        self.remote_address = address
        self.connected_at = hub.clock()
        self.bytes_in = self.messages_in = 0
        self.context: Any = None
        #: Whether its packets are not taken for now, because their handlers lag behind.
        self.held = False
        self._inbound: InboundPort | None = port
        self._probe: Probe | None = None
        # Whether its WebSocket broke when it had given up polling for it: it may never poll again.
        self._stranded = False
        # When the inbound allowance is used up, in seconds of the clock (see `pace`).
        self._pace = 0.0
        self.transport = POLLING if port is None else WEBSOCKET
        hub.add(self)

    def close(self, reason: str) -> None:
        """End the session; what waits is still sent, in order.

        The listener gets the reason. Clients see the transport close, and reconnect unless they
        were told otherwise by a packet before. Closing a session that has ended does nothing.
        """
        self.end(reason, linger=True)

    def overflow(self) -> None:
        """Close a client that does not read, without waiting for it."""
        self._hub.metrics.slow_consumers += 1
        self.end(SLOW_CONSUMER, abort=True)

    # What comes in.

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

    def receive(self, packet: str | bytes) -> float:
        """Take one packet that arrived on the session's transport.

        Returns:
            Seconds for which no more should be read from the client, 0.0 as a rule.

        Raises:
            ProtocolViolation: the caller must hand it to `violate`.
        """
        if not self.open:
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

    def ping(self) -> None:
        """Ask the client for a sign of life: that is due."""
        self._hub.pong_due.start(self, self._hub.clock())
        self.send(PING_MESSAGE)

    def _pong(self) -> None:
        # A pong that nobody asked for starts nothing, so a flood of them costs nothing.
        hub = self._hub
        if hub.pong_due.cancel(self):
            hub.ping_due.start(self, hub.clock())

    def pace(self, frames: int = 1) -> float:
        """Count what came in; returns for how many seconds to read no more."""
        # Generic cell rate algorithm: one number for each client instead of a bucket.
        limits = self._hub.limits
        now = self._hub.clock()
        step = 1.0 / limits.inbound_messages_per_second
        self._pace = max(self._pace, now) + step * frames
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
        self._stranded = False
        # An upgrade begins: the client waits for its poll to end before it goes on.
        upgrading = self._probe is not None and self._probe.answered
        if self._outbox or not self.open or upgrading:
            return True
        self._polled = wake
        return False

    def answer_poll(self) -> bytes:
        """Return the payload for the pending poll; what was in it is no longer waiting."""
        self._polled = None
        waiting = self._take()
        farewell: Message | None = None
        if not self.open and len(waiting) > 1 and waiting[-1].packet == CLOSE:
            # It leaves alone, with the next poll: socket.io-client acts on a close packet before it
            # hands out the messages of the same payload, holds them back until it has connected
            # again, and has not counted them as received by then. While the server shuts down
            # there will be no such poll: whoever answers the next one does not know the session.
            farewell = waiting.pop()
            self.messages_out -= 1
        packets = [message.packet for message in waiting]
        payload = SEPARATOR.join(packets or [NOOP]).encode("utf-8", "replace")
        self.bytes_out += len(payload)
        self._hub.unread_due.cancel(self)
        if farewell is not None and self._hub.accepting:
            self._append(None, farewell)
        elif not self.open:
            self.forget()
        return payload

    def lose_poll(self) -> None:
        """End the session: a poll vanished, and nobody knows what the client has seen."""
        self._polled = None
        self._hub.metrics.lost_polls += 1
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
        if self._inbound is not None:
            # A POST that is still held would have nobody left to release it.
            self._inbound.resume_reading()
        self._inbound = port
        if self.held:
            # Held on the way before: a new way in must not be a way around it.
            port.pause_reading()

    def end_post(self, port: InboundPort) -> None:
        """End what `begin_post` began."""
        if self._inbound is port:
            self._inbound = None

    # The upgrade.

    def begin_probe(self, port: WebSocketPort, *, deflates: bool = False) -> bool:
        """Take a second transport; False if the session cannot use it and it must be closed."""
        if not self.open or self.transport == WEBSOCKET or self._probe is not None:
            return False
        self._probe = Probe(port, deflates=deflates)
        self._hub.upgrade_due.start(self, self._hub.clock())
        return True

    def receive_probe(self, port: WebSocketPort, packet: str | bytes) -> None:
        """Take a packet from a WebSocket that is not the session's transport yet."""
        probe = self._probe
        if probe is None or port is not probe.port:
            port.close(1000)
        elif not probe.answered and packet == "2probe":
            probe.answered = True
            port.write(PROBE_ANSWER.frame)
            self._wake_poll()
        elif probe.answered and packet == UPGRADE:
            self._upgrade(probe)
        else:
            self.fail_probe()

    def is_transport(self, port: WebSocketPort) -> bool:
        """Whether this WebSocket is the session's transport, not just a probe."""
        return self._port is port

    def _upgrade(self, probe: Probe) -> None:
        self._end_probe()
        self._port = probe.port
        if not self.open:
            # It ended while the client changed over: here is where the client hears of it.
            self._leave_websocket(probe.port, probe.code)
            return
        self.transport = WEBSOCKET
        self._take_from(probe.port)
        self._hub.metrics.upgraded += 1
        self._flush()
        # A client that still has a poll pending breaks the rules; it is answered with a NOOP.
        self._wake_poll()

    def _end_probe(self) -> Probe | None:
        self._hub.upgrade_due.cancel(self)
        probe, self._probe = self._probe, None
        return probe

    def fail_probe(self) -> None:
        """Close a WebSocket that did not finish its upgrade; the session goes on polling."""
        probe = self._end_probe()
        self._hub.metrics.upgrades_failed += 1
        if probe is not None:
            probe.port.close(1002)

    # The end.

    def lose_websocket(self, port: WebSocketPort) -> None:
        """Take the end of a WebSocket, whoever ended it."""
        probe = self._probe
        if probe is not None and port is probe.port:
            self._end_probe()
            self._hub.metrics.upgrades_failed += 1
            self._stranded = probe.answered and self._polled is None
            if not self.open:
                # Only a client that had given up polling was still to be told here.
                self.forget()
        elif port is self._port:
            self._port = None
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
            linger: Keep what waits for the next poll, if none is pending and one will come.
            last: Engine.IO packet that ends the poll.
        """
        if not self.open:
            return
        self.open = False
        self._write = None
        if abort:
            self._drop()
        if self._probe is not None:
            self._probe.code = code
        if self._inbound is not None and self._inbound is not self._port:
            # A POST that is held must come to its end.
            self._inbound.resume_reading()
        if self._port is not None:
            self._leave_websocket(self._port, code, abort=abort)
        elif self.transport == POLLING and not abort and self._will_poll(linger=linger):
            self._leave_polling(last)
        else:
            self.forget()
            self._wake_poll()
        self._hub.end(self, reason)

    def _will_poll(self, *, linger: bool) -> bool:
        return self._polled is not None or (linger and not self._stranded)

    def _leave_websocket(self, port: WebSocketPort, code: int, *, abort: bool = False) -> None:
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
        farewell = Message(last)
        farewell.packet, farewell.frame = last, b""
        self._append(None, farewell)
        self._hub.goodbye_due.start(self, self._hub.clock())
        # Between its last poll and the WebSocket a client may come by either of them.
        changing_over = self._probe is not None and self._probe.answered and self._polled is None
        if not changing_over:
            self._close_probe()
        self._wake_poll()

    def forget(self) -> None:
        """Let go of a session that has ended: its client cannot be told any more."""
        self._drop()
        self._close_probe()
        self._hub.remove(self)

    def _close_probe(self) -> None:
        probe = self._end_probe()
        if probe is not None:
            probe.port.close(probe.code)
