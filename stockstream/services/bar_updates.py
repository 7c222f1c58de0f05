"""Streams bars to those who watch them: the one that forms, a few times a second, and its end."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from stockstream.errors import RefusedError
from stockstream.model import Bar, Symbol, Timeframe
from stockstream.ports import Clock
from stockstream.services.bars import FEW, BarService
from stockstream.wire.names import bar_update
from stockstream.wire.replies import BarUpdate

#: Seconds between two looks: a forming bar is sent at most so often, however many quotes there are.
_INTERVAL: Final = 0.5
#: Bars that may end between two looks, in a recording that is replayed fast.
_MOST_FINISHED: Final = 100

_Series = tuple[Symbol, Timeframe]


class BarUpdates:
    """Sends ``bar_update_<SYMBOL>_<TIMEFRAME>`` while somebody wants it.

    A bar is sent when it has changed since the last look, and once more, closed, when the first
    quote of a later one has come; again where a late quote has corrected it since.
    """

    def __init__(
        self, bars: BarService, clock: Clock, send: Callable[[str, BarUpdate], None]
    ) -> None:
        self._bars = bars
        self._clock = clock
        self._send = send
        self._wanted: Counter[_Series] = Counter()
        #: The forming bar of each series as it was sent last, and the quotes that it was made of.
        self._sent: dict[_Series, tuple[int, Bar]] = {}
        #: Series that somebody new wants, who has not been given the forming bar yet.
        self._fresh: set[_Series] = set()
        #: Series that are being looked at: a provider's history may take its time.
        self._looks: dict[_Series, asyncio.Task[None]] = {}

    def acquire(self, symbol: Symbol, timeframe: Timeframe) -> None:
        """Want a series; pairs with one :meth:`release`."""
        self._wanted[symbol, timeframe] += 1
        # Whoever is new gets the bar at the next look, also while no quote comes.
        self._fresh.add((symbol, timeframe))

    def release(self, symbol: Symbol, timeframe: Timeframe) -> None:
        """Want it no more."""
        series = (symbol, timeframe)
        self._wanted[series] -= 1
        if not self._wanted[series]:
            del self._wanted[series]
            self._sent.pop(series, None)
            self._fresh.discard(series)

    async def run(self) -> None:
        """Look and send until cancelled."""
        try:
            while True:
                for series in self._wanted:
                    if series not in self._looks and self._is_new(series):
                        self._looks[series] = asyncio.create_task(self._look(series))
                await self._clock.sleep(_INTERVAL)
        finally:
            looks = list(self._looks.values())
            for look in looks:
                look.cancel()
            await asyncio.gather(*looks, return_exceptions=True)

    def _is_new(self, series: _Series) -> bool:
        sent = self._sent.get(series)
        return series in self._fresh or sent is None or sent[0] != self._bars.revision(series[0])

    async def _look(self, series: _Series) -> None:
        symbol, timeframe = series
        try:
            bars = await self._bars.bars(symbol, timeframe, FEW)
            if self._is_too_short(series, bars):
                bars = await self._bars.bars(symbol, timeframe, _MOST_FINISHED)
        except RefusedError:
            # No bars now; the next look may find some, and a wrong symbol hears of it elsewhere.
            return
        finally:
            del self._looks[series]
        # It may have been given up while the provider was asked.
        if bars and series in self._wanted:
            self._send_new(series, bars)

    def _is_too_short(self, series: _Series, bars: Sequence[Bar]) -> bool:
        """Return whether bars may have ended that are not among these."""
        sent = self._sent.get(series)
        if sent is None or not bars:
            return False
        corrected = self._bars.corrected(*series, sent[0])
        return bars[0].timestamp > min(sent[1].timestamp, *corrected, sent[1].timestamp)

    def _send_new(self, series: _Series, bars: Sequence[Bar]) -> None:
        revision, before = self._sent.get(series, (0, None))
        corrected = self._bars.corrected(*series, revision)
        self._sent[series] = (self._bars.revision(series[0]), bars[-1])
        if before is not None:
            for bar in bars[:-1]:
                if bar.timestamp >= before.timestamp or bar.timestamp in corrected:
                    self._emit(series, bar, closed=True)
        if bars[-1] != before or series in self._fresh:
            self._emit(series, bars[-1], closed=False)
        self._fresh.discard(series)

    def _emit(self, series: _Series, bar: Bar, *, closed: bool) -> None:
        symbol, timeframe = series
        payload = BarUpdate(
            symbol=symbol,
            timeframe=timeframe,
            timestamp=bar.timestamp,
            open=bar.open,
            high=bar.high,
            low=bar.low,
            close=bar.close,
            volume=bar.volume,
            closed=closed,
        )
        self._send(bar_update(symbol, timeframe), payload)
