"""How the bars of a stretch of time are put together from what is stored.

Minutes are stored once. Those of days that are over are *sealed*: rolled up to hours and trading
days besides. Larger timeframes are made of the largest of these three that they are made of, so
that a year of days is read as 250 rows. What a provider said of a bar wins over what was counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final, Protocol

from stockstream.core.bar_rules import aggregate, join
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


def read_bars(shelf: Shelf, symbol: Symbol, query: BarQuery) -> list[Bar]:
    """Return the bars that a query is about, in order of time."""
    if query.timeframe in _ROLLED:
        counted = _rolled_up(shelf, symbol, query)
    else:
        counted = _from_minutes(shelf, symbol, query, query.start_ms, query.end_ms)
    provided = shelf.rows(symbol, query, provided=True)
    if not provided:
        return _cut(counted, query)
    bars = {bar.timestamp: bar for bar in chain(counted, provided)}
    return _cut([bars[start] for start in sorted(bars)], query)


def _rolled_up(shelf: Shelf, symbol: Symbol, query: BarQuery) -> list[Bar]:
    base, share = _ROLLED[query.timeframe]
    spans = query.spans
    sealed = shelf.sealed(symbol)
    # The stretch in which the sealed days end is rolled up as far as hours go, days not.
    label = spans.floor(sealed)
    seam = sealed if base is Timeframe.H1 else spans.bounds(label)[0]
    first = _first_minute(spans, query.start_ms)
    last = _first_minute(spans, query.end_ms)
    fresh = _from_minutes(shelf, symbol, query, max(first, seam), last)
    below = BarQuery(
        timeframe=base,
        spans=base,
        start_ms=query.start_ms,
        end_ms=min(query.end_ms if share == 1 else last, seam if base is Timeframe.H1 else label),
        limit=(query.limit + 1) * share,
        newest=query.newest,
    )
    if query.newest and len(fresh) > query.limit:
        return fresh
    rolled = aggregate(shelf.rows(symbol, below, provided=False), spans)
    return join(rolled, fresh)


def _from_minutes(shelf: Shelf, symbol: Symbol, query: BarQuery, start: int, end: int) -> list[Bar]:
    if start >= end:
        return []
    # One bar more: the limit may cut it in two.
    share = query.timeframe.duration_ms // _MINUTE_MS
    limit = query.limit if share == 1 else (query.limit + 1) * share
    minutes = shelf.minutes(symbol, start, end, limit, newest=query.newest)
    return list(minutes) if share == 1 else aggregate(minutes, query.spans)


def _first_minute(spans: Spans, moment: int) -> int:
    """Return where the first stretch starts that is labelled ``moment`` or later."""
    if not 0 < moment < FOREVER:
        return moment
    label = spans.floor(moment)
    start, end = spans.bounds(label)
    return start if label >= moment else end


def _cut(bars: list[Bar], query: BarQuery) -> list[Bar]:
    bars = [bar for bar in bars if query.start_ms <= bar.timestamp < query.end_ms]
    return bars[-query.limit :] if query.newest else bars[: query.limit]
