"""Streams a symbol while somebody wants it (documented, section 4.1).

The first client of a symbol starts its stream, the last one ends it ``subscription_timeout``
seconds later. Every price walks the same way, whether it was pushed or polled: validate,
normalize, enrich, price gate, number, then at once to the clients, and beside that to bars, store
and bus.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final
from uuid import uuid4

import structlog

from stockstream.core.symbol_stream import SymbolStream
from stockstream.errors import StoreUnavailableError
from stockstream.model import Position, StockUpdate, Symbol
from stockstream.model.reference import Reference
from stockstream.model.topics import (
    STOCK_UPDATED,
    STREAM_STARTED,
    STREAM_STOPPED,
)
from stockstream.ports import Clock, QuoteRecorder, QuoteSink, QuoteStore
from stockstream.provider_ports import QuoteProvider
from stockstream.services.bars import BarService
from stockstream.services.deriving import Derivations
from stockstream.services.event_bus import EventBus
from stockstream.services.producing import QuoteProducer
from stockstream.services.wanted import WantedSymbols

log = structlog.get_logger(__name__)

SOURCE: Final = "stock_streaming_service"
#: Ended streams that are remembered, so that a symbol that comes back goes on where it stopped.
_REMEMBERED: Final = 10_000
#: Seconds between two rounds of upkeep: what the feed carries, what the cache keeps.
_UPKEEP_INTERVAL: Final = 5.0
#: The documented cache forgets after 300 s; a price that stands still is kept alive in time.
_TOUCH_INTERVAL: Final = 100.0
#: Seconds that a returning client's missed updates may take to reach the store.
_FLUSH_TIMEOUT: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamingSettings:
    """How prices are asked for (documented as StreamingConfig, section 4.1)."""

    #: Seconds between two requests for a polled symbol.
    update_interval: float = 1.0
    #: Symbols in one request.
    batch_size: int = 100
    #: Seconds that a symbol keeps streaming after its last client left.
    subscription_timeout: float = 5.0
    #: Symbols that stream at once, at most.
    max_symbols: int = 10_000
    #: Seconds that the store may take to say what was emitted last, before a stream begins
    #: without that.
    seed_timeout: float = 1.5


class StreamingService:
    """Demand in, numbered price changes out.

    Nothing streams before :meth:`run`, and everything has ended when it has.
    """

    def __init__(
        self,
        *,
        provider: QuoteProvider,
        store: QuoteStore,
        recorder: QuoteRecorder,
        sink: QuoteSink,
        bus: EventBus,
        bars: BarService,
        clock: Clock,
        random: Random,
        settings: StreamingSettings,
        derived: Derivations | None = None,
        reference: Mapping[Symbol, Reference] | None = None,
    ) -> None:
        self._store = store
        self._recorder = recorder
        self._sink = sink
        self._bus = bus
        self._clock = clock
        self._wanted = WantedSymbols(
            linger=settings.subscription_timeout,
            limit=settings.max_symbols,
            clock=clock,
            on_first=self._start,
            on_last=self._stop,
        )
        self._seed_timeout = settings.seed_timeout
        self._remembered: OrderedDict[Symbol, SymbolStream] = OrderedDict()
        self._seeding: set[asyncio.Task[None]] = set()
        self._next_offset = self._offsets()
        #: Place of the newest update in the one order of all symbols; 0 before the first.
        self.offset = 0
        self.producer = QuoteProducer(
            provider,
            demand=self._wanted.counts.__getitem__,
            interval=settings.update_interval,
            batch_size=settings.batch_size,
            source=SOURCE,
            bars=bars,
            bus=bus,
            clock=clock,
            random=random,
            on_changes=self._emit,
            on_confirmed=sink.settle,
            derived=derived,
            reference=reference,
        )
        if derived is not None:
            derived.attach(self)

    # --- demand -------------------------------------------------------------------------------

    def acquire(self, symbol: Symbol) -> None:
        """Want a symbol (documented ``subscribeToStock``); pairs with one :meth:`release`.

        Raises:
            SubscriptionLimitError: as many symbols stream as may; there is nothing to release.
        """
        self._wanted.acquire(symbol)

    def release(self, symbol: Symbol) -> None:
        """Want it no more; its stream ends when nobody came back in time."""
        self._wanted.release(symbol)

    def snapshot(self, symbol: Symbol) -> StockUpdate | None:
        """Return the state of a streaming symbol, or None where it is not known yet."""
        return self._wanted.snapshot(symbol)

    async def current(self, symbol: Symbol, within: float) -> StockUpdate | None:
        """See :meth:`stockstream.services.wanted.WantedSymbols.current`."""
        return await self._wanted.current(symbol, within)

    async def ready(self, symbols: Collection[Symbol], offset: int) -> bool:
        """Return whether the offset was given yet: what is emitted here always reaches the sink."""
        return offset <= self.offset

    async def missed(self, symbol: Symbol, position: Position) -> Sequence[StockUpdate] | None:
        """Return every update after ``position`` in order, or None where there would be a gap.

        What was emitted before the call is in it.

        Raises:
            StoreUnavailableError: the store can't be reached.
        """
        if not await self._recorder.flush(_FLUSH_TIMEOUT):
            return None
        return await self._store.since(symbol, position)

    def remembers(self, symbol: Symbol) -> bool:
        """Return whether a symbol streams, or goes on where it stopped when it does again."""
        return self._state(symbol) is not None

    async def beyond(
        self, offsets: Mapping[Symbol, int]
    ) -> Mapping[Symbol, Sequence[StockUpdate] | None]:
        """Return every update of symbols after an offset each, or None where a gap is possible.

        What was emitted before the call is in it.

        Raises:
            StoreUnavailableError: the store can't be reached.
        """
        return {symbol: await self._beyond(symbol, offsets[symbol]) for symbol in offsets}

    async def _beyond(self, symbol: Symbol, offset: int) -> Sequence[StockUpdate] | None:
        state = self._state(symbol)
        if state is None:
            return None
        # Most symbols of a client that comes back have not changed: they cost no reading.
        if state.offset <= offset:
            return ()
        if not await self._recorder.flush(_FLUSH_TIMEOUT):
            return None
        return await self._store.after(symbol, offset)

    async def history(self, symbol: Symbol, limit: int) -> Sequence[StockUpdate]:
        """Return at most ``limit`` updates, the newest first (documented ``getStockHistory``).

        Raises:
            StoreUnavailableError: the store can't be reached.
        """
        return await self._store.newest(symbol, limit)

    # --- documented statistics ----------------------------------------------------------------

    def get_active_subscriptions(self) -> dict[str, int]:
        """Return how many want each symbol (documented, section 4.1)."""
        return self._wanted.active()

    def get_streaming_status(self) -> dict[str, bool]:
        """Return whether each wanted symbol streams: its state is known and nothing is wrong."""
        return self._wanted.status()

    # --- the loops ----------------------------------------------------------------------------

    async def run(self) -> None:
        """Stream until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.producer.run())
                tasks.create_task(self._wanted.run())
                tasks.create_task(self._keep_up())
        finally:
            for task in self._seeding:
                task.cancel()
            await asyncio.gather(*self._seeding, return_exceptions=True)

    async def hand_over(self) -> None:
        """Let other nodes stream instead: here there are none."""

    async def _keep_up(self) -> None:
        touched = self._clock.monotonic()
        while True:
            await self._clock.sleep(_UPKEEP_INTERVAL)
            self.producer.rebalance()
            if self._clock.monotonic() - touched >= _TOUCH_INTERVAL:
                touched = self._clock.monotonic()
                await self._touch()

    async def _touch(self) -> None:
        streams = self.producer.streams
        try:
            await self._store.touch([symbol for symbol, each in streams.items() if each.settled])
        except StoreUnavailableError as error:
            log.warning("cache_not_refreshed", error=str(error))

    def _offsets(self) -> Iterator[int]:
        while True:
            self.offset += 1
            yield self.offset

    def _state(self, symbol: Symbol) -> SymbolStream | None:
        stream = self.producer.streams.get(symbol)
        return stream.state if stream is not None else self._remembered.get(symbol)

    def _start(self, symbol: Symbol) -> None:
        state = self._remembered.pop(symbol, None)
        if state is None:
            state = SymbolStream(symbol, uuid4().hex[:12], self._next_offset)
        self.producer.begin(symbol, state, self._wanted.live[symbol])
        task = asyncio.create_task(self._seed(symbol))
        self._seeding.add(task)
        task.add_done_callback(self._seeding.discard)
        self._bus.publish(STREAM_STARTED, symbol, source=SOURCE)

    def _stop(self, symbol: Symbol) -> None:
        self._remembered[symbol] = self.producer.end(symbol)
        if len(self._remembered) > _REMEMBERED:
            self._remembered.popitem(last=False)
        self._bus.publish(STREAM_STOPPED, symbol, source=SOURCE)

    async def _seed(self, symbol: Symbol) -> None:
        """Take over what was emitted last, by us or by who streamed it before; then begin."""
        cached: StockUpdate | None = None
        try:
            async with asyncio.timeout(self._seed_timeout):
                cached = await self._store.get(symbol)
        except (StoreUnavailableError, TimeoutError) as error:
            log.warning("cache_not_read", symbol=symbol, error=str(error) or "no answer")
        except Exception:
            # The border of the task: a fault in a store must not keep the symbol silent for good.
            log.exception("cache_not_read", symbol=symbol)
        self.producer.seed(symbol, cached)

    def _emit(self, updates: Sequence[StockUpdate], received: float) -> None:
        self._sink.publish(updates, received)
        self._recorder.submit(updates)
        for update in updates:
            self._bus.publish(STOCK_UPDATED, update, source=SOURCE)
