"""Which stretch of time a bar is: by the clock, or by the trading days of an exchange."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from stockstream.model import Timeframe

_DAY_MS: Final = Timeframe.D1.duration_ms
_MINUTE_MS: Final = Timeframe.M1.duration_ms


class Spans(Protocol):
    """Stretches of time without holes or overlaps, each with a label; a ``Timeframe`` is one."""

    def floor(self, timestamp: int) -> int:
        """Return the label of the stretch that ``timestamp`` (ms, UTC) falls into.

        The label of a label is itself, and labels are in the order of their stretches.
        """
        ...

    def bounds(self, label: int) -> tuple[int, int]:
        """Return where the stretch of that label starts and ends, in ms; its end is not in it."""
        ...


class SessionDays:
    """The trading days of an exchange.

    A day ends with the minute in which its session closes: the closing auction is printed within
    it. What comes later, on a weekend or a holiday too, belongs to the next session. A day is
    labelled by its session's date, at midnight UTC. Before the first and after the last session
    that is known, days are those of UTC.

    Args:
        dates: the sessions' dates in order, as midnight UTC in ms since the epoch.
        closes: when each session closes, in ms since the epoch.
    """

    __slots__ = ("_after", "_dates", "_ends")

    def __init__(self, dates: Sequence[int], closes: Sequence[int]) -> None:
        self._dates = tuple(dates)
        self._ends = tuple(map(_end_of, dates, closes))
        #: The first date after the last session.
        self._after = dates[-1] + _DAY_MS if dates else 0

    def floor(self, timestamp: int) -> int:
        """See :class:`Spans`."""
        index = bisect_right(self._ends, timestamp)
        day = Timeframe.D1.floor(timestamp)
        if index == len(self._ends):
            # Nothing that is later than the last session belongs to it, on the same date either.
            return max(day, self._after) if self._ends else day
        return day if index == 0 and timestamp < self._dates[0] else self._dates[index]

    def bounds(self, label: int) -> tuple[int, int]:
        """See :class:`Spans`."""
        index = bisect_left(self._dates, label)
        is_session = index < len(self._dates) and self._dates[index] == label
        return self.start(label), self._ends[index] if is_session else label + _DAY_MS

    def start(self, date: int) -> int:
        """Return where the first day starts that is labelled ``date`` or later."""
        index = bisect_left(self._dates, date)
        # Days of UTC begin at their date.
        return self._ends[index - 1] if index and date <= self._after else date


class SessionWeeks:
    """The weeks of an exchange: its trading days from Monday to Sunday, labelled by the Monday."""

    __slots__ = ("_days",)

    def __init__(self, days: SessionDays) -> None:
        self._days = days

    def floor(self, timestamp: int) -> int:
        """See :class:`Spans`."""
        return Timeframe.W1.floor(self._days.floor(timestamp))

    def bounds(self, label: int) -> tuple[int, int]:
        """See :class:`Spans`."""
        return self._days.start(label), self._days.start(label + Timeframe.W1.duration_ms)


def merged_stretches(stretches: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return stretches of time in order, those that touch or overlap as one."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(stretches):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def gaps(covered: Iterable[tuple[int, int]], start: int, end: int) -> list[tuple[int, int]]:
    """Return what of ``start`` to ``end`` is not covered, in order."""
    missing = []
    for begin, stop in merged_stretches(covered):
        if start < begin:
            missing.append((start, min(begin, end)))
        start = max(start, stop)
        if start >= end:
            break
    if start < end:
        missing.append((start, end))
    return missing


def _end_of(date: int, close: int) -> int:
    # Around the clock, a session closes where the next one opens: no minute is both's.
    if close == date + _DAY_MS:
        return close
    return close - close % _MINUTE_MS + _MINUTE_MS
