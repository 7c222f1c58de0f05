"""Bars out of quotes: minutes are counted once, and every larger timeframe is made from them."""

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf, isfinite
from typing import Final

from stockstream.core.ohlcv import OhlcvWindow, bounds_of
from stockstream.model import Bar, Timeframe

#: How many minutes are kept unless said otherwise: two days around the clock.
DEFAULT_MINUTES: Final = 2 * 24 * 60
# The oldest minutes leave by the hour: shifting whole arrays each minute would cost more.
_TRIM: Final = 60

_MINUTE_MS: Final = Timeframe.M1.duration_ms
_minute = bounds_of(Timeframe.M1)


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment in the counting of one symbol's volume; by default before all of it."""

    #: The minute that was forming, in ms since the epoch.
    minute: int = -_MINUTE_MS
    #: Volume of that minute up to then, in units of the instrument.
    volume: float = 0.0


class MinuteBars:
    """The minute bars of one symbol, the last of them still forming.

    A minute without a quote has no bar. A quote costs O(1). The newest minutes are kept, in columns
    of plain numbers: 48 bytes a minute, nothing for the garbage collector to walk through.
    """

    __slots__ = (
        "_closes",
        "_highs",
        "_keep",
        "_lows",
        "_opens",
        "_seen",
        "_starts",
        "_volumes",
        "_window",
        "late",
        "revision",
    )

    def __init__(self, keep: int = DEFAULT_MINUTES) -> None:
        """Keep at least ``keep`` finished minutes, and less than an hour more."""
        self._keep = keep
        #: Number of quotes taken in; the bars change only when it does.
        self.revision = 0
        #: Number of quotes passed over because their minute was finished already.
        self.late = 0
        self._starts = array("q")
        self._opens = array("d")
        self._highs = array("d")
        self._lows = array("d")
        self._closes = array("d")
        self._volumes = array("d")
        #: The forming minute.
        self._window = OhlcvWindow(_minute)
        # No volume of a day is above this: the first quote looks like the first of a new day.
        self._seen = inf

    def add(self, price: float, timestamp: int, day_volume: float, size: float = 0.0) -> None:
        """Take in an accepted quote.

        Args:
            price: last price.
            timestamp: when the price was made, in ms since the epoch. A quote of a minute that is
                finished already is passed over and counted in ``late``.
            day_volume: volume of the day so far. The bar's volume grows by what was added since the
                quote before; where there is no such quote, or the day starts anew, by ``size``.
            size: volume of this trade alone, 0 where unknown.
        """
        window = self._window
        if timestamp < window.start:
            self.late += 1
            return
        self.revision += 1
        traded = day_volume - self._seen
        self._seen = day_volume
        if traded < 0.0:
            traded = size
        finished = window.add(price, timestamp, traded)
        if finished is not None:
            self._finish(finished)

    def interrupt(self) -> None:
        """Note that quotes are missed from now on: their volume is not the next bar's."""
        self._seen = inf

    def _finish(self, bar: Bar) -> None:
        self._starts.append(bar.timestamp)
        self._opens.append(bar.open)
        self._highs.append(bar.high)
        self._lows.append(bar.low)
        self._closes.append(bar.close)
        self._volumes.append(bar.volume)
        if len(self._starts) >= self._keep + _TRIM:
            del self._starts[:_TRIM]
            for column in (self._opens, self._highs, self._lows, self._closes, self._volumes):
                del column[:_TRIM]

    @property
    def forming(self) -> Bar | None:
        """The minute of the last quote, None before the first quote."""
        return self._window.forming

    def bars(self, timeframe: Timeframe, limit: int) -> list[Bar]:
        """Return the newest ``limit`` bars of that timeframe, in order of time.

        The last one is still forming. The first one may lack the minutes that are no longer kept.
        """
        bars = self._finished(timeframe, limit)
        minute = self.forming
        if minute is not None:
            start = timeframe.floor(minute.timestamp)
            same = bars and bars[-1].timestamp == start
            bars.append(_continued(bars.pop(), minute) if same else _relabelled(minute, start))
        return bars[-limit:]

    def _finished(self, timeframe: Timeframe, limit: int) -> list[Bar]:
        bars: list[Bar] = []
        end = len(self._starts)
        while end and len(bars) < limit:
            start = timeframe.floor(self._starts[end - 1])
            begin = bisect_left(self._starts, start, 0, end)
            bars.append(self._span(start, begin, end))
            end = begin
        bars.reverse()
        return bars

    def _span(self, start: int, begin: int, end: int) -> Bar:
        return Bar(
            timestamp=start,
            open=self._opens[begin],
            high=max(self._highs[begin:end]),
            low=min(self._lows[begin:end]),
            close=self._closes[end - 1],
            volume=sum(self._volumes[begin:end]),
        )

    def mark(self) -> Mark:
        """Return this moment, for ``traded_since``."""
        minute = self.forming
        return Mark(minute.timestamp, minute.volume) if minute is not None else Mark()

    def traded_since(self, mark: Mark, start: int, end: int) -> float:
        """Return the volume of the minutes from ``start`` to before ``end`` (ms) after ``mark``."""
        start = max(start, mark.minute)
        if start >= end:
            return 0.0
        begin = bisect_left(self._starts, start)
        volume = sum(self._volumes[begin : bisect_left(self._starts, end)])
        if start <= self._window.start < end:
            volume += self._window.volume
        return volume - mark.volume if start == mark.minute else volume


def aggregate(bars: Iterable[Bar], timeframe: Timeframe) -> list[Bar]:
    """Return ``bars``, which are in order of time, as bars of a timeframe that is not smaller."""
    window = OhlcvWindow(bounds_of(timeframe))
    result = [ended for bar in bars if (ended := window.add_bar(bar)) is not None]
    return [*result, forming] if (forming := window.forming) is not None else result


def merge(older: Sequence[Bar], live: Sequence[Bar], *, traded: float | None) -> list[Bar]:
    """Continue the bars of a provider with our own; both are in order of time.

    The provider saw its finished bars from their first trade to their last: they win over ours. Its
    last one may have been forming when it was asked: it gives the open, both give the extremes, we
    give the close. What it does not have is ours.

    Args:
        older: the provider's bars.
        live: our own, of the same timeframe.
        traded: volume that we counted within the provider's last bar after the provider was asked,
            so that nothing is counted twice; None where we stopped counting before: then that bar
            is the provider's alone.

    Returns:
        The bars of both, in order of time.
    """
    if not older:
        return list(live)
    merged = {bar.timestamp: bar for bar in live}
    seam = merged.get(older[-1].timestamp)
    merged.update((bar.timestamp, bar) for bar in older)
    if seam is not None and traded is not None:
        last = _continued(older[-1], seam, volume=traded)
        merged[last.timestamp] = last
    return [merged[start] for start in sorted(merged)]


def is_sound(bar: Bar) -> bool:
    """Whether ``bar`` can be true: finite, above zero, its extremes around open and close."""
    fields = (bar.open, bar.high, bar.low, bar.close, bar.volume)
    inside = 0.0 < bar.low <= min(bar.open, bar.close) and max(bar.open, bar.close) <= bar.high
    return all(map(isfinite, fields)) and inside and bar.volume >= 0.0


def _continued(bar: Bar, later: Bar, *, volume: float | None = None) -> Bar:
    return Bar(
        timestamp=bar.timestamp,
        open=bar.open,
        high=max(bar.high, later.high),
        low=min(bar.low, later.low),
        close=later.close,
        volume=bar.volume + (later.volume if volume is None else volume),
    )


def _relabelled(bar: Bar, start: int) -> Bar:
    return Bar(
        timestamp=start,
        open=bar.open,
        high=bar.high,
        low=bar.low,
        close=bar.close,
        volume=bar.volume,
    )
