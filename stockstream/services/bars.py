"""Bars of every timeframe: the provider's history, continued by the quotes seen here."""

from collections import OrderedDict
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

from stockstream.core.bar_rules import merge
from stockstream.core.bars import DEFAULT_MINUTES, Mark, MinuteBars
from stockstream.errors import (
    InvalidPayloadError,
    InvalidSymbolError,
    ProviderError,
    RefusedError,
    UnavailableError,
)
from stockstream.model import Bar, Symbol, Timeframe
from stockstream.ports import BarSource, Clock
from stockstream.services.bar_history import Answer, BarHistory, BarHistoryLimits

#: Most bars that can be asked for at once.
MAX_LIMIT: Final = 1_000
#: Most bars of one range: a year of minutes of an exchange, 252 days of 390.
MAX_RANGE: Final = 100_000
#: So many bars and less cost little, also when asked for after each quote.
FEW: Final = 2
_DEFAULT_LIMITS: Final = BarHistoryLimits()


class BarService:
    """Counts quotes into bars, and answers for their past.

    Memory: ``minutes`` of each symbol that streams and of the ``idle_symbols`` that did so last,
    and the provider's answers within ``limits``.
    """

    def __init__(
        self,
        provider_bars: BarSource | None,
        clock: Clock,
        *,
        minutes: int = DEFAULT_MINUTES,
        idle_symbols: int = 250,
        limits: BarHistoryLimits = _DEFAULT_LIMITS,
    ) -> None:
        self._kept_minutes = minutes
        self._idle_symbols = idle_symbols
        self._streaming: dict[Symbol, MinuteBars] = {}
        # The symbols whose streams stopped, the one that stopped last at the end.
        self._idle: OrderedDict[Symbol, MinuteBars] = OrderedDict()
        self._history = BarHistory(provider_bars, clock, mark=self._mark, limits=limits)

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
        await self._history.aclose()

    @property
    def history(self) -> BarHistory:
        """The provider's side, with its counters."""
        return self._history

    def on_quote(
        self, symbol: Symbol, price: float, timestamp: int, volume: float, size: float = 0.0
    ) -> None:
        """Count an accepted quote, also one whose price did not change.

        Args:
            symbol: streams until ``forget``.
            price: last price.
            timestamp: when the price was made, in ms since the epoch.
            volume: volume of the day so far, in units of the instrument.
            size: volume of this trade alone, 0 where unknown.
        """
        minutes = self._streaming.get(symbol)
        if minutes is None:
            minutes = self._begin(symbol)
        minutes.add(price, timestamp, volume, size)

    def revision(self, symbol: Symbol) -> int:
        """Return a number that changes with every quote of ``symbol``."""
        minutes = self._minutes_of(symbol)
        return minutes.revision if minutes is not None else 0

    def forget(self, symbol: Symbol) -> None:
        """Note that the stream of ``symbol`` stopped; its bars are kept while memory lasts."""
        minutes = self._streaming.pop(symbol, None)
        if minutes is None:
            return
        minutes.interrupt()
        self._history.drop(symbol)
        self._idle[symbol] = minutes
        while len(self._idle) > self._idle_symbols:
            self._idle.popitem(last=False)

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
        answer = await self._history.get(symbol, timeframe, limit)
        minutes = self._minutes_of(symbol)
        if minutes is not None:
            return self._joined(answer, symbol, minutes, timeframe, limit)[-limit:]
        if answer.error is not None and not answer.bars:
            raise _refusal(symbol, answer.error)
        return answer.bars[-limit:]

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
        bars = [
            bar
            for bar in await self.bars(symbol, timeframe, MAX_LIMIT)
            if (start_ms is None or start_ms <= bar.timestamp)
            and (end_ms is None or bar.timestamp < end_ms)
        ]
        return bars[:limit] if start_ms is not None else bars[-limit:]

    def _joined(
        self, answer: Answer, symbol: Symbol, minutes: MinuteBars, timeframe: Timeframe, limit: int
    ) -> list[Bar]:
        # Many clients ask between two quotes: they share the work.
        if answer.joined_revision == minutes.revision:
            return answer.joined
        # Who watches a bar form asks after each quote: the others need not be made for that.
        if limit <= FEW:
            return self._join(answer, symbol, minutes, timeframe, FEW)
        answer.joined = self._join(answer, symbol, minutes, timeframe, answer.depth)
        answer.joined_revision = minutes.revision
        return answer.joined

    def _join(
        self, answer: Answer, symbol: Symbol, minutes: MinuteBars, timeframe: Timeframe, limit: int
    ) -> list[Bar]:
        traded = None
        if answer.bars and symbol in self._streaming:
            seam = answer.bars[-1].timestamp
            traded = minutes.traded_since(answer.mark, seam, seam + timeframe.duration_ms)
        return merge(answer.bars[-limit:], minutes.bars(timeframe, limit), traded=traded)

    def _begin(self, symbol: Symbol) -> MinuteBars:
        # What the provider said before the stream began ends somewhere before its first quote.
        self._history.drop(symbol)
        minutes = self._idle.pop(symbol, None) or MinuteBars(self._kept_minutes)
        self._streaming[symbol] = minutes
        return minutes

    def _minutes_of(self, symbol: Symbol) -> MinuteBars | None:
        return self._streaming.get(symbol) or self._idle.get(symbol)

    def _mark(self, symbol: Symbol) -> Mark:
        minutes = self._minutes_of(symbol)
        return minutes.mark() if minutes is not None else Mark()


def _refusal(symbol: Symbol, error: ProviderError) -> RefusedError:
    if error.retryable:
        return UnavailableError(f"the bars of {symbol} can't be had right now", symbol=symbol)
    return InvalidSymbolError(f"there are no bars of {symbol}", symbol=symbol)
