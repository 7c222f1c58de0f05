"""History in memory: what a node without a database has; gone when it ends."""

from collections import OrderedDict, deque
from collections.abc import Sequence

from stockstream.core.bar_parts import BarPart, combine
from stockstream.core.bar_reading import BarQuery, StoredBars, read_bars
from stockstream.core.spans import SessionDays, merged_stretches
from stockstream.model import Bar, Symbol, Tick, Timeframe
from stockstream.ports import CountedMinute

_Rows = dict[int, Bar]


class _Series:
    """What is held of one symbol."""

    __slots__ = ("coverage", "minutes", "rows")

    def __init__(self) -> None:
        self.minutes: dict[tuple[int, int], BarPart] = {}
        self.rows: dict[Timeframe, _Rows] = {}
        self.coverage: dict[Timeframe, list[tuple[int, int]]] = {}

    def __len__(self) -> int:
        return len(self.minutes) + sum(map(len, self.rows.values()))


class MemoryHistory:
    """Implements :class:`stockstream.ports.HistoryStore`.

    Args:
        ticks: most ticks held, of all symbols; the oldest received leave first.
        minutes: most minutes of a symbol that is counted; the oldest leave first.
        bars: most bars of all symbols; the symbols that were written to least recently leave first.
    """

    def __init__(
        self, *, ticks: int = 20_000, minutes: int = 2 * 24 * 60, bars: int = 200_000
    ) -> None:
        self._ticks: deque[Tick] = deque()
        self._known: set[tuple[Symbol, int, int]] = set()
        self._most_ticks = ticks
        self._most_minutes = minutes
        self._most_bars = bars
        self._series: OrderedDict[Symbol, _Series] = OrderedDict()
        self._held = 0

    async def append(self, ticks: Sequence[Tick]) -> None:
        """See :meth:`stockstream.ports.TickStore.append`."""
        for tick in ticks:
            key = (tick.symbol, tick.timestamp, tick.number)
            if key in self._known:
                continue
            self._known.add(key)
            self._ticks.append(tick)
        while len(self._ticks) > self._most_ticks:
            gone = self._ticks.popleft()
            self._known.discard((gone.symbol, gone.timestamp, gone.number))

    async def put_minutes(self, minutes: Sequence[CountedMinute]) -> None:
        """See :meth:`stockstream.ports.HistoryStore.put_minutes`."""
        for minute in minutes:
            series = self._touch(minute.symbol)
            before = len(series)
            series.minutes[minute.part.timestamp, minute.run] = minute.part
            if len(series.minutes) > self._most_minutes:
                # Some more than needed, so that the next minute does not have to look again.
                for key in sorted(series.minutes)[: self._most_minutes // 8 + 1]:
                    del series.minutes[key]
            self._held += len(series) - before
        self._shed()

    async def put_bars(
        self, symbol: Symbol, timeframe: Timeframe, bars: Sequence[Bar], covered: tuple[int, int]
    ) -> None:
        """See :meth:`stockstream.ports.HistoryStore.put_bars`."""
        series = self._touch(symbol)
        before = len(series)
        series.rows.setdefault(timeframe, {}).update((bar.timestamp, bar) for bar in bars)
        stretches = series.coverage.get(timeframe, [])
        series.coverage[timeframe] = merged_stretches([*stretches, covered])
        self._held += len(series) - before
        self._shed()

    async def covered(self, symbol: Symbol, timeframe: Timeframe) -> Sequence[tuple[int, int]]:
        """See :meth:`stockstream.ports.HistoryStore.covered`."""
        series = self._series.get(symbol)
        return tuple(series.coverage.get(timeframe, ())) if series is not None else ()

    async def bars(self, symbol: Symbol, query: BarQuery) -> StoredBars:
        """See :meth:`stockstream.ports.HistoryStore.bars`."""
        return read_bars(_Shelf(self._series.get(symbol)), symbol, query)

    async def minutes(
        self, symbol: Symbol, start_ms: int, end_ms: int, *, but_run: int | None = None
    ) -> Sequence[BarPart]:
        """See :meth:`stockstream.ports.HistoryStore.minutes`."""
        return _Shelf(self._series.get(symbol)).parts(start_ms, end_ms, but_run)

    async def ticks(
        self, symbol: Symbol, *, start_ms: int, end_ms: int, limit: int
    ) -> Sequence[Tick]:
        """See :meth:`stockstream.ports.HistoryStore.ticks`."""
        found = [
            tick
            for tick in self._ticks
            if tick.symbol == symbol and start_ms <= tick.timestamp < end_ms
        ]
        return sorted(found, key=lambda tick: (tick.timestamp, tick.number))[:limit]

    async def newest_ms(self) -> int | None:
        """See :meth:`stockstream.ports.HistoryStore.newest_ms`: nothing is ever sealed here."""
        newest = (max(each.minutes)[0] for each in self._series.values() if each.minutes)
        return max(newest, default=None)

    async def unsealed(self, before_ms: int, limit: int) -> Sequence[tuple[Symbol, int]]:
        """Return nothing: what is in memory is small, and is not sealed."""
        return ()

    async def seal(self, symbol: Symbol, day_ms: int, days: SessionDays) -> None:
        """Do nothing."""

    async def expire(self, *, ticks_before_ms: int, minutes_before_ms: int) -> None:
        """Do nothing: age is no reason to leave here, numbers are."""

    async def ping(self) -> None:
        """See :meth:`stockstream.ports.HistoryStore.ping`."""

    async def aclose(self) -> None:
        """See :meth:`stockstream.ports.HistoryStore.aclose`."""

    def _touch(self, symbol: Symbol) -> _Series:
        series = self._series.setdefault(symbol, _Series())
        self._series.move_to_end(symbol)
        return series

    def _shed(self) -> None:
        while self._held > self._most_bars and len(self._series) > 1:
            _, gone = self._series.popitem(last=False)
            self._held -= len(gone)


class _Shelf:
    """Implements :class:`stockstream.core.bar_reading.Shelf` for one symbol."""

    def __init__(self, series: _Series | None) -> None:
        self._series = series or _Series()

    def sealed(self, symbol: Symbol) -> int:
        """Nothing is."""
        return 0

    def parts(self, start: int, end: int, but_run: int | None = None) -> list[BarPart]:
        """Return what was counted in a stretch of time (ms), each minute once."""
        counted = self._series.minutes.items()
        return combine(
            part for (minute, run), part in counted if start <= minute < end and run != but_run
        )

    def minutes(
        self, symbol: Symbol, start: int, end: int, limit: int, *, newest: bool
    ) -> Sequence[Bar]:
        """See :class:`~stockstream.core.bar_reading.Shelf`."""
        bars = [part.bar() for part in self.parts(start, end)]
        return bars[-limit:] if newest else bars[:limit]

    def rows(self, symbol: Symbol, query: BarQuery, *, provided: bool) -> Sequence[Bar]:
        """See :class:`~stockstream.core.bar_reading.Shelf`."""
        rows = self._series.rows.get(query.timeframe, {})
        bars = [rows[start] for start in sorted(rows) if query.start_ms <= start < query.end_ms]
        return bars[-query.limit :] if query.newest else bars[: query.limit]
