"""The hot path: an update goes to every client that watches its symbol.

What is sent is encoded once for each wire form, whatever the number of clients. A lone update
leaves at once; what one client gets of a batch leaves in one write. There is no task, queue entry
or wake-up for a recipient: :meth:`Connection.offer` writes to the transport, and where a client
does not take it, keeps the latest of each symbol.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from stockstream.core.latency import LatencyHistogram
from stockstream.engine import Connection, Message
from stockstream.gateway.audience import Audience, CatchUp, Member
from stockstream.gateway.pacer import Pacer
from stockstream.model import Position, StockUpdate
from stockstream.ports import Clock
from stockstream.wire.names import stock_update
from stockstream.wire.packets import WireForm, encode_event
from stockstream.wire.replies import Envelope

Delivery = tuple[str, Message]


class Fanout:
    """Brings events to their audiences; implements :class:`stockstream.ports.QuoteSink`.

    Order, for one connection and symbol: the snapshot first, then updates in order of ``seq``,
    each at most once. A connection that can't take an update has it replaced by the next one of
    the same symbol (conflation); a snapshot, and whatever else is to be kept, is never left out.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._audiences: dict[str, Audience] = {}
        self._pacer = Pacer(clock)
        self._messages = 0
        #: From the receipt of a quote to its being written, in ms, once for each recipient.
        self.latency = LatencyHistogram()

    @property
    def messages(self) -> int:
        """Messages handed to connections."""
        return self._messages + self._pacer.sent

    # --- who listens --------------------------------------------------------------------------

    def join(self, event: str, member: Member) -> None:
        """Let a connection have what is published under ``event`` from now on."""
        audience = self._audience(event)
        audience.discard(member.connection)
        audience.add(member)

    def join_waiting(self, event: str, member: Member) -> None:
        """The same, but what it gets first is a snapshot."""
        audience = self._renewed(event, member.connection)
        audience.waiting[member.connection] = member

    def leave(self, event: str, connection: Connection) -> None:
        """Let it have no more; what waits for it is withdrawn."""
        audience = self._audiences.get(event)
        if audience is None:
            return
        audience.discard(connection)
        connection.withdraw(event)
        if not audience:
            del self._audiences[event]

    def hold(self, event: str, member: Member) -> CatchUp:
        """Hold back what is published for a connection that is being given what it missed."""
        audience = self._renewed(event, member.connection)
        catch_up = audience.catching_up[member.connection] = CatchUp(member)
        return catch_up

    def send_missed(self, event: str, catch_up: CatchUp, missed: Sequence[StockUpdate]) -> bool:
        """Send earlier updates to a connection that is held; False where it has left meanwhile."""
        member = catch_up.member
        if not self._is_held(event, catch_up):
            return False
        for update in missed:
            # Under no key: this is the history that was asked for, and none of it is skipped.
            member.connection.send(self._message(member.form, event, update))
        self._messages += len(missed)
        return True

    def resume(self, event: str, catch_up: CatchUp, position: Position | None) -> bool:
        """Send what was held back, and from now on live updates.

        Args:
            event: what it listens to.
            catch_up: from :meth:`hold`.
            position: the last update that it has; None where that can't be told.

        Returns:
            True where there would be a gap: the connection waits for a snapshot instead.
        """
        if not self._is_held(event, catch_up):
            return False
        rest = _following(position, catch_up.held) if position else None
        if rest is None or catch_up.overflowed:
            self.join_waiting(event, catch_up.member)
            return True
        self.send_missed(event, catch_up, rest)
        self.join(event, catch_up.member)
        return False

    def _is_held(self, event: str, catch_up: CatchUp) -> bool:
        audience = self._audiences.get(event)
        connection = catch_up.member.connection
        return audience is not None and audience.catching_up.get(connection) is catch_up

    # --- what they get ------------------------------------------------------------------------

    def publish(self, updates: Sequence[StockUpdate], received: float) -> None:
        """See :meth:`stockstream.ports.QuoteSink.publish`."""
        sent = self._publish_one(updates[0]) if len(updates) == 1 else self._publish_many(updates)
        if sent:
            self._messages += sent
            self.latency.record((self._clock.monotonic() - received) * 1000, sent)

    def settle(self, update: StockUpdate) -> None:
        """See :meth:`stockstream.ports.QuoteSink.settle`."""
        event = stock_update(update.symbol)
        audience = self._audiences.get(event)
        if audience is not None and audience.waiting:
            self._messages += self._send_snapshots(event, audience, update)

    def broadcast(self, event: str, payload: Any, *, keep: bool = False) -> None:
        """Send something other than a quote to all who listen to ``event``.

        Args:
            event: its name.
            payload: what goes into the envelope.
            keep: no later one takes its place, unless a client asked for a pace of its own.
        """
        audience = self._audiences.get(event)
        if audience is not None:
            self._messages += self._send_live(event, audience, payload, keep=keep)

    def _publish_one(self, update: StockUpdate) -> int:
        event = stock_update(update.symbol)
        audience = self._audiences.get(event)
        if audience is None:
            return 0
        # Those who get it as their snapshot join the live ones afterwards, and not before.
        live = self._send_live(event, audience, update)
        return live + self._start_live(event, audience, update)

    def _publish_many(self, updates: Sequence[StockUpdate]) -> int:
        bursts: defaultdict[Connection, list[Delivery]] = defaultdict(list)
        sent = 0
        for update in updates:
            event = stock_update(update.symbol)
            audience = self._audiences.get(event)
            if audience is None:
                continue
            for form, connections in audience.direct.items():
                if connections:
                    delivery = (event, self._message(form, event, update))
                    sent += len(connections)
                    for connection in connections:
                        bursts[connection].append(delivery)
            if audience.paced:
                sent += self._send_paced(event, audience, update)
            if audience.waiting or audience.catching_up:
                _flush(bursts)
                sent += self._start_live(event, audience, update)
        _flush(bursts)
        return sent

    def _send_live(
        self, event: str, audience: Audience, payload: Any, *, keep: bool = False
    ) -> int:
        sent = 0
        for form, connections in audience.direct.items():
            if connections:
                message = self._message(form, event, payload)
                sent += len(connections)
                if keep:
                    _send_kept(event, connections, message)
                    continue
                for connection in connections:
                    connection.offer(event, message)
        if audience.paced:
            sent += self._send_paced(event, audience, payload)
        return sent

    def _send_paced(self, event: str, audience: Audience, payload: Any) -> int:
        sent = 0
        for form, paces in audience.paced.items():
            if paces:
                message = self._message(form, event, payload)
                sent += self._pacer.offer(event, paces, message)
        return sent

    def _start_live(self, event: str, audience: Audience, update: StockUpdate) -> int:
        for catch_up in audience.catching_up.values():
            catch_up.hold(update)
        return self._send_snapshots(event, audience, update) if audience.waiting else 0

    def _send_snapshots(self, event: str, audience: Audience, update: StockUpdate) -> int:
        snapshot = msgspec.structs.replace(update, snapshot=True)
        messages: dict[WireForm, Message] = {}
        sent = 0
        for member in audience.settle():
            message = messages.get(member.form)
            if message is None:
                message = messages[member.form] = self._message(member.form, event, snapshot)
            # Under no key: the next update must not take the place of the snapshot.
            member.connection.send(message)
            sent += 1
        return sent

    def _message(self, form: WireForm, event: str, payload: Any) -> Message:
        envelope = Envelope(type=event, payload=payload, timestamp=self._clock.time_ms())
        return Message(encode_event(form, event, envelope))

    def _renewed(self, event: str, connection: Connection) -> Audience:
        """Return the audience without a connection that begins anew with it."""
        audience = self._audience(event)
        audience.discard(connection)
        # What waits from before would be overtaken by what comes first now.
        connection.withdraw(event)
        return audience

    def _audience(self, event: str) -> Audience:
        return self._audiences.setdefault(event, Audience())

    async def run(self) -> None:
        """Deliver what was held back for a client's own pace, until cancelled."""
        await self._pacer.run()


def _send_kept(event: str, connections: Iterable[Connection], message: Message) -> None:
    for connection in connections:
        # What waits is older, and the next one must not take its place in front.
        connection.withdraw(event)
        connection.send(message)


def _flush(bursts: dict[Connection, list[Delivery]]) -> None:
    for connection, deliveries in bursts.items():
        connection.offer_many(deliveries)
    bursts.clear()


def _following(position: Position, held: Sequence[StockUpdate]) -> list[StockUpdate] | None:
    """Return those of ``held`` that come after ``position``, or None where there is a gap."""
    updates: list[StockUpdate] = []
    for update in held:
        if update.epoch != position.epoch or update.seq > position.seq + 1:
            return None
        if update.seq == position.seq + 1:
            position = update.position
            updates.append(update)
    return updates
