"""History in a database, behind one door for both kinds."""

import asyncio
from collections.abc import Callable, Sequence
from itertools import starmap
from typing import Concatenate, Final, ParamSpec, TypeVar

from sqlalchemy import Connection, func, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.sql import ColumnElement

from stockstream.core.bar_parts import BarPart
from stockstream.core.bar_reading import BarQuery, StoredBars, read_bars
from stockstream.core.spans import SessionDays
from stockstream.errors import StoreUnavailableError
from stockstream.model import Bar, Symbol, Tick, Timeframe
from stockstream.ports import CountedMinute
from stockstream.storage.schema import migrate
from stockstream.storage.sql.flavours import Flavour, Postgres, Sqlite
from stockstream.storage.sql.migrate import SCHEMA
from stockstream.storage.sql.shelf import SqlShelf
from stockstream.storage.sql.tables import bars, coverage, minutes, ticks
from stockstream.storage.workers import Workers

_P = ParamSpec("_P")
_T = TypeVar("_T")
_Work = Callable[Concatenate[Connection, _P], _T]

_DAY_MS: Final = Timeframe.D1.duration_ms
#: Reads under way at once, and how many may wait besides.
_READERS: Final = 2
_MOST_WAITING: Final = 500
#: Seconds that a caller waits for an answer.
_TIMEOUT: Final = 30.0
#: Seconds that a database may take to end what it is at; then it is left to it.
_CLOSING: Final = 2.0


class SqlHistory:
    """Implements :class:`stockstream.ports.HistoryStore`.

    Nothing is opened before the first call, which migrates the tables. Writing has one thread,
    reading has two: neither the event loop nor the other ever waits for it.

    Args:
        url: ``sqlite:///path`` or ``postgresql://user:password@host/database``.
    """

    def __init__(self, url: str) -> None:
        self._url = make_url(url)
        self._name = "sqlite" if self._url.get_backend_name() == "sqlite" else "postgresql"
        self._writer = Workers("history-write", 1)
        self._readers = Workers("history-read", _READERS)
        self._flavour: Flavour | None = None
        self._opening = asyncio.Lock()
        self._waiting = 0
        self._closed = False

    # --- writing ------------------------------------------------------------------------------

    async def append(self, ticks: Sequence[Tick]) -> None:
        """See :meth:`stockstream.ports.TickStore.append`."""
        if ticks:
            flavour = await self._open()
            await self._write(flavour.insert_ticks, ticks)

    async def put_minutes(self, minutes: Sequence[CountedMinute]) -> None:
        """See :meth:`stockstream.ports.HistoryStore.put_minutes`."""
        if minutes:
            flavour = await self._open()
            await self._write(flavour.upsert_minutes, minutes)

    async def put_bars(
        self, symbol: Symbol, timeframe: Timeframe, bars: Sequence[Bar], covered: tuple[int, int]
    ) -> None:
        """See :meth:`stockstream.ports.HistoryStore.put_bars`."""

        def work(connection: Connection) -> None:
            shelf = SqlShelf(connection)
            shelf.put_rows(symbol, timeframe, bars, provided=1)
            shelf.put_coverage(symbol, timeframe, covered)

        await self._write(work)

    async def seal(self, symbol: Symbol, day_ms: int, days: SessionDays) -> None:
        """See :meth:`stockstream.ports.HistoryStore.seal`."""
        await self._write(lambda connection: SqlShelf(connection).seal(symbol, day_ms, days))

    async def expire(self, *, ticks_before_ms: int, minutes_before_ms: int) -> None:
        """See :meth:`stockstream.ports.HistoryStore.expire`."""
        flavour = await self._open()

        def work(connection: Connection) -> None:
            flavour.expire_ticks(connection, ticks_before_ms)
            SqlShelf(connection).expire(minutes_before_ms - minutes_before_ms % _DAY_MS)

        await self._write(work)

    # --- reading ------------------------------------------------------------------------------

    async def bars(self, symbol: Symbol, query: BarQuery) -> StoredBars:
        """See :meth:`stockstream.ports.HistoryStore.bars`."""
        return await self._read(lambda each: read_bars(SqlShelf(each), symbol, query))

    async def minutes(
        self, symbol: Symbol, start_ms: int, end_ms: int, *, but_run: int | None = None
    ) -> Sequence[BarPart]:
        """See :meth:`stockstream.ports.HistoryStore.minutes`."""
        return await self._read(
            lambda each: SqlShelf(each, but_run).parts(symbol, start_ms, end_ms)
        )

    async def covered(self, symbol: Symbol, timeframe: Timeframe) -> Sequence[tuple[int, int]]:
        """See :meth:`stockstream.ports.HistoryStore.covered`."""
        query = (
            select(coverage.c.start, coverage.c.end)
            .where(coverage.c.symbol == symbol, coverage.c.timeframe == str(timeframe))
            .order_by(coverage.c.start)
        )
        return await self._read(lambda each: [(start, end) for start, end in each.execute(query)])

    async def ticks(
        self, symbol: Symbol, *, start_ms: int, end_ms: int, limit: int
    ) -> Sequence[Tick]:
        """See :meth:`stockstream.ports.HistoryStore.ticks`."""
        query = (
            select(ticks)
            .where(ticks.c.symbol == symbol)
            .where(ticks.c.timestamp >= start_ms, ticks.c.timestamp < end_ms)
            .order_by(ticks.c.timestamp, ticks.c.number)
            .limit(limit)
        )
        return await self._read(lambda each: list(starmap(Tick, each.execute(query))))

    async def newest_ms(self) -> int | None:
        """See :meth:`stockstream.ports.HistoryStore.newest_ms`."""
        return await self._read(lambda each: each.scalar(select(func.max(minutes.c.timestamp))))

    async def unsealed(self, before_ms: int, limit: int) -> Sequence[tuple[Symbol, int]]:
        """See :meth:`stockstream.ports.HistoryStore.unsealed`."""
        before = before_ms - before_ms % _DAY_MS
        counted = select(minutes.c.symbol, _day_of(minutes.c.timestamp).label("day")).where(
            minutes.c.timestamp < before
        )
        # Written out, so that the index of minutes is known to do.
        provided = select(bars.c.symbol, _day_of(bars.c.timestamp)).where(
            text("timeframe = '1m'"), bars.c.timestamp < before
        )
        query = counted.union(provided).order_by("day").limit(limit)
        return await self._read(
            lambda each: [(Symbol(symbol), day) for symbol, day in each.execute(query)]
        )

    async def ping(self) -> None:
        """See :meth:`stockstream.ports.HistoryStore.ping`."""
        await self._read(lambda each: each.execute(select(1)))

    async def aclose(self) -> None:
        """See :meth:`stockstream.ports.HistoryStore.aclose`."""
        if self._closed:
            return
        self._closed = True
        flavour, self._flavour = self._flavour, None
        if flavour is not None:
            # After what is being written.
            disposing = self._writer.run(lambda: _dispose(flavour))
            await asyncio.wait((disposing,), timeout=_CLOSING)
        await asyncio.gather(self._writer.aclose(_CLOSING), self._readers.aclose(_CLOSING))

    # --- threads ------------------------------------------------------------------------------

    async def _write(self, work: _Work[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        flavour = await self._open()

        def write() -> _T:
            with flavour.writer.begin() as connection:
                return work(connection, *args, **kwargs)

        return await self._in_thread(self._writer, write)

    async def _read(self, work: Callable[[Connection], _T]) -> _T:
        flavour = await self._open()
        if self._waiting >= _READERS + _MOST_WAITING:
            raise StoreUnavailableError(self._name, "too many wait for an answer")

        def read() -> _T:
            with flavour.reader.begin() as connection:
                return work(connection)

        self._waiting += 1
        try:
            return await self._in_thread(self._readers, read)
        finally:
            self._waiting -= 1

    async def _open(self) -> Flavour:
        if self._flavour is not None:
            return self._flavour
        async with self._opening:
            if self._flavour is None:
                self._flavour = await self._in_thread(self._writer, self._opened)
        return self._flavour

    def _opened(self) -> Flavour:
        flavour = Sqlite(self._url) if self._name == "sqlite" else Postgres(self._url)
        try:
            with flavour.writer.begin() as connection:
                migrate(connection, SCHEMA)
        except BaseException:
            _dispose(flavour)
            raise
        return flavour

    async def _in_thread(self, threads: Workers, work: Callable[[], _T]) -> _T:
        if self._closed:
            raise StoreUnavailableError(self._name, "is closed")
        try:
            async with asyncio.timeout(_TIMEOUT):
                return await threads.run(work)
        except (DataError, IntegrityError):
            # What was to be stored is at fault, not the store.
            raise
        except (DBAPIError, PoolTimeoutError, OSError, TimeoutError) as error:
            raise StoreUnavailableError(self._name, _reason(error)) from error


def _day_of(timestamp: ColumnElement[int]) -> ColumnElement[int]:
    return timestamp - timestamp % _DAY_MS


def _dispose(flavour: Flavour) -> None:
    flavour.writer.dispose()
    flavour.reader.dispose()


def _reason(error: Exception) -> str:
    """Return what went wrong as one line; statements, and what they hold, are left out."""
    if isinstance(error, TimeoutError):
        return f"no answer within {_TIMEOUT:g} s"
    words = str(error.orig if isinstance(error, DBAPIError) else error)
    return words.strip().partition("\n")[0][:200] or type(error).__name__
