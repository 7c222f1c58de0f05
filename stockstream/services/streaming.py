"""Streams a symbol while somebody wants it (documented, section 4.1).

The first client of a symbol starts its stream, the last one ends it ``subscription_timeout``
seconds later. Every price walks the same way, whether it was pushed or polled: validate,
normalize, enrich, price gate, number, then at once to the clients, and beside that to bars, store
and bus.
"""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final
from uuid import uuid4

import structlog

from stockstream.clock import wait_until
from stockstream.core.circuit_breaker import CircuitState
from stockstream.core.demand import Demand
from stockstream.core.quote_rules import Rejection
from stockstream.core.symbol_stream import SymbolStream
from stockstream.errors import PermanentProviderError, ProviderError, StoreUnavailableError
from stockstream.model import Position, Quote, StockUpdate, Symbol
from stockstream.model.topics import (
    STOCK_UPDATE_ERROR,
    STOCK_UPDATED,
    STREAM_STARTED,
    STREAM_STOPPED,
    QuoteFailure,
)
from stockstream.ports import Clock, QuoteProvider, QuoteRecorder, QuoteSink, QuoteStore
from stockstream.services.bars import BarService
from stockstream.services.event_bus import EventBus
from stockstream.services.live_symbol import LiveSymbol
from stockstream.services.quote_sources import QuoteSources

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
    ) -> None:
        self._store = store
        self._recorder = recorder
        self._sink = sink
        self._bus = bus
        self._bars = bars
        self._clock = clock
        self._demand = Demand(settings.subscription_timeout, settings.max_symbols)
        self._seed_timeout = settings.seed_timeout
        self._streams: dict[Symbol, LiveSymbol] = {}
        self._remembered: OrderedDict[Symbol, SymbolStream] = OrderedDict()
        self._seeding: set[asyncio.Task[None]] = set()
        self._next_offset = self._offsets()
        #: Place of the newest update in the one order of all symbols; 0 before the first.
        self.offset = 0
        self._touched = clock.monotonic()
        #: Set when the last client left while no other symbol's end was near.
        self._left = asyncio.Event()
        self._sources = QuoteSources(
            provider,
            streams=self._streams,
            demand=self._demand.counts,
            interval=settings.update_interval,
            batch_size=settings.batch_size,
            clock=clock,
            random=random,
            on_quotes=self._take,
            on_error=self._provider_failed,
        )
        #: Quotes believed, and those of them whose price had not changed.
        self.accepted = 0
        self.unchanged = 0
        #: Quotes that were not believed, by reason.
        self.rejected: Counter[str] = Counter()
        #: Failures of a provider, one for each symbol and time that it failed.
        self.errors = 0

    # --- demand -------------------------------------------------------------------------------

    def acquire(self, symbol: Symbol) -> None:
        """Want a symbol (documented ``subscribeToStock``); pairs with one :meth:`release`.

        Raises:
            SubscriptionLimitError: as many symbols stream as may; there is nothing to release.
        """
        if self._demand.acquire(symbol):
            for unwanted in self._demand.make_room():
                self._stop(unwanted)
            self._start(symbol)

    def release(self, symbol: Symbol) -> None:
        """Want it no more; its stream ends when nobody came back in time."""
        idle = self._demand.next_end() is None
        self._demand.release(symbol, self._clock.monotonic())
        if idle and self._demand.next_end() is not None:
            self._left.set()

    def snapshot(self, symbol: Symbol) -> StockUpdate | None:
        """Return the state of a streaming symbol, or None where it is not known yet."""
        live = self._streams.get(symbol)
        return live.state.last if live is not None and live.settled else None

    async def current(self, symbol: Symbol, within: float) -> StockUpdate | None:
        """Return the state of a symbol that is wanted, waiting for its first price if need be.

        Returns None where there is none ``within`` so many seconds. Cancelling is safe.

        Raises:
            PermanentProviderError: the provider says that there will never be one.
        """
        live = self._streams[symbol]
        await live.wait(within)
        if live.settled:
            return live.state.last
        if live.failure is not None and live.hopeless:
            raise PermanentProviderError(SOURCE, live.failure.error, symbols=[symbol])
        return None

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
        return symbol in self._streams or symbol in self._remembered

    async def beyond(self, symbol: Symbol, offset: int) -> Sequence[StockUpdate] | None:
        """Return every update of a symbol whose offset is greater, or None where a gap is possible.

        What was emitted before the call is in it.

        Raises:
            StoreUnavailableError: the store can't be reached.
        """
        live = self._streams.get(symbol)
        state = live.state if live is not None else self._remembered.get(symbol)
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
        return {symbol: count for symbol, count in self._demand.counts.items() if count}

    def get_streaming_status(self) -> dict[str, bool]:
        """Return whether each wanted symbol streams: its state is known and nothing is wrong."""
        return {s: live.settled and live.failure is None for s, live in self._streams.items()}

    @property
    def circuit(self) -> CircuitState:
        """Whether the provider may be polled."""
        return self._sources.circuit

    @property
    def feed_connected(self) -> bool | None:
        """Whether the push connection is up; None where the provider has none."""
        return self._sources.feed_connected

    @property
    def provider_traffic(self) -> dict[str, int]:
        """Requests to the provider, those that failed, and how often its connection was lost."""
        return self._sources.traffic

    # --- the loops ----------------------------------------------------------------------------

    async def run(self) -> None:
        """Stream until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._sources.run())
                tasks.create_task(self._keep_up())
        finally:
            for task in self._seeding:
                task.cancel()
            await asyncio.gather(*self._seeding, return_exceptions=True)

    async def _keep_up(self) -> None:
        while True:
            self._left.clear()
            now = self._clock.monotonic()
            for symbol in self._demand.expire(now):
                self._stop(symbol)
            self._sources.rebalance()
            if now - self._touched >= _TOUCH_INTERVAL:
                self._touched = now
                await self._touch()
            end = self._demand.next_end()
            look = now + _UPKEEP_INTERVAL
            await wait_until(self._clock, look if end is None else min(look, end), self._left)

    def _offsets(self) -> Iterator[int]:
        while True:
            self.offset += 1
            yield self.offset

    async def _touch(self) -> None:
        try:
            await self._store.touch([s for s, live in self._streams.items() if live.settled])
        except StoreUnavailableError as error:
            log.warning("cache_not_refreshed", error=str(error))

    def _start(self, symbol: Symbol) -> None:
        state = self._remembered.pop(symbol, None)
        if state is None:
            state = SymbolStream(symbol, uuid4().hex[:12], self._next_offset)
        self._streams[symbol] = LiveSymbol(state)
        task = asyncio.create_task(self._seed(symbol))
        self._seeding.add(task)
        task.add_done_callback(self._seeding.discard)
        self._bus.publish(STREAM_STARTED, symbol, source=SOURCE)

    def _stop(self, symbol: Symbol) -> None:
        live = self._streams.pop(symbol)
        live.wake()
        self._remembered[symbol] = live.state
        if len(self._remembered) > _REMEMBERED:
            self._remembered.popitem(last=False)
        self._sources.move()
        self._bars.forget(symbol)
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
        live = self._streams.get(symbol)
        if live is None or live.seeded:
            return
        live.seeded = True
        self._sources.move()
        if cached is not None:
            live.state.seed(cached)
            self._settle(live)

    # --- the way of a quote -------------------------------------------------------------------

    def _take(self, quotes: Sequence[Quote]) -> None:
        received = self._clock.monotonic()
        now_ms = self._clock.time_ms()
        updates: list[StockUpdate] = []
        confirmed: list[LiveSymbol] = []
        for quote in quotes:
            live = self._streams.get(quote.symbol)
            if live is None or not live.seeded:
                continue
            outcome = live.state.offer(quote, now_ms)
            if isinstance(outcome, Rejection):
                self._rejected(live, quote, outcome)
                continue
            self._accepted(live, quote)
            if outcome is None:
                self.unchanged += 1
                confirmed.append(live)
            else:
                updates.append(outcome)
        if updates:
            self._emit(updates, received)
        # After the changes of the same batch: a snapshot must not overtake them.
        for live in confirmed:
            if not live.settled:
                self._settle(live)

    def _accepted(self, live: LiveSymbol, quote: Quote) -> None:
        self.accepted += 1
        live.failure = None
        state = live.state
        if state.timestamp is not None:
            self._bars.on_quote(
                state.symbol, quote.price, state.timestamp, state.volume, quote.size or 0.0
            )

    def _emit(self, updates: Sequence[StockUpdate], received: float) -> None:
        self._sink.publish(updates, received)
        self._recorder.submit(updates)
        for update in updates:
            live = self._streams[update.symbol]
            self._note_settled(live)
            self._bus.publish(STOCK_UPDATED, update, source=SOURCE)

    def _settle(self, live: LiveSymbol) -> None:
        """An unchanged price is not sent, but those who are new have not seen it."""
        self._note_settled(live)
        if live.state.last is not None:
            self._sink.settle(live.state.last)

    def _note_settled(self, live: LiveSymbol) -> None:
        if not live.settled:
            live.settled = True
            live.wake()
            self._sources.note_settled()

    def _rejected(self, live: LiveSymbol, quote: Quote, reason: Rejection) -> None:
        self.rejected[reason] += 1
        message = f"the price {quote.price} of {quote.symbol} is not believed: {reason}"
        self._fail(live, QuoteFailure(symbol=quote.symbol, code=reason, error=message))

    def _provider_failed(self, symbol: Symbol, error: ProviderError) -> None:
        self.errors += 1
        live = self._streams.get(symbol)
        if live is not None:
            self._fail(live, QuoteFailure(symbol=symbol, code=error.code, error=str(error)))
            live.wake()

    def _fail(self, live: LiveSymbol, failure: QuoteFailure) -> None:
        """Report a failure when it begins; while it lasts, it is counted only."""
        if live.failure is not None and live.failure.code == failure.code:
            return
        live.failure = failure
        log.warning("no_quote", symbol=failure.symbol, code=failure.code, error=failure.error)
        self._bus.publish(STOCK_UPDATE_ERROR, failure, source=SOURCE)
