"""What is read and rolled up within one transaction."""

from collections.abc import Iterable, Sequence
from itertools import starmap
from typing import Any, Final

from sqlalchemy import Connection, Table, and_, delete, func, select, true, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql import ColumnElement

from stockstream.core.bar_columns import followed
from stockstream.core.bar_parts import BarPart, combine
from stockstream.core.bar_reading import BarQuery
from stockstream.core.bar_rules import aggregate
from stockstream.core.minute_columns import MinuteColumns
from stockstream.core.spans import SessionDays
from stockstream.model import Bar, Symbol, Timeframe
from stockstream.storage.sql.tables import bars, coverage, minute_pages, minutes, sealed

_DAY_MS: Final = Timeframe.D1.duration_ms
_MINUTE_MS: Final = Timeframe.M1.duration_ms
_ALL: Final = 2**62
#: Rows read at once: how many will do is not known before, as a minute may have several.
_CHUNK: Final = 10_000
_PAGES: Final = 50

_part_columns = [column for column in minutes.c if column.name not in ("symbol", "run")]
_bar_columns = [
    column for column in bars.c if column.name not in ("symbol", "timeframe", "provided")
]


class SqlShelf:
    """Implements :class:`stockstream.core.bar_reading.Shelf` on a connection."""

    def __init__(self, connection: Connection, but_run: int | None = None) -> None:
        """Read all, or all but what one counting saw of days that are not sealed."""
        self._connection = connection
        self._others = true() if but_run is None else minutes.c.run != but_run

    # --- reading ------------------------------------------------------------------------------

    def sealed(self, symbol: Symbol) -> int:
        """See :class:`~stockstream.core.bar_reading.Shelf`."""
        query = select(sealed.c.until).where(sealed.c.symbol == symbol)
        return self._connection.scalar(query) or 0

    def minutes(
        self, symbol: Symbol, start: int, end: int, limit: int, *, newest: bool
    ) -> Sequence[Bar]:
        """See :class:`~stockstream.core.bar_reading.Shelf`."""
        packed = self._packed(symbol, start, end, limit, newest=newest)
        loose = self.loose(symbol, start, end, limit, newest=newest)
        counted: Sequence[Bar]
        if not loose or not packed or packed.starts[-1] < loose[0].timestamp:
            counted = followed(packed.bars(), [part.bar() for part in loose])
        else:
            counted = [part.bar() for part in combine([*packed.parts(), *loose])]
        return counted[-limit:] if newest else counted[:limit]

    def parts(self, symbol: Symbol, start: int, end: int) -> list[BarPart]:
        """Return what was counted in a stretch of time (ms), each minute once."""
        packed = self._packed(symbol, start, end, _ALL, newest=False)
        return combine([*packed.parts(), *self.loose(symbol, start, end, _ALL, newest=False)])

    def rows(self, symbol: Symbol, query: BarQuery, *, provided: bool) -> Sequence[Bar]:
        """See :class:`~stockstream.core.bar_reading.Shelf`."""
        conditions = [
            bars.c.symbol == symbol,
            bars.c.timeframe == str(query.timeframe),
            bars.c.timestamp >= query.start_ms,
            bars.c.timestamp < query.end_ms,
        ]
        if provided:
            conditions.append(bars.c.provided == 1)
        order = bars.c.timestamp.desc() if query.newest else bars.c.timestamp
        wanted = select(*_bar_columns).where(*conditions).order_by(order).limit(query.limit)
        found = list(starmap(Bar, self._connection.execute(wanted).all()))
        return found[::-1] if query.newest else found

    def loose(
        self, symbol: Symbol, start: int, end: int, limit: int, *, newest: bool
    ) -> list[BarPart]:
        """Return minutes that are not packed, each once."""
        order = minutes.c.timestamp.desc() if newest else minutes.c.timestamp
        query = (
            select(*_part_columns)
            .where(minutes.c.symbol == symbol)
            .where(minutes.c.timestamp >= start, minutes.c.timestamp < end)
            .where(self._others)
            .order_by(order)
            .execution_options(yield_per=_CHUNK)
        )
        found: list[BarPart] = []
        with self._connection.execute(query) as result:
            for rows in result.partitions():
                found = combine([*found, *starmap(BarPart, rows)])
                # The last minute seen may have further parts in the next rows.
                if len(found) > limit:
                    break
        return found[-limit:] if newest else found[:limit]

    def _packed(
        self, symbol: Symbol, start: int, end: int, limit: int, *, newest: bool
    ) -> MinuteColumns:
        first = start - start % _DAY_MS
        order = minute_pages.c.day.desc() if newest else minute_pages.c.day
        query = (
            select(minute_pages.c.day, minute_pages.c.data)
            .where(minute_pages.c.symbol == symbol)
            .where(minute_pages.c.day >= first, minute_pages.c.day < end)
            .order_by(order)
            .execution_options(yield_per=_PAGES)
        )
        pages: list[bytes] = []
        held = 0
        # Those at both ends may lie outside in part: they count for nothing.
        with self._connection.execute(query) as result:
            for day, data in result:
                pages.append(data)
                if start <= day and day + _DAY_MS <= end:
                    held += MinuteColumns.count(data)
                if held >= limit:
                    break
        columns = MinuteColumns.unpack(*(reversed(pages) if newest else pages)).slice(start, end)
        if len(columns) <= limit:
            return columns
        return columns.cut(-limit, _ALL) if newest else columns.cut(0, limit)

    # --- rolling up ---------------------------------------------------------------------------

    def seal(self, symbol: Symbol, day: int, days: SessionDays) -> None:
        """See :meth:`stockstream.ports.HistoryStore.seal`."""
        end = day + _DAY_MS
        packed = self._seal_minutes(symbol, day, end)
        self.put_rows(symbol, Timeframe.H1, aggregate(packed.bars(), Timeframe.H1), provided=0)
        before = self.sealed(symbol)
        until = max(before, end)
        # The trading days that this day of UTC is part of, and those that have ended since.
        first = min(day, before) if 0 < before < end else day
        start, _ = days.bounds(days.floor(first))
        _, stop = days.bounds(days.floor(end - 1))
        counted = self.minutes(symbol, start, min(until, stop), _ALL, newest=False)
        ended = [bar for bar in aggregate(counted, days) if days.bounds(bar.timestamp)[1] <= until]
        self.put_rows(symbol, Timeframe.D1, ended, provided=0)
        self._upsert(sealed, [{"symbol": symbol, "until": until}])

    def _seal_minutes(self, symbol: Symbol, day: int, end: int) -> MinuteColumns:
        if self._connection.dialect.name == "postgresql":
            # Two nodes must not pack a day at once; in SQLite only one can write anyway.
            self._connection.execute(select(func.pg_advisory_xact_lock(func.hashtext(symbol))))
        # Only what is seen is removed: who writes at the same time loses nothing.
        within = and_(minutes.c.timestamp >= day, minutes.c.timestamp < end)
        taken = delete(minutes).where(minutes.c.symbol == symbol, within).returning(*_part_columns)
        loose = list(starmap(BarPart, self._connection.execute(taken)))
        packed = self._packed(symbol, day, end, _ALL, newest=False)
        parts = {part.timestamp: part for part in combine([*packed.parts(), *loose])}
        taken = (
            delete(bars)
            .where(bars.c.symbol == symbol, bars.c.timeframe == str(Timeframe.M1))
            .where(bars.c.timestamp >= day, bars.c.timestamp < end)
            .returning(*_bar_columns)
        )
        for start, first, high, low, last, volume in self._connection.execute(taken):
            # A provider saw the whole minute.
            end = start + _MINUTE_MS - 1
            parts[start] = BarPart(start, first, high, low, last, volume, start, end)
        packed = MinuteColumns.of(parts[start] for start in sorted(parts))
        self._upsert(minute_pages, [{"symbol": symbol, "day": day, "data": packed.pack()}])
        return packed

    def expire(self, before: int) -> None:
        """Forget minutes of days that end before (ms), and that a provider was asked for them.

        So are its bars of some minutes: hours and days are what stays.
        """
        gone = minute_pages.c.day <= before - _DAY_MS
        self._connection.execute(delete(minute_pages).where(gone))
        short = [str(each) for each in (Timeframe.M5, Timeframe.M15, Timeframe.M30)]
        old = and_(bars.c.timeframe.in_(short), bars.c.timestamp < before)
        self._connection.execute(delete(bars).where(old))
        asked = coverage.c.timeframe.in_([str(Timeframe.M1), *short])
        self._connection.execute(delete(coverage).where(asked, coverage.c.end <= before))
        partly = and_(asked, coverage.c.start < before)
        self._connection.execute(update(coverage).where(partly).values(start=before))

    # --- writing ------------------------------------------------------------------------------

    def put_rows(
        self, symbol: Symbol, timeframe: Timeframe, rows: Iterable[Bar], *, provided: int
    ) -> None:
        """Store bars; what was rolled up never takes the place of what a provider said."""
        values = [
            {
                "symbol": symbol,
                "timeframe": str(timeframe),
                "timestamp": bar.timestamp,
                "open": bar.open,
                "high": bar.high,
                "low": bar.low,
                "close": bar.close,
                "volume": bar.volume,
                "provided": provided,
            }
            for bar in rows
        ]
        self._upsert(bars, values, where=None if provided else bars.c.provided == 0)

    def put_coverage(self, symbol: Symbol, timeframe: Timeframe, covered: tuple[int, int]) -> None:
        """Add a stretch to what a provider was asked for; those that touch become one."""
        start, end = covered
        touching = and_(
            coverage.c.symbol == symbol,
            coverage.c.timeframe == str(timeframe),
            coverage.c.start <= end,
            coverage.c.end >= start,
        )
        for other_start, other_end in self._connection.execute(
            select(coverage.c.start, coverage.c.end).where(touching)
        ).all():
            start, end = min(start, other_start), max(end, other_end)
        self._connection.execute(delete(coverage).where(touching))
        row = {"symbol": symbol, "timeframe": str(timeframe), "start": start, "end": end}
        self._upsert(coverage, [row])

    def _upsert(
        self,
        table: Table,
        rows: list[dict[str, Any]],
        where: ColumnElement[bool] | None = None,
    ) -> None:
        if not rows:
            return
        is_sqlite = self._connection.dialect.name == "sqlite"
        insert = (sqlite if is_sqlite else postgresql).insert(table)
        keys = [column.name for column in table.primary_key]
        values = {
            column.name: insert.excluded[column.name]
            for column in table.c
            if not column.primary_key
        }
        upsert = insert.on_conflict_do_update(index_elements=keys, set_=values, where=where)
        self._connection.execute(upsert, rows)
