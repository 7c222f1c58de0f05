"""Turns what a provider says into price changes: validate, normalize, enrich, price gate."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from random import Random

import structlog

from stockstream.core.circuit_breaker import CircuitState
from stockstream.core.quote_rules import Rejection
from stockstream.core.reference import enricher
from stockstream.core.symbol_stream import SymbolStream
from stockstream.errors import ProviderError
from stockstream.model import Quote, StockUpdate, Symbol
from stockstream.model.reference import Reference
from stockstream.model.topics import STOCK_UPDATE_ERROR, QuoteFailure
from stockstream.ports import Clock
from stockstream.provider_ports import QuoteProvider
from stockstream.services.bars import BarService
from stockstream.services.deriving import Derivations
from stockstream.services.event_bus import EventBus
from stockstream.services.live_symbol import LiveSymbol
from stockstream.services.quote_sources import QuoteSources

log = structlog.get_logger(__name__)


class ProducedSymbol:
    """A symbol whose quotes are asked for."""

    __slots__ = ("live", "seeded_at", "state")

    def __init__(self, state: SymbolStream, live: LiveSymbol) -> None:
        self.state = state
        self.live = live
        #: When it became known what was emitted last, or that this can't be known, in monotonic
        #: seconds; None before. A quote that was asked for earlier may be older than that.
        self.seeded_at: float | None = None

    @property
    def settled(self) -> bool:
        """Whether its price is known."""
        return self.live.settled


class QuoteProducer:
    """Asks for the quotes of the symbols that it is given, and hands price changes on.

    What is handed on comes in the order of its receipt. Nothing is asked before :meth:`run`.
    """

    def __init__(
        self,
        provider: QuoteProvider,
        *,
        demand: Callable[[Symbol], int],
        interval: float,
        batch_size: int,
        source: str,
        bars: BarService,
        bus: EventBus,
        clock: Clock,
        random: Random,
        on_changes: Callable[[Sequence[StockUpdate], float], None],
        on_confirmed: Callable[[StockUpdate], None],
        derived: Derivations | None = None,
        reference: Mapping[Symbol, Reference] | None = None,
    ) -> None:
        """Ask for nothing yet.

        Args:
            provider: whose quotes are wanted.
            demand: how many want a symbol.
            interval: seconds between two requests for a polled symbol.
            batch_size: most symbols in one request.
            source: who reports failures on the bus.
            bars: counts each quote that is believed, also one whose price did not change.
            bus: hears of failures.
            clock: the time.
            random: jitter of the pauses after failures.
            on_changes: called with changes, and the monotonic time of their receipt.
            on_confirmed: called when the first quote of a symbol says what was known before.
            derived: computes the quotes of its symbols; the provider is not asked for them.
            reference: completes the updates of its symbols.
        """
        self._bars = bars
        self._bus = bus
        self._clock = clock
        self._source = source
        self._on_changes = on_changes
        self._on_confirmed = on_confirmed
        self._streams: dict[Symbol, ProducedSymbol] = {}
        self._derived = derived
        self._reference = reference or {}
        self._enrich = enricher(self._reference)
        self._sources = QuoteSources(
            provider,
            streams=self._streams,
            elsewhere=derived if derived is not None else (),
            demand=demand,
            interval=interval,
            batch_size=batch_size,
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

    @property
    def streams(self) -> Mapping[Symbol, ProducedSymbol]:
        """The symbols that were begun and not ended."""
        return self._streams

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

    def begin(self, symbol: Symbol, state: SymbolStream, live: LiveSymbol) -> None:
        """Produce a symbol as soon as it is seeded; its state goes on from ``state``."""
        row = self._reference.get(symbol)
        if row is not None:
            state.describe(self._enrich, row.previous_close)
        self._streams[symbol] = ProducedSymbol(state, live)

    def seed(self, symbol: Symbol, last: StockUpdate | None) -> bool:
        """Say what was emitted last of a symbol, by whomever; None where that is not known.

        Returns:
            Whether this was waited for: the symbol is still produced, and begins now.
        """
        stream = self._streams.get(symbol)
        if stream is None or stream.seeded_at is not None:
            return False
        stream.seeded_at = self._clock.monotonic()
        self._sources.move()
        if last is not None:
            stream.state.seed(last)
            self._settle(stream)
        if self._derived is not None and symbol in self._derived:
            self._derived.begin(symbol, self._take)
        return True

    def end(self, symbol: Symbol) -> SymbolStream:
        """Produce a symbol no more, from this moment on; returns where it stands."""
        stream = self._streams.pop(symbol)
        if self._derived is not None:
            self._derived.end(symbol)
        self._sources.move()
        self._bars.forget(symbol)
        return stream.state

    def rebalance(self) -> None:
        """Note that symbols may be wanted more or less than before."""
        self._sources.rebalance()
        if self._derived is not None:
            self._derived.retry()

    async def run(self) -> None:
        """Have quotes come in until cancelled."""
        await self._sources.run()

    # --- the way of a quote -------------------------------------------------------------------

    def _take(self, quotes: Sequence[Quote]) -> None:
        received = self._clock.monotonic()
        now_ms = self._clock.time_ms()
        updates: list[StockUpdate] = []
        confirmed: list[ProducedSymbol] = []
        for quote in quotes:
            stream = self._streams.get(quote.symbol)
            if stream is None or stream.seeded_at is None:
                continue
            outcome = stream.state.offer(quote, now_ms)
            if isinstance(outcome, Rejection):
                self._rejected(stream, quote, outcome)
                continue
            self._accepted(stream, quote)
            if outcome is None:
                self.unchanged += 1
                confirmed.append(stream)
            else:
                updates.append(outcome)
        if updates:
            self._on_changes(updates, received)
            for update in updates:
                self._note(self._streams[update.symbol], update)
        # After the changes of the same batch: a snapshot must not overtake them.
        for stream in confirmed:
            if not stream.settled:
                self._settle(stream)

    def _accepted(self, stream: ProducedSymbol, quote: Quote) -> None:
        self.accepted += 1
        stream.live.failure = None
        state = stream.state
        if state.timestamp is not None:
            self._bars.on_believed(quote, state.timestamp, state.volume)

    def _settle(self, stream: ProducedSymbol) -> None:
        """An unchanged price is not sent, but those who are new have not seen it."""
        last = stream.state.last
        if last is not None:
            self._note(stream, last)
            self._on_confirmed(last)

    def _note(self, stream: ProducedSymbol, update: StockUpdate) -> None:
        if stream.live.settle(update):
            self._sources.note_settled()

    def _rejected(self, stream: ProducedSymbol, quote: Quote, reason: Rejection) -> None:
        self.rejected[reason] += 1
        if reason is Rejection.OUT_OF_ORDER and stream.state.is_plausible(quote.price):
            # Too late for clients, not for the bar that it belongs to.
            self._bars.on_late(quote)
        message = f"the price {quote.price} of {quote.symbol} is not believed: {reason}"
        self._fail(stream, QuoteFailure(symbol=quote.symbol, code=reason, error=message))

    def _provider_failed(self, symbol: Symbol, error: ProviderError) -> None:
        self.errors += 1
        stream = self._streams.get(symbol)
        if stream is not None:
            self._fail(stream, QuoteFailure(symbol=symbol, code=error.code, error=str(error)))
            stream.live.wake()

    def _fail(self, stream: ProducedSymbol, failure: QuoteFailure) -> None:
        """Report a failure when it begins; while it lasts, it is counted only."""
        before = stream.live.failure
        if before is not None and before.code == failure.code:
            return
        stream.live.failure = failure
        log.warning("no_quote", symbol=failure.symbol, code=failure.code, error=failure.error)
        self._bus.publish(STOCK_UPDATE_ERROR, failure, source=self._source)
