"""Bars out of quotes: minutes are counted once, and every larger timeframe is made from them."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Final

from stockstream.core.bar_parts import BarPart, combine
from stockstream.core.bar_rules import continued, relabelled
from stockstream.core.minute_columns import MinuteColumns
from stockstream.core.ohlcv import OhlcvWindow, bounds_of
from stockstream.core.spans import Spans
from stockstream.model import Bar, Timeframe

#: How many minutes are kept unless said otherwise: four hours.
DEFAULT_MINUTES: Final = 4 * 60
#: How many are kept while they wait to be stored: two days around the clock.
_MOST_MINUTES: Final = 2 * 24 * 60
#: How long after a later quote one still counts, in ms, unless said otherwise.
DEFAULT_GRACE_MS: Final = 60_000
# The oldest minutes leave by the hour: shifting whole arrays each minute would cost more.
_TRIM: Final = 60

_floor = Timeframe.M1.floor
_minute = bounds_of(Timeframe.M1)
_MINUTE_MS: Final = Timeframe.M1.duration_ms


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
    of plain numbers: 52 bytes a minute, nothing for the garbage collector to walk through.

    Quotes may come in any order within the grace period: the price that was made first opens its
    bar, the one that was made last closes it; of two of the same millisecond, the one that came
    first is the earlier one.

    Args:
        keep: at least so many finished minutes are kept, and less than an hour more; those that
            wait to be stored (see :meth:`take_changed`) are kept for up to two days.
        grace_ms: a quote that is older than the newest one by more than that is passed over.
        run: names this counting among all that are stored; None where nobody stores it.
    """

    __slots__ = (
        "_changed",
        "_closed",
        "_finished",
        "_grace",
        "_keep",
        "_opened",
        "_seen",
        "_taken",
        "_window",
        "corrected",
        "late",
        "lost",
        "revision",
        "run",
    )

    def __init__(
        self,
        keep: int = DEFAULT_MINUTES,
        *,
        grace_ms: int = DEFAULT_GRACE_MS,
        run: int | None = None,
    ) -> None:
        self._keep = keep
        self._grace = grace_ms
        self.run = run
        #: Number of quotes taken in; the bars change only when it does.
        self.revision = 0
        #: Number of quotes passed over because the grace period of their minute was over.
        self.late = 0
        #: Number of minutes that left before they were stored.
        self.lost = 0
        #: The finished minutes (ms) that were changed within the grace period, and the revision
        #: that did so.
        self.corrected: dict[int, int] = {}
        self._finished = MinuteColumns()
        #: The forming minute, and when its first and last quotes were made: the newest of all.
        self._window = OhlcvWindow(_minute)
        self._opened = self._closed = -_MINUTE_MS
        # No volume of a day is above this: the first quote looks like the first of a new day.
        self._seen = inf
        # The first minute that was not taken as it is now, and the revision of the last taking.
        self._changed = -_MINUTE_MS
        self._taken = 0

    def add(self, price: float, timestamp: int, day_volume: float, size: float = 0.0) -> float:
        """Take in an accepted quote; returns the volume that it added to its bar.

        Args:
            price: last price.
            timestamp: when the price was made, in ms since the epoch.
            day_volume: volume of the day so far. The bar's volume grows by what was added since the
                quote before; where there is no such quote, or the day starts anew, by ``size``.
            size: volume of this trade alone, 0 where unknown.
        """
        if timestamp < self._closed:
            return size if self.add_late(price, timestamp, size) else 0.0
        self.revision += 1
        traded = day_volume - self._seen
        self._seen = day_volume
        if traded < 0.0:
            traded = size
        finished = self._window.add(price, timestamp, traded)
        if finished is not None:
            self._finish(self._part(finished), timestamp)
        if finished is not None or self.revision == 1:
            self._opened = timestamp
        self._closed = timestamp
        return traded

    def add_late(self, price: float, timestamp: int, traded: float) -> bool:
        """Take in a quote that is older than the newest one; returns whether it counts.

        Args:
            price: its price.
            timestamp: when the price was made, in ms since the epoch.
            traded: volume that no other quote accounts for.
        """
        if not self.revision or self._closed - timestamp > self._grace:
            self.late += 1
            return False
        self.revision += 1
        if timestamp < self._window.start:
            self._correct(price, timestamp, traded)
            return True
        self._window.add_earlier(price, traded, first=timestamp < self._opened)
        self._opened = min(self._opened, timestamp)
        return True

    def interrupt(self) -> None:
        """Note that quotes are missed from now on: their volume is not the next bar's."""
        self._seen = inf

    def _finish(self, part: BarPart, now: int) -> None:
        self._finished.insert(len(self._finished), part)
        if self.corrected:
            # Nobody looks for a correction that long.
            oldest = now - 2 * self._grace - _MINUTE_MS
            self.corrected = {
                minute: at for minute, at in self.corrected.items() if minute > oldest
            }
        if len(self._finished) >= self._keep + _TRIM:
            self._trim()

    def _trim(self) -> None:
        waiting = self.run is not None and self._finished.starts[_TRIM - 1] >= self._changed
        if waiting:
            if len(self._finished) < _MOST_MINUTES + _TRIM:
                return
            self.lost += _TRIM - bisect_left(self._finished.starts, self._changed, 0, _TRIM)
        self._finished.trim(_TRIM)

    def _correct(self, price: float, timestamp: int, traded: float) -> None:
        minute = _floor(timestamp)
        self.corrected[minute] = self.revision
        self._changed = min(self._changed, minute)
        self._finished.correct(minute, price, timestamp, traded)

    # --- what is stored -----------------------------------------------------------------------

    def store_as(self, run: int) -> None:
        """Have what is counted from the forming minute on stored, under this name."""
        self.run = run
        self._changed = self._window.start
        self._taken = -1

    def take_changed(self) -> list[BarPart]:
        """Return the minutes that changed since this was called last, in order of time."""
        if self._taken == self.revision:
            return []
        begin = bisect_left(self._finished.starts, self._changed)
        self._changed, self._taken = self._window.start, self.revision
        return self._parts(begin)

    def put_back(self, parts: Sequence[BarPart]) -> None:
        """Note that what was taken could not be stored: it is taken again the next time."""
        self._changed = min(self._changed, *(part.timestamp for part in parts))
        self._taken = -1

    def inherit(self, parts: Iterable[BarPart]) -> None:
        """Go on from what others counted, in their parts, before this counting began.

        Where their quotes are not older than ours, they are the same ones, and ours count.
        """
        if not self.revision:
            return
        own = {part.timestamp: part for part in self._parts(0)}
        merged = list(own.values())
        for part in combine(parts):
            ours = own.get(part.timestamp)
            older = (
                part.timestamp < self._window.start if ours is None else part.closed <= ours.opened
            )
            if older:
                merged.append(part)
        *finished, forming = combine(merged)
        self._finished = MinuteColumns.of(finished)
        self._window.resume(forming.bar())
        self._opened = forming.opened
        self.revision += 1

    def _parts(self, begin: int) -> list[BarPart]:
        forming = self._window.forming
        return [*self._finished.parts(begin), *([self._part(forming)] if forming else [])]

    def _part(self, bar: Bar) -> BarPart:
        """Return the forming minute with the times of its quotes."""
        return BarPart(
            bar.timestamp,
            bar.open,
            bar.high,
            bar.low,
            bar.close,
            bar.volume,
            self._opened,
            self._closed,
        )

    # --- what is asked for --------------------------------------------------------------------

    @property
    def oldest(self) -> int | None:
        """The first minute that is kept, in ms since the epoch; None before the first quote."""
        if self._finished.starts:
            return self._finished.starts[0]
        return self._window.start if self.revision else None

    @property
    def forming(self) -> Bar | None:
        """The minute of the last quote, None before the first quote."""
        return self._window.forming

    def bars(self, spans: Spans, limit: int, since: int = 0) -> list[Bar]:
        """Return the newest ``limit`` bars of those stretches of time, in order of time.

        The last one is still forming. The first one may lack the minutes that are no longer kept,
        or that are before ``since`` (ms).
        """
        bars = self._finished.newest(spans, limit, since)
        minute = self.forming
        if minute is not None and minute.timestamp >= since:
            start = spans.floor(minute.timestamp)
            same = bars and bars[-1].timestamp == start
            bars.append(continued(bars.pop(), minute) if same else relabelled(minute, start))
        return bars[-limit:]

    def mark(self) -> Mark:
        """Return this moment, for ``traded_since``."""
        return Mark(self._window.start, self._window.volume) if self.revision else Mark()

    def traded_since(self, mark: Mark, start: int, end: int) -> float:
        """Return the volume of the minutes from ``start`` to before ``end`` (ms) after ``mark``."""
        start = max(start, mark.minute)
        if start >= end:
            return 0.0
        volume = self._finished.volume(start, end)
        if start <= self._window.start < end:
            volume += self._window.volume
        return volume - mark.volume if start == mark.minute else volume
