"""The hot path: an update goes to every client that watches its symbol.

What is sent is encoded once for each wire form, whatever the number of clients. A lone update
leaves at once; what one client gets of a batch leaves in one write, and so does what it gets within
a few milliseconds when sending takes most of the time. There is no task, queue entry or wake-up for
a recipient: :meth:`Connection.offer` writes to the transport, and where a client does not take it,
keeps the latest of each symbol.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat
from typing import Any

import msgspec

from stockstream.core.latency import LatencyHistogram
from stockstream.engine import Connection, Message
from stockstream.gateway.audience import UNTOLD, Audience, CatchUp, Member
from stockstream.gateway.encoding import event_message
from stockstream.gateway.gathering import Gathering
from stockstream.gateway.marks import Marks
from stockstream.gateway.pacer import Pacer
from stockstream.model import Position, StockUpdate
from stockstream.ports import Clock
from stockstream.wire.names import stock_update
from stockstream.wire.packets import WireForm
from stockstream.wire.replies import Envelope

Delivery = tuple[str, Message]


class Fanout:
    """Brings events to their audiences; implements :class:`stockstream.ports.QuoteSink`.

    Order, for one connection and symbol: the snapshot first, then updates in order of ``seq``,
    each at most once. A connection that can't take an update has it replaced by the next one of
    the same symbol (conflation); a snapshot, and whatever else is to be kept, is never left out.
    """

    def __init__(self, clock: Clock, *, order: str = "") -> None:
        """Begin without listeners.

        Args:
            clock: the time.
            order: see :class:`stockstream.gateway.marks.Marks`.
        """
        self._clock = clock
        #: Where events stand, and who reads what clients come back with.
        self.marks = Marks(order)
        self._audiences: dict[str, Audience] = {}
        self._pacer = Pacer(clock)
        self._messages = 0
        #: From the receipt of a quote to its being written, in ms, once for each recipient.
        self.latency = LatencyHistogram()
        self._gathering = Gathering(clock, self.latency)

    @property
    def messages(self) -> int:
        """Messages handed to connections."""
        return self._messages + self._pacer.sent

    @property
    def paced_away(self) -> int:
        """Updates that a client's own pace left out, in favour of a later one."""
        return self._pacer.conflated

    @property
    def gathered(self) -> int:
        """Times that updates were gathered because sending took most of the time."""
        return self._gathering.gathered

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
        member.floors[event] = UNTOLD

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
        return self.hold_all({event: member})

    def hold_all(self, members: Mapping[str, Member]) -> CatchUp:
        """Do as :meth:`hold` does for several events of one connection, in one order."""
        catch_up = CatchUp(members)
        for event in members:
            audience = self._renewed(event, catch_up.connection)
            audience.catching_up[catch_up.connection] = catch_up
        return catch_up

    def send_missed(self, event: str, catch_up: CatchUp, missed: Sequence[StockUpdate]) -> bool:
        """Send earlier updates to a connection that is held; False where it has left meanwhile.

        They carry no mark: they are older than what the client has of other symbols.
        """
        if not self.is_held(event, catch_up):
            return False
        for update in missed:
            # Under no key: this is the history that was asked for, and none of it is skipped.
            catch_up.connection.send(self._message(catch_up.form, event, update))
        self._messages += len(missed)
        return True

    def send_recovered(self, catch_up: CatchUp, missed: Sequence[StockUpdate]) -> None:
        """Send to a connection what it missed while it was away, in order of ``offset``."""
        for update in missed:
            event = stock_update(update.symbol)
            if self.is_held(event, catch_up):
                payload = catch_up.begun(event, update)
                mark = self.marks.of(payload)
                catch_up.connection.send(self._message(catch_up.form, event, payload, mark))
                self._messages += 1

    def resume_all(self, catch_up: CatchUp) -> bool:
        """Send what was held back of all events, and from now on live updates.

        Returns:
            False where more came than could be held back: the connection has a gap.
        """
        if catch_up.overflowed:
            return False
        self.send_recovered(catch_up, catch_up.held)
        for event, member in catch_up.members.items():
            if self.is_held(event, catch_up):
                self.join(event, member)
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
        if not self.is_held(event, catch_up):
            return False
        rest = catch_up.following(position) if position else None
        if rest is None or catch_up.overflowed:
            self.join_waiting(event, catch_up.members[event])
            return True
        self.send_missed(event, catch_up, rest)
        member = catch_up.members[event]
        member.floors[event] = self.marks.offset
        self.join(event, member)
        return False

    def is_held(self, event: str, catch_up: CatchUp) -> bool:
        """Return whether a connection still waits for what it missed, and has not left."""
        audience = self._audiences.get(event)
        return audience is not None and audience.catching_up.get(catch_up.connection) is catch_up

    # --- what they get ------------------------------------------------------------------------

    def publish(
        self, updates: Sequence[StockUpdate], received: float, encoded: Sequence[bytes] = ()
    ) -> None:
        """See :meth:`stockstream.ports.QuoteSink.publish`.

        Updates without an offset have no place in the order of the others.
        """
        self.marks.offset = updates[-1].offset or self.marks.offset
        start = self._clock.monotonic()
        pairs = zip(updates, encoded or repeat(None), strict=False)
        if self._gathering.begin(start):
            sent = sum(self._publish_one(update, raw) for update, raw in pairs)
            self._gathering.note(received, sent)
        else:
            one = len(updates) == 1
            sent = self._publish_one(*next(pairs)) if one else self._publish_many(pairs)
            end = self._clock.monotonic()
            self._gathering.sent(start, end)
            if sent:
                self.latency.record((end - received) * 1000, sent)
        self._messages += sent

    def settle(self, update: StockUpdate) -> None:
        """See :meth:`stockstream.ports.QuoteSink.settle`."""
        event = stock_update(update.symbol)
        if self._settle(event, update):
            self.marks.note_late(event)

    def begin(self, update: StockUpdate) -> None:
        """Do the same for clients that have only just subscribed: they have no mark yet."""
        self._settle(stock_update(update.symbol), update)

    def _settle(self, event: str, update: StockUpdate) -> bool:
        audience = self._audiences.get(event)
        waiting = audience is not None and bool(audience.waiting)
        if audience is not None and waiting:
            floor = max(self.marks.offset, update.offset)
            self._messages += self._send_snapshots(event, audience, update, floor)
        return waiting

    def renew(self, update: StockUpdate) -> None:
        """See :meth:`stockstream.ports.QuoteSink.renew`."""
        event = stock_update(update.symbol)
        audience = self._audiences.get(event)
        if audience is None:
            return
        self.marks.reach(update.offset)
        self.settle(update)
        self.marks.note_late(event)
        for catch_up in audience.catching_up.values():
            # What is held back for it no longer follows what it will have read.
            catch_up.overflowed = True
        snapshot = msgspec.structs.replace(update, snapshot=True)
        # All that is older was sent before it, of whichever symbol.
        mark = self.marks.now()
        for form, connections in audience.direct.items():
            if connections:
                _send_kept(event, connections, self._message(form, event, snapshot, mark))
                self._messages += len(connections)
        if audience.paced:
            self._messages += self._send_paced(event, audience, snapshot)

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

    def _publish_one(self, update: StockUpdate, raw: bytes | None) -> int:
        event = stock_update(update.symbol)
        audience = self._audiences.get(event)
        if audience is None:
            return 0
        # Those who get it as their snapshot join the live ones afterwards, and not before.
        live = self._send_live(event, audience, update, raw=raw)
        return live + self._start_live(event, audience, update)

    def _publish_many(self, updates: Iterable[tuple[StockUpdate, bytes | None]]) -> int:
        bursts: defaultdict[Connection, list[Delivery]] = defaultdict(list)
        sent = 0
        for update, raw in updates:
            event = stock_update(update.symbol)
            audience = self._audiences.get(event)
            if audience is None:
                continue
            for form, connections in audience.direct.items():
                if connections:
                    message = self._message(form, event, update, self.marks.of(update), raw)
                    delivery = (event, message)
                    sent += len(connections)
                    for connection in connections:
                        bursts[connection].append(delivery)
            if audience.paced:
                sent += self._send_paced(event, audience, update, raw)
            if audience.waiting or audience.catching_up:
                sent += self._start_live(event, audience, update)
        _flush(bursts)
        return sent

    def _send_live(
        self,
        event: str,
        audience: Audience,
        payload: Any,
        *,
        keep: bool = False,
        raw: bytes | None = None,
    ) -> int:
        sent = 0
        for form, connections in audience.direct.items():
            if connections:
                message = self._message(form, event, payload, self.marks.of(payload), raw)
                sent += len(connections)
                if keep:
                    _send_kept(event, connections, message)
                    continue
                if self._gathering.active:
                    self._gathering.add(event, connections, message)
                    continue
                for connection in connections:
                    connection.offer(event, message)
        if audience.paced:
            sent += self._send_paced(event, audience, payload, raw)
        return sent

    def _send_paced(
        self, event: str, audience: Audience, payload: Any, raw: bytes | None = None
    ) -> int:
        sent = 0
        for form, paces in audience.paced.items():
            if paces:
                message = self._message(form, event, payload, raw=raw)
                sent += self._pacer.offer(event, paces, message)
        return sent

    def _start_live(self, event: str, audience: Audience, update: StockUpdate) -> int:
        for catch_up in audience.catching_up.values():
            catch_up.hold(update)
        if not audience.waiting:
            return 0
        # Below the update itself: one who does not get it has missed it.
        floor = update.offset - 1 if update.offset else self.marks.offset
        return self._send_snapshots(event, audience, update, floor)

    def _send_snapshots(
        self, event: str, audience: Audience, update: StockUpdate, floor: int
    ) -> int:
        snapshot = msgspec.structs.replace(update, snapshot=True)
        messages: dict[WireForm, Message] = {}
        sent = 0
        for member in audience.settle():
            message = messages.get(member.form)
            if message is None:
                message = messages[member.form] = self._message(member.form, event, snapshot)
            # Under no key: the next update must not take the place of the snapshot.
            member.connection.send(message)
            member.floors[event] = floor
            sent += 1
        return sent

    def _message(
        self, form: WireForm, event: str, payload: Any, mark: str = "", raw: bytes | None = None
    ) -> Message:
        if raw is not None and form is not WireForm.MSGPACK:
            payload = msgspec.Raw(raw)
        envelope = Envelope(type=event, payload=payload, timestamp=self._clock.time_ms())
        return event_message(form, event, envelope, mark)

    def _renewed(self, event: str, connection: Connection) -> Audience:
        """Return the audience without a connection that begins anew with it."""
        audience = self._audience(event)
        audience.discard(connection)
        # What waits from before would be overtaken by what comes first now.
        connection.withdraw(event)
        return audience

    def _audience(self, event: str) -> Audience:
        audience = self._audiences.get(event)
        if audience is None:
            audience = self._audiences[event] = Audience()
        return audience

    async def run(self) -> None:
        """Deliver what was held back for a client's own pace, until cancelled."""
        try:
            await self._pacer.run()
        finally:
            self._gathering.close()


def _send_kept(event: str, connections: Iterable[Connection], message: Message) -> None:
    for connection in connections:
        # What waits is older, and the next one must not take its place in front.
        connection.withdraw(event)
        connection.send(message)


def _flush(bursts: dict[Connection, list[Delivery]]) -> None:
    for connection, deliveries in bursts.items():
        connection.offer_many(deliveries)
    bursts.clear()
