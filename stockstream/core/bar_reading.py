"""How the bars of a stretch of time are put together from what is stored.

Minutes are stored once. Those of days that are over are *sealed*: rolled up to hours and trading
days besides. Larger timeframes are made of the largest of these three that they are made of, so
that a year of days is read as 250 rows. What a provider said of a bar wins over what was counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from stockstream.core.bar_columns import place_of
from stockstream.core.bar_rules import aggregate, join, overlaid
from stockstream.core.spans import Spans
from stockstream.model import Bar, Symbol, Timeframe

#: Later than anything.
FOREVER: Final = 2**62

_MINUTE_MS: Final = Timeframe.M1.duration_ms
#: What each timeframe is made of where days are sealed, and how many of those are one bar.
_ROLLED: Final = {
    Timeframe.H1: (Timeframe.H1, 1),
    Timeframe.H4: (Timeframe.H1, 4),
    Timeframe.D1: (Timeframe.D1, 1),
    Timeframe.W1: (Timeframe.D1, 7),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class BarQuery:
    """Bars that are labelled from ``start_ms`` to before ``end_ms``, in ms since the epoch."""

    timeframe: Timeframe
    #: The stretches of time that its bars are.
    spans: Spans
    limit: int
    start_ms: int = 0
    end_ms: int = FOREVER
    #: Whether it is the newest ``limit`` of them, or the oldest.
    newest: bool = True
    #: Minutes from here on (ms) are left out: the caller has counted them itself.
    counted_before: int = FOREVER


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredBars:
    """What is stored of the bars of a query."""

    query: BarQuery
    #: What was counted, in order of time, and until when (ms) it is complete: ``counted_before``,
    #: or later where that lies within what is rolled up.
    counted: Sequence[Bar]
    until: int
    #: What a provider said.
    provided: Sequence[Bar]

    def bars(self, live: Sequence[Bar] = ()) -> Sequence[Bar]:
        """Return the bars of the query, in order of time.

        Args:
            live: bars of the minutes from ``until`` on, which the caller has counted.
        """
        query = self.query
        bars = overlaid(join(self.counted, live), self.provided)
        begin, end = place_of(bars, query.start_ms), place_of(bars, query.end_ms)
        if query.newest:
            return bars[max(begin, end - query.limit) : end]
        return bars[begin : min(end, begin + query.limit)]


class Shelf(Protocol):
    """What is stored of bars; each answer is in order of time, with ``limit`` from either end."""

    def sealed(self, symbol: Symbol) -> int:
        """Return until when (ms) the minutes of a symbol are rolled up; 0: not at all."""
        ...

    def minutes(
        self, symbol: Symbol, start: int, end: int, limit: int, *, newest: bool
    ) -> Sequence[Bar]:
        """Return the minutes from ``start`` to before ``end`` (ms) that were counted."""
        ...

    def rows(self, symbol: Symbol, query: BarQuery, *, provided: bool) -> Sequence[Bar]:
        """Return the bars stored as such: those of a provider, or with those rolled up."""
        ...


def read_bars(shelf: Shelf, symbol: Symbol, query: BarQuery) -> StoredBars:
    """Return what a query is about."""
    until = query.counted_before
    if query.timeframe in _ROLLED:
        label, seam = _seam(shelf.sealed(symbol), query)
        until = max(until, seam)
        counted = _rolled_up(shelf, symbol, query, label, seam)
    else:
        counted = _from_minutes(shelf, symbol, query, query.start_ms, query.end_ms)
    provided = shelf.rows(symbol, query, provided=True)
    return StoredBars(query=query, counted=counted, until=until, provided=provided)


def _seam(sealed: int, query: BarQuery) -> tuple[int, int]:
    """Return where what is rolled up ends: as the label of a bar, and as a minute (ms)."""
    if _ROLLED[query.timeframe][0] is Timeframe.H1:
        return sealed, sealed
    # The trading day, or week, in which the sealed days end is not rolled up as a whole.
    label = query.spans.floor(sealed)
    return label, query.spans.bounds(label)[0]


def _rolled_up(
    shelf: Shelf, symbol: Symbol, query: BarQuery, label: int, seam: int
) -> Sequence[Bar]:
    base, share = _ROLLED[query.timeframe]
    spans = query.spans
    first = _first_minute(spans, query.start_ms)
    last = _first_minute(spans, query.end_ms)
    fresh = _from_minutes(shelf, symbol, query, max(first, seam), last)
    if query.newest and len(fresh) > query.limit:
        return fresh
    below = BarQuery(
        timeframe=base,
        spans=base,
        start_ms=query.start_ms,
        end_ms=min(query.end_ms if share == 1 else last, label),
        limit=(query.limit + 1) * share,
        newest=query.newest,
    )
    return join(aggregate(shelf.rows(symbol, below, provided=False), spans), fresh)


def _from_minutes(
    shelf: Shelf, symbol: Symbol, query: BarQuery, start: int, end: int
) -> Sequence[Bar]:
    end = min(end, query.counted_before)
    if start >= end:
        return []
    # One bar more: the limit may cut it in two.
    share = query.timeframe.duration_ms // _MINUTE_MS
    limit = query.limit if share == 1 else (query.limit + 1) * share
    minutes = shelf.minutes(symbol, start, end, limit, newest=query.newest)
    return minutes if share == 1 else aggregate(minutes, query.spans)


def _first_minute(spans: Spans, moment: int) -> int:
    """Return where the first stretch starts that is labelled ``moment`` or later."""
    if not 0 < moment < FOREVER:
        return moment
    label = spans.floor(moment)
    start, end = spans.bounds(label)
    return start if label >= moment else end
