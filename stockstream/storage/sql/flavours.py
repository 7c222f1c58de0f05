"""What the two databases do differently."""

from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec
import psycopg
from sqlalchemy import Connection, Engine, create_engine, delete, event, func, select, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.engine.url import URL
from sqlalchemy.pool import ConnectionPoolEntry

from stockstream.model import Tick, Timeframe
from stockstream.ports import CountedMinute
from stockstream.storage.sql import tables, timescale

#: Seconds that one statement, and a connection attempt, may take.
STATEMENT_TIMEOUT: Final = 30
_CONNECT_TIMEOUT: Final = 5

_DAY_MS: Final = Timeframe.D1.duration_ms
_PARTITION: Final = "ticks_"
#: Rows in one statement; SQLite takes 32,766 values.
_ROWS: Final = 250


class Flavour(Protocol):
    """One kind of database."""

    @property
    def writer(self) -> Engine:
        """For what is written, one connection at a time."""
        ...

    @property
    def reader(self) -> Engine:
        """For what is read."""
        ...

    def insert_ticks(self, connection: Connection, ticks: Sequence[Tick]) -> None:
        """Insert those that are not there yet."""
        ...

    def upsert_minutes(self, connection: Connection, minutes: Sequence[CountedMinute]) -> None:
        """Insert or replace."""
        ...

    def expire_ticks(self, connection: Connection, before_ms: int) -> None:
        """Delete the ticks of days that end before."""
        ...


class Sqlite:
    """A file, or nothing but memory; one process writes at a time, and readers never wait."""

    def __init__(self, url: URL) -> None:
        if url.database:
            Path(url.database).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.writer = _sqlite_engine(url, "BEGIN IMMEDIATE")
        self.reader = _sqlite_engine(url, "BEGIN")

    def insert_ticks(self, connection: Connection, ticks: Sequence[Tick]) -> None:
        """See :class:`Flavour`."""
        _insert(connection, "INSERT OR IGNORE INTO ticks", map(msgspec.structs.astuple, ticks))

    def upsert_minutes(self, connection: Connection, minutes: Sequence[CountedMinute]) -> None:
        """See :class:`Flavour`."""
        _insert(connection, "INSERT OR REPLACE INTO minutes", map(_minute_row, minutes))

    def expire_ticks(self, connection: Connection, before_ms: int) -> None:
        """See :class:`Flavour`."""
        symbols, times = tables.ticks.c.symbol, tables.ticks.c.timestamp
        old = times < before_ms - before_ms % _DAY_MS
        # One after the other, by their index: there is none of times alone, which each tick paid.
        symbol = connection.scalar(select(func.min(symbols)))
        while symbol is not None:
            connection.execute(delete(tables.ticks).where(symbols == symbol, old))
            symbol = connection.scalar(select(func.min(symbols)).where(symbols > symbol))


class Postgres:
    """PostgreSQL: ticks are partitioned by day, or a hypertable where TimescaleDB is there."""

    def __init__(self, url: URL) -> None:
        self.writer = create_engine(
            url.set(drivername="postgresql+psycopg"),
            pool_size=4,
            max_overflow=0,
            pool_pre_ping=True,
            pool_timeout=_CONNECT_TIMEOUT,
            connect_args={
                "connect_timeout": _CONNECT_TIMEOUT,
                "options": f"-c statement_timeout={STATEMENT_TIMEOUT}s -c timezone=UTC",
                # A server that is gone without a word is given up.
                "keepalives_idle": 10,
                "tcp_user_timeout": STATEMENT_TIMEOUT * 1_000,
                "application_name": "stockstream",
                "cursor_factory": _Cursor,
            },
        )
        event.listen(self.writer, "connect", _read_in_binary)
        # What one answer is made of is of one moment.
        self.reader = self.writer.execution_options(isolation_level="REPEATABLE READ")
        self._partitioned: bool | None = None

    def insert_ticks(self, connection: Connection, ticks: Sequence[Tick]) -> None:
        """See :class:`Flavour`."""
        if self._is_partitioned(connection):
            _ensure_partitions(connection, {tick.timestamp // _DAY_MS for tick in ticks})
        connection.exec_driver_sql(
            "INSERT INTO ticks SELECT * FROM unnest(%s::text[], %s::bigint[], %s::smallint[],"
            " %s::float8[], %s::float8[], %s::float8[], %s::float8[]) ON CONFLICT DO NOTHING",
            _arrays(map(msgspec.structs.astuple, ticks)),
        )

    def upsert_minutes(self, connection: Connection, minutes: Sequence[CountedMinute]) -> None:
        """See :class:`Flavour`."""
        # One statement can't replace a row twice: the last one holds.
        rows = {row[:3]: row for row in map(_minute_row, minutes)}
        connection.exec_driver_sql(
            "INSERT INTO minutes SELECT * FROM unnest(%s::text[], %s::bigint[], %s::bigint[],"
            " %s::float8[], %s::float8[], %s::float8[], %s::float8[], %s::float8[],"
            " %s::bigint[], %s::bigint[]) ON CONFLICT (symbol, timestamp, run) DO UPDATE SET"
            " open = excluded.open, high = excluded.high, low = excluded.low,"
            " close = excluded.close, volume = excluded.volume,"
            " opened = excluded.opened, closed = excluded.closed",
            _arrays(rows.values()),
        )

    def expire_ticks(self, connection: Connection, before_ms: int) -> None:
        """See :class:`Flavour`."""
        if not self._is_partitioned(connection):
            timescale.drop_before(connection, before_ms)
            return
        for day in _partitions(connection):
            if (day + 1) * _DAY_MS <= before_ms:
                connection.execute(text(f"DROP TABLE IF EXISTS {_PARTITION}{day}"))

    def _is_partitioned(self, connection: Connection) -> bool:
        """Return whether ticks have partitions of ours; else TimescaleDB sees to them.

        What was there when the table was made decides: the extension may have come since.
        """
        if self._partitioned is None:
            kind = text("SELECT relkind = 'p' FROM pg_class WHERE oid = 'ticks'::regclass")
            self._partitioned = bool(connection.scalar(kind))
        return self._partitioned


def _ensure_partitions(connection: Connection, days: set[int]) -> None:
    # Each time, for another node may have dropped what was seen here.
    if not days - set(_partitions(connection)):
        return
    # Creating one locks out all others for a moment; nodes that do so at once wait in line.
    connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('stockstream partitions'))"))
    for day in sorted(days - set(_partitions(connection))):
        # Values of a partition can't be parameters; these are numbers.
        start, end = day * _DAY_MS, (day + 1) * _DAY_MS
        connection.execute(
            text(
                f"CREATE TABLE {_PARTITION}{day} PARTITION OF ticks"
                f" FOR VALUES FROM ({start}) TO ({end})"
            )
        )


class _Cursor(psycopg.Cursor[Any]):
    """Gets numbers and bytes as they are: as text, pages of minutes take twice the time."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.format = psycopg.pq.Format.BINARY


class _ServerCursor(psycopg.ServerCursor[Any]):
    """The same, for answers that are read in parts."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.format = psycopg.pq.Format.BINARY


def _read_in_binary(connection: Any, _: ConnectionPoolEntry) -> None:
    connection.server_cursor_factory = _ServerCursor


def _partitions(connection: Connection) -> list[int]:
    names = connection.scalars(
        text(
            "SELECT child.relname FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid"
            " WHERE inhparent = 'ticks'::regclass"
        )
    )
    return [int(name.removeprefix(_PARTITION)) for name in names]


def _arrays(rows: Iterable[tuple[Any, ...]]) -> tuple[str, ...]:
    """Return columns as literals of PostgreSQL's arrays, which are JSON's but for the brackets.

    The driver would make them number by number, and hold up the event loop meanwhile.
    """
    columns = (msgspec.json.encode(column).decode() for column in zip(*rows, strict=True))
    return tuple(f"{{{column[1:-1]}}}" for column in columns)


def _minute_row(minute: CountedMinute) -> tuple[Any, ...]:
    timestamp, *values = msgspec.structs.astuple(minute.part)
    return (minute.symbol, timestamp, minute.run, *values)


def _insert(connection: Connection, insert: str, rows: Iterable[tuple[Any, ...]]) -> None:
    """Insert rows, many with one statement: a quarter faster than one by one."""
    waiting = list(rows)
    while waiting:
        some, waiting = waiting[:_ROWS], waiting[_ROWS:]
        row = f"({','.join('?' * len(some[0]))})"
        values = ",".join([row] * len(some))
        connection.exec_driver_sql(f"{insert} VALUES {values}", tuple(chain.from_iterable(some)))


def _sqlite_engine(url: URL, begin: str) -> Engine:
    engine = create_engine(url.set(drivername="sqlite+pysqlite"), pool_timeout=STATEMENT_TIMEOUT)

    @event.listens_for(engine, "connect")
    def connected(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        # The driver must not begin transactions of its own.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {STATEMENT_TIMEOUT * 1_000}")
        cursor.execute("PRAGMA journal_mode = WAL")
        # A killed process loses nothing; a machine without power at most the last moments.
        cursor.execute("PRAGMA synchronous = NORMAL")
        cursor.close()

    @event.listens_for(engine, "begin")
    def began(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine
