"""Streams as one of many nodes: what any node wants, one of them asks for, and all are told.

Takes the place of :class:`stockstream.services.streaming.StreamingService` where there is Redis.
The owner of a symbol commits its price changes to the log, which numbers, stores and publishes
them in one step; whoever has clients for it, the owner included, hears them on the bus. So there is
one order for all clients, whichever node they are at.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from random import Random
from typing import Final

import structlog

from stockstream.cluster.demand import SharedDemand
from stockstream.cluster.link import RedisLink
from stockstream.cluster.membership import Membership, Role
from stockstream.cluster.quote_bus import QuoteBus
from stockstream.cluster.quote_log import LoggedState, LoggedUpdate, QuoteLog
from stockstream.errors import StoreUnavailableError
from stockstream.model import Position, StockUpdate, Symbol
from stockstream.model.reference import Reference
from stockstream.model.topics import STREAM_STARTED, STREAM_STOPPED, QuoteFailure
from stockstream.ports import Clock, QuoteHistory, QuoteSink
from stockstream.provider_ports import QuoteProvider
from stockstream.services.bars import BarService
from stockstream.services.committing import Committer
from stockstream.services.deriving import Derivations
from stockstream.services.event_bus import EventBus
from stockstream.services.hearing import Hearing, decode_update
from stockstream.services.owning import OwnedSymbols
from stockstream.services.producing import QuoteProducer
from stockstream.services.streaming import SOURCE, StreamingSettings
from stockstream.services.wanted import WantedSymbols

log = structlog.get_logger(__name__)

#: Seconds between two looks at what time has changed.
_LOOK_INTERVAL: Final = 0.25
#: Seconds between two rounds of upkeep: what the feed carries, what the log keeps.
_UPKEEP_INTERVAL: Final = 5.0
_TOUCH_INTERVAL: Final = 100.0
#: Seconds that a client that comes back waits for its symbols to be heard.
_READY_TIMEOUT: Final = 2.0


class ClusteredStreaming:
    """Implements :class:`stockstream.services.contract.Streaming` for one of many nodes.

    Nothing streams before :meth:`run`, and everything has ended when it has.
    """

    def __init__(
        self,
        *,
        link: RedisLink,
        node: str,
        role: Role,
        provider: QuoteProvider,
        history: QuoteHistory,
        sink: QuoteSink,
        bus: EventBus,
        bars: BarService,
        clock: Clock,
        random: Random,
        settings: StreamingSettings,
        derived: Derivations,
        reference: Mapping[Symbol, Reference],
        on_apart: Callable[[bool], None],
    ) -> None:
        """Begin without demand.

        Args:
            link: the way to Redis.
            node: name of this process among the nodes.
            role: what this node does.
            provider: whose quotes are wanted.
            history: the documented history.
            sink: where updates leave towards clients.
            bus: hears of updates, streams and failures.
            bars: counts quotes.
            clock: the time.
            random: spreads what is tried again.
            settings: how prices are asked for.
            derived: computes the quotes of its symbols, out of what this node hears.
            reference: completes the updates of its symbols.
            on_apart: called with True when this node begins to give clients updates that have no
                place in the order of all nodes, and with False when it is over.
        """
        self._events = bus
        self._bars = bars
        self._clock = clock
        self._history = history
        # Lingering is done where the symbol is streamed: that no node wants it decides.
        self._wanted = WantedSymbols(
            linger=0,
            limit=settings.max_symbols,
            clock=clock,
            on_first=self._first,
            on_last=self._last,
        )
        self.hearing = Hearing(
            self._wanted.live,
            sink=sink,
            bus=bus,
            bars=bars,
            clock=clock,
            is_produced=lambda symbol: symbol in self.producer.streams,
            on_apart=on_apart,
        )
        self._log = QuoteLog(link, node=node)
        self.committer = Committer(
            self._log,
            token=self._token,
            clock=clock,
            random=random,
            on_alone=self.hearing.deliver_alone,
            on_refused=self._refused,
            on_superseded=self._superseded,
        )
        self.producer = QuoteProducer(
            provider,
            demand=self._wanted_by,
            interval=settings.update_interval,
            batch_size=settings.batch_size,
            source=SOURCE,
            bars=bars,
            bus=bus,
            clock=clock,
            random=random,
            on_changes=self.committer.offer,
            on_confirmed=lambda _: None,
            derived=derived,
            reference=reference,
        )
        self.owned = OwnedSymbols(
            self.producer,
            self.committer,
            self._log,
            linger=settings.subscription_timeout,
            clock=clock,
            on_failure=self._failed,
            on_begin=self._began,
            on_end=self._ended,
        )
        self.demand = SharedDemand(
            link, node=node, clock=clock, on_change=self.owned.want, follow=role.streams
        )
        self.membership = Membership(link, node=node, role=role, listener=self.owned, clock=clock)
        self.owned.membership, self.owned.demand = self.membership, self.demand
        self.quotes_bus = QuoteBus(
            link, node=node, log=self._log, receiver=self.hearing, clock=clock, random=random
        )
        derived.attach(self)
        channels, demand, membership = link.channels, self.demand, self.membership
        self.quotes_bus.listen(channels.demand, demand.hear, demand.repair)
        self.quotes_bus.listen(channels.members, membership.wake, membership.wake)

    # --- demand -------------------------------------------------------------------------------

    def acquire(self, symbol: Symbol) -> None:
        """See :class:`stockstream.services.contract.Streaming`."""
        self._wanted.acquire(symbol)

    def release(self, symbol: Symbol) -> None:
        """See :class:`stockstream.services.contract.Streaming`."""
        self._wanted.release(symbol)

    def snapshot(self, symbol: Symbol) -> StockUpdate | None:
        """See :class:`stockstream.services.contract.Streaming`."""
        return self._wanted.snapshot(symbol)

    async def current(self, symbol: Symbol, within: float) -> StockUpdate | None:
        """See :class:`stockstream.services.contract.Streaming`."""
        return await self._wanted.current(symbol, within)

    def get_active_subscriptions(self) -> dict[str, int]:
        """See :class:`stockstream.services.contract.Streaming`."""
        return self._wanted.active()

    def get_streaming_status(self) -> dict[str, bool]:
        """See :class:`stockstream.services.contract.Streaming`."""
        return self._wanted.status()

    # --- those who come back ------------------------------------------------------------------

    @property
    def offset(self) -> int:
        """See :class:`stockstream.services.contract.Streaming`."""
        return self.quotes_bus.position

    async def ready(self, symbols: Collection[Symbol], offset: int) -> bool:
        """See :class:`stockstream.services.contract.Streaming`."""
        try:
            async with asyncio.timeout(_READY_TIMEOUT):
                await self.hearing.hears(symbols)
                return await self.quotes_bus.reach(offset)
        except (TimeoutError, StoreUnavailableError) as error:
            log.info("not_heard_in_time", symbols=len(symbols), error=str(error))
            return False

    async def missed(self, symbol: Symbol, position: Position) -> Sequence[StockUpdate] | None:
        """See :class:`stockstream.services.contract.Streaming`."""
        if symbol in self.hearing.apart or not await self.ready([symbol], 0):
            return None
        # What follows is on its way, and will be held back for who asks.
        newest = self.offset
        found = await self._log.since(symbol, position)
        return None if found is None else _decoded(found, newest)

    def remembers(self, symbol: Symbol) -> bool:
        """See :class:`stockstream.services.contract.Streaming`; the log will tell."""
        return True

    async def beyond(
        self, offsets: Mapping[Symbol, int]
    ) -> Mapping[Symbol, Sequence[StockUpdate] | None]:
        """See :class:`stockstream.services.contract.Streaming`."""
        if self.hearing.apart:
            return dict.fromkeys(offsets)
        newest = self.offset
        missed: dict[Symbol, Sequence[StockUpdate] | None] = {}
        to_read: defaultdict[int, list[Symbol]] = defaultdict(list)
        for symbol, offset in offsets.items():
            # Most symbols of a client that comes back have not changed: they cost no reading.
            if self._is_newest(symbol, offset):
                missed[symbol] = ()
            else:
                to_read[offset].append(symbol)
        for offset, symbols in to_read.items():
            found = await self._log.read(symbols, offset)
            for symbol, lines in zip(symbols, found, strict=True):
                if lines is None or isinstance(lines, LoggedState):
                    missed[symbol] = None
                else:
                    missed[symbol] = _decoded(lines, newest)
        return missed

    def _is_newest(self, symbol: Symbol, offset: int) -> bool:
        live = self._wanted.live.get(symbol)
        last = live.last if live is not None and symbol in self.hearing.symbols else None
        return last is not None and 0 < last.offset <= offset

    async def history(self, symbol: Symbol, limit: int) -> Sequence[StockUpdate]:
        """See :class:`stockstream.services.contract.Streaming`."""
        return await self._history.newest(symbol, limit)

    # --- the loops ----------------------------------------------------------------------------

    async def run(self) -> None:
        """See :class:`stockstream.services.contract.Streaming`."""
        async with asyncio.TaskGroup() as tasks:
            for part in (
                self._wanted,
                self.producer,
                self.committer,
                self.owned,
                self.quotes_bus,
                self.demand,
                self.membership,
            ):
                tasks.create_task(part.run())
            tasks.create_task(self._keep_up())

    async def hand_over(self) -> None:
        """See :class:`stockstream.services.contract.Streaming`."""
        try:
            await self.membership.retire()
        except StoreUnavailableError as error:
            log.warning("not_handed_over", error=str(error))

    async def leave(self) -> None:
        """Be no member any more; call it when :meth:`run` has ended."""
        try:
            await self.membership.leave()
        except StoreUnavailableError as error:
            log.warning("not_left", error=str(error))

    async def _keep_up(self) -> None:
        kept = touched = self._clock.monotonic()
        while True:
            await self._clock.sleep(_LOOK_INTERVAL)
            self.owned.look()
            now = self._clock.monotonic()
            self.hearing.look(alone=self.owned.alone, owns=self.owned.owns)
            if now - kept >= _UPKEEP_INTERVAL:
                kept = now
                self.producer.rebalance()
            if now - touched >= _TOUCH_INTERVAL:
                touched = now
                await self._touch()

    async def _touch(self) -> None:
        streams = self.producer.streams
        try:
            await self._log.touch([symbol for symbol, each in streams.items() if each.settled])
        except StoreUnavailableError as error:
            log.warning("log_not_kept", error=str(error))

    # --- what this node's clients want --------------------------------------------------------

    def _first(self, symbol: Symbol) -> None:
        self.quotes_bus.watch(symbol)
        self.demand.want(symbol)

    def _last(self, symbol: Symbol) -> None:
        self.hearing.stop(symbol)
        self.quotes_bus.unwatch(symbol)
        self.demand.drop(symbol)
        if symbol not in self.producer.streams:
            self._bars.forget(symbol)

    # Those who are asked here are made after those who ask.

    def _token(self, partition: int) -> int | None:
        return self.membership.token(partition)

    def _wanted_by(self, symbol: Symbol) -> int:
        return self.demand.wanted_by(symbol)

    def _refused(self) -> None:
        self.membership.wake()

    def _superseded(self, symbol: Symbol) -> None:
        self.hearing.forget_apart(symbol)
        self.owned.begin_again(symbol)

    def _failed(self, symbol: Symbol, failure: QuoteFailure | None) -> None:
        live = self._wanted.live.get(symbol)
        if live is not None:
            live.failure = failure
            live.wake()

    def _began(self, symbol: Symbol) -> None:
        self._events.publish(STREAM_STARTED, symbol, source=SOURCE)

    def _ended(self, symbol: Symbol) -> None:
        self._failed(symbol, None)
        self._events.publish(STREAM_STOPPED, symbol, source=SOURCE)


def _decoded(lines: Sequence[LoggedUpdate], newest: int) -> Sequence[StockUpdate] | None:
    """Return the updates of a log up to an offset; None where one of them is none."""
    updates = [decode_update(each.payload, each.offset) for each in lines if each.offset <= newest]
    decoded = [update for update in updates if update is not None]
    return decoded if len(decoded) == len(updates) else None
