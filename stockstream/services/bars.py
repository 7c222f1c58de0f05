"""Bars of every timeframe: the provider's, those that are stored, and the quotes seen here."""

from collections import OrderedDict
from collections.abc import Sequence
from secrets import randbits
from types import TracebackType
from typing import Final, Self

import structlog

from stockstream.core.bar_columns import followed, place_of
from stockstream.core.bar_reading import FOREVER, BarQuery
from stockstream.core.bar_rules import merge
from stockstream.core.bars import DEFAULT_MINUTES, Mark, MinuteBars
from stockstream.core.spans import Spans
from stockstream.errors import (
    InvalidPayloadError,
    InvalidSymbolError,
    ProviderError,
    RefusedError,
    StoreUnavailableError,
    UnavailableError,
)
from stockstream.model import Bar, Quote, Symbol, Timeframe
from stockstream.ports import Clock
from stockstream.provider_ports import BarSource
from stockstream.services.backfilling import Backfill
from stockstream.services.bar_history import Answer, BarHistory, BarHistoryLimits
from stockstream.services.history_writer import ProvidedBars
from stockstream.services.keeping import History
from stockstream.services.stored_series import Kept, Series, StoredSeries

#: Most bars that can be asked for at once.
MAX_LIMIT: Final = 1_000
#: Most bars of one range: a year of minutes of an exchange, 252 days of 390.
MAX_RANGE: Final = 100_000
#: So many bars and less cost little, also when asked for after each quote.
FEW: Final = 2
_DEFAULT_LIMITS: Final = BarHistoryLimits()
#: Series of which it is remembered what was stored of the provider's bars.
_MOST_KEPT: Final = 10_000

_log = structlog.get_logger(__name__)


class BarService:
    """Counts quotes into bars, and answers for their past.

    Memory: ``minutes`` of each symbol that streams and of the ``idle_symbols`` that did so last,
    and the provider's answers within ``limits``.

    Args:
        provider_bars: the provider's bars; None where it has none.
        clock: the time.
        history: where bars are kept for longer; None: in memory.
        minutes: how many of each symbol are held in memory.
        idle_symbols: of how many symbols that stream no more.
        limits: what asking the provider may cost.
    """

    def __init__(
        self,
        provider_bars: BarSource | None,
        clock: Clock,
        *,
        history: History | None = None,
        minutes: int = DEFAULT_MINUTES,
        idle_symbols: int = 250,
        limits: BarHistoryLimits = _DEFAULT_LIMITS,
    ) -> None:
        self._kept_minutes = minutes
        self._idle_symbols = idle_symbols
        self._clock = clock
        self._streaming: dict[Symbol, MinuteBars] = {}
        # The symbols whose streams stopped, the one that stopped last at the end.
        self._idle: OrderedDict[Symbol, MinuteBars] = OrderedDict()
        #: The provider's side, with its counters.
        self.history = BarHistory(
            provider_bars, clock, mark=self._mark, limits=limits, on_answer=self._keep
        )
        self._kept = history = history or History.in_memory(clock)
        self._stored = StoredSeries(history.store, clock)
        #: What asks the provider for older bars; None where it has none.
        self.backfill = Backfill(provider_bars, history.store, clock) if provider_bars else None
        #: From when to when (ms) the provider's answers were stored.
        self._kept_answers: OrderedDict[Series, tuple[int, int]] = OrderedDict()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Give up requests under way: who waits for one gets UnavailableError."""
        await self.history.aclose()
        await self._stored.aclose()
        if self.backfill is not None:
            await self.backfill.aclose()

    # --- counting -----------------------------------------------------------------------------

    def on_quote(
        self, symbol: Symbol, price: float, timestamp: int, volume: float, size: float = 0.0
    ) -> None:
        """Count a price of a symbol that another node streams, and stores.

        Args:
            symbol: streams until ``forget``.
            price: last price.
            timestamp: when the price was made, in ms since the epoch.
            volume: volume of the day so far, in units of the instrument.
            size: volume of this trade alone, 0 where unknown.
        """
        self._minutes(symbol).add(price, timestamp, volume, size)

    def on_believed(self, quote: Quote, timestamp: int, volume: float) -> None:
        """Count and store an accepted quote, also one whose price did not change.

        Args:
            quote: of a symbol that streams until ``forget``.
            timestamp: when the price was made, in ms since the epoch.
            volume: volume of the day so far, in units of the instrument.
        """
        minutes = self._minutes(quote.symbol)
        traded = minutes.add(quote.price, timestamp, volume, quote.size or 0.0)
        self._store(quote, minutes, timestamp, traded)

    def on_late(self, quote: Quote) -> None:
        """Correct the bars with a quote that is older than the newest one, if not by too much."""
        minutes = self._streaming.get(quote.symbol)
        timestamp = quote.timestamp
        if minutes is None or timestamp is None:
            return
        # The day's volume, where it is told, accounts for it already.
        traded = (quote.size or 0.0) if quote.volume is None else 0.0
        if minutes.add_late(quote.price, timestamp, traded):
            self._store(quote, minutes, timestamp, traded)

    def _store(self, quote: Quote, minutes: MinuteBars, timestamp: int, traded: float) -> None:
        if minutes.run is None:
            minutes.store_as(randbits(62))
        self._kept.writer.take(quote, minutes, timestamp, traded)

    def revision(self, symbol: Symbol) -> int:
        """Return a number that changes with every quote of ``symbol``."""
        minutes = self._minutes_of(symbol)
        return minutes.revision if minutes is not None else 0

    def corrected(self, symbol: Symbol, timeframe: Timeframe, revision: int) -> set[int]:
        """Return the starts of the bars that late quotes have changed since that revision."""
        minutes = self._streaming.get(symbol)
        if minutes is None or not minutes.corrected:
            return set()
        spans = self._kept.calendars.known(symbol, timeframe) or timeframe
        return {spans.floor(at) for at, when in minutes.corrected.items() if when > revision}

    def forget(self, symbol: Symbol) -> None:
        """Note that the stream of ``symbol`` stopped; its bars are kept while memory lasts."""
        minutes = self._streaming.pop(symbol, None)
        if minutes is None:
            return
        minutes.interrupt()
        self.history.drop(symbol)
        self._kept.writer.forget(symbol)
        self._idle[symbol] = minutes
        while len(self._idle) > self._idle_symbols:
            self._idle.popitem(last=False)

    # --- what is asked for --------------------------------------------------------------------

    async def bars(self, symbol: Symbol, timeframe: Timeframe, limit: int) -> list[Bar]:
        """Return the newest ``limit`` bars in order of time, the last of them still forming.

        There are fewer, or none, where neither the provider nor our own counting goes back further.
        While the provider fails there are our own and those it gave before. Cancelling is safe: a
        request to the provider that others wait for goes on.

        Args:
            symbol: in canonical form.
            timeframe: length of a bar.
            limit: 1 to 1,000.

        Raises:
            InvalidPayloadError: ``limit`` is out of bounds.
            UnavailableError: there are no bars right now; later there may be.
            InvalidSymbolError: there are none and there never will be: the provider knows of no
                such symbol.
        """
        if not 1 <= limit <= MAX_LIMIT:
            raise InvalidPayloadError(f"limit must be 1 to {MAX_LIMIT}, not {limit}", symbol=symbol)
        spans = await self._kept.calendars.spans(symbol, timeframe)
        await self._kept.inheritance.settle(symbol)
        answer = await self.history.get(symbol, timeframe, limit)
        # Who watches a bar form asks after each quote: the others need not be made for that.
        depth = FEW if limit <= FEW else answer.depth
        kept = await self._stored.newest(
            Series(symbol, timeframe), spans, depth, self._continuing(symbol)
        )
        bars = self._joined(answer, kept, spans)[-limit:]
        if not bars and answer.error is not None:
            raise _refusal(symbol, answer.error)
        return bars

    async def range(
        self,
        symbol: Symbol,
        timeframe: Timeframe,
        *,
        start_ms: int | None = None,
        end_ms: int | None = None,
        limit: int = MAX_LIMIT,
    ) -> Sequence[Bar]:
        """Return the bars that start within a stretch of time, in order of time.

        With ``start_ms`` they are the oldest ``limit`` of them, so that the next page starts after
        the last one; without it the newest. The last bar there is may still be forming. Cancelling
        is safe.

        Args:
            symbol: in canonical form.
            timeframe: length of a bar.
            start_ms: bars that start before it, in ms since the epoch, are left out.
            end_ms: so are those that start at it or later; None: up to now.
            limit: 1 to 100,000.

        Raises:
            InvalidPayloadError: ``limit`` is out of bounds, or the stretch ends before it starts.
            UnavailableError: there are no bars right now; later there may be.
            InvalidSymbolError: there are none and there never will be: the provider knows of no
                such symbol.
        """
        if not 1 <= limit <= MAX_RANGE:
            raise InvalidPayloadError(f"limit must be 1 to {MAX_RANGE}, not {limit}", symbol=symbol)
        if start_ms is not None and end_ms is not None and start_ms > end_ms:
            raise InvalidPayloadError(
                f"from ({start_ms}) must not be after to ({end_ms})", symbol=symbol
            )
        newest = start_ms is None
        start, end = start_ms or 0, FOREVER if end_ms is None else end_ms
        head = await self.bars(symbol, timeframe, MAX_LIMIT)
        bars: Sequence[Bar] = head[place_of(head, start) : place_of(head, end)]
        # Where there are fewer, they are all that there are.
        is_enough = newest and len(bars) >= limit
        if len(head) == MAX_LIMIT and start < head[0].timestamp and not is_enough:
            query = BarQuery(
                timeframe=timeframe,
                spans=await self._kept.calendars.spans(symbol, timeframe),
                start_ms=start,
                end_ms=min(end, head[0].timestamp),
                limit=limit - len(bars) if newest else limit,
                newest=newest,
            )
            bars = followed(await self._older(symbol, query), bars)
        return bars[-limit:] if newest else bars[:limit]

    async def _older(self, symbol: Symbol, query: BarQuery) -> Sequence[Bar]:
        try:
            if self.backfill is not None:
                await self.backfill.fill(symbol, query)
            return await self._stored.stretch(symbol, query, self._continuing(symbol))
        except StoreUnavailableError as error:
            _log.info("bars_not_read", symbol=symbol, error=str(error))
            raise UnavailableError(
                f"older bars of {symbol} can't be had right now", symbol=symbol
            ) from error

    def _joined(self, answer: Answer, kept: Kept, spans: Spans) -> list[Bar]:
        # Many clients ask between two quotes: they share the work.
        revision = kept.minutes.revision if kept.minutes is not None else 0
        if answer.joined_stored is kept and answer.joined_revision == revision:
            return answer.joined
        joined = self._join(answer, kept, spans)
        if kept.stored.query.limit > FEW:
            answer.joined, answer.joined_revision, answer.joined_stored = joined, revision, kept
        return joined

    def _join(self, answer: Answer, kept: Kept, spans: Spans) -> list[Bar]:
        traded = None
        symbol, minutes = kept.series.symbol, kept.minutes
        if answer.bars and minutes is not None and symbol in self._streaming:
            start, end = spans.bounds(answer.bars[-1].timestamp)
            traded = minutes.traded_since(answer.mark, start, end)
        depth = kept.stored.query.limit
        return merge(answer.bars[-depth:], kept.bars(spans), traded=traded)

    def _keep(self, symbol: Symbol, timeframe: Timeframe, answer: Answer) -> None:
        """Have the finished ones of a provider's bars stored, as far as they are news."""
        length = timeframe.duration_ms
        now = self._clock.time_ms()
        finished = [bar for bar in answer.bars if bar.timestamp + length <= now]
        if not finished:
            return
        series = Series(symbol, timeframe)
        start, end = finished[0].timestamp, finished[-1].timestamp + length
        known_start, known_end = self._kept_answers.get(series, (end, end))
        if known_start <= start and end <= known_end:
            return
        news = [bar for bar in finished if not known_start <= bar.timestamp < known_end]
        self._kept.writer.provide(ProvidedBars(symbol, timeframe, news, (start, end)))
        if start <= known_end and known_start <= end:
            start, end = min(start, known_start), max(end, known_end)
        self._kept_answers[series] = start, end
        self._kept_answers.move_to_end(series)
        if len(self._kept_answers) > _MOST_KEPT:
            self._kept_answers.popitem(last=False)

    # --- countings ----------------------------------------------------------------------------

    def _minutes(self, symbol: Symbol) -> MinuteBars:
        return self._streaming.get(symbol) or self._begin(symbol)

    def _begin(self, symbol: Symbol) -> MinuteBars:
        # What the provider said before the stream began ends somewhere before its first quote.
        self.history.drop(symbol)
        minutes = self._idle.pop(symbol, None) or MinuteBars(self._kept_minutes)
        self._streaming[symbol] = minutes
        # Of before the first quote, and of a pause, others may have stored what we did not count.
        self._kept.inheritance.claim(symbol, minutes)
        return minutes

    def _minutes_of(self, symbol: Symbol) -> MinuteBars | None:
        return self._streaming.get(symbol) or self._idle.get(symbol)

    def _continuing(self, symbol: Symbol) -> MinuteBars | None:
        """Return our counting where what is stored does not have all of it, or will not."""
        minutes = self._idle.get(symbol)
        if minutes is None:
            return self._streaming.get(symbol)
        # It may be streamed elsewhere by now, and be stored from there.
        is_missing = self._kept.writer.holds(symbol) if minutes.run else not self._kept.is_shared
        return minutes if is_missing else None

    def _mark(self, symbol: Symbol) -> Mark:
        minutes = self._minutes_of(symbol)
        return minutes.mark() if minutes is not None else Mark()


def _refusal(symbol: Symbol, error: ProviderError) -> RefusedError:
    if error.retryable:
        return UnavailableError(f"the bars of {symbol} can't be had right now", symbol=symbol)
    return InvalidSymbolError(f"there are no bars of {symbol}", symbol=symbol)
