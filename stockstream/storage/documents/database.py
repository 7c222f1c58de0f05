"""A database, SQLite or PostgreSQL: opened and migrated when it is first needed, read, written.

Work on it is a function of a connection, run in a thread within one transaction. It happens as a
whole or not at all.
"""

import asyncio
import os
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from stockstream.errors import StoreUnavailableError
from stockstream.storage.documents.migrate import SCHEMA
from stockstream.storage.schema import migrate
from stockstream.storage.workers import Workers

T = TypeVar("T")
Work = Callable[[Connection], T]

#: Seconds that one piece of work may take in all, and the locks that it waits for.
_WITHIN: Final = 5.0
#: Pieces of work that may wait; more are refused at once.
_WAITING: Final = 1_000
#: Pieces of work that SQLite makes durable together, at most: one wait for the disk for all.
_GROUP: Final = 64
#: Threads, and so connections.
_POSTGRES_THREADS: Final = 8
_SQLITE_READERS: Final = 2
#: Seconds after a failed start in which nobody tries again.
_REST: Final = 1.0
#: Of a writing transaction, which on SQLite takes the lock at its beginning.
_WRITES: Final = "stockstream_writes"


class Database:
    """One database, shared by whoever stores something in it.

    Args:
        url: ``sqlite:///path`` or ``postgresql://user:password@host/name``; None: nobody has said
            where it is, and all work is refused.
    """

    def __init__(self, url: str | None) -> None:
        self._missing = url is None
        self._url = _with_driver(make_url(url or "sqlite:///never-opened"))
        #: ``sqlite`` or ``postgresql``: what it is called in readiness and errors.
        self.name = self._url.get_backend_name()
        self._engine = _sqlite(self._url) if self.name == "sqlite" else _postgres(self._url)
        one_writer = self.name == "sqlite"
        self._readers = Workers("sql", _SQLITE_READERS if one_writer else _POSTGRES_THREADS)
        self._writer = Workers("sql-writer", 1) if one_writer else None
        self._group: deque[tuple[Work[Any], Future[Any]]] = deque()
        self._opening = asyncio.Lock()
        self._open = False
        self._closed = False
        self._failed: tuple[float, StoreUnavailableError] | None = None
        self._waiting = 0

    @property
    def opened(self) -> bool:
        """Whether it has been used yet, or can't be."""
        return self._open or self._missing

    @property
    def waiting(self) -> int:
        """Pieces of work that were begun or wait."""
        return self._waiting

    async def read(self, work: Work[T]) -> T:
        """Read in one snapshot.

        Raises:
            StoreUnavailableError: it can't be reached, or takes too long.
        """
        return await self._within(lambda: self._readers.run(lambda: self._transact(work, False)))

    async def write(self, work: Work[T]) -> T:
        """Return once what the work did is durable.

        The work may run twice; what it does the second time counts.

        Raises:
            StoreUnavailableError: it happened as a whole or not at all.
        """
        return await self._within(lambda: self._submit(work))

    async def aclose(self) -> None:
        """Finish what was begun, and let go of the connections."""
        if self._closed:
            return
        self._closed = True
        workers = [self._readers] if self._writer is None else [self._readers, self._writer]
        await asyncio.gather(*(each.aclose(_WITHIN) for each in workers))
        await asyncio.to_thread(self._engine.dispose)

    async def _within(self, start: Callable[[], "asyncio.Future[T]"]) -> T:
        if self._missing:
            raise StoreUnavailableError(
                "documents", "nodes need a database that they share: set DATABASE_URL"
            )
        if self._closed:
            raise StoreUnavailableError(self.name, "closed")
        if self._waiting >= _WAITING:
            raise StoreUnavailableError(self.name, f"{self._waiting:,} others wait for it")
        self._waiting += 1
        try:
            async with asyncio.timeout(_WITHIN):
                if not self._open:
                    await self._start()
                return await start()
        except TimeoutError:
            raise StoreUnavailableError(self.name, f"no answer within {_WITHIN:g} s") from None
        except (SQLAlchemyError, PoolTimeoutError) as error:
            raise StoreUnavailableError(self.name, _reason(error)) from error
        finally:
            self._waiting -= 1

    async def _start(self) -> None:
        async with self._opening:
            if self._open:
                return
            if self._failed and time.monotonic() < self._failed[0] + _REST:
                raise self._failed[1]
            try:
                await self._readers.run(self._prepare)
            except (OSError, SQLAlchemyError) as error:
                failure = StoreUnavailableError(self.name, _reason(error))
                self._failed = time.monotonic(), failure
                raise failure from error
            self._open = True

    def _prepare(self) -> None:
        if self.name == "sqlite" and self._url.database:
            path = Path(self._url.database)
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # What users keep here is for nobody else's eyes.
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        with self._writing() as connection, connection.begin():
            migrate(connection, SCHEMA)

    def _writing(self) -> Connection:
        return self._engine.connect().execution_options(**{_WRITES: True})

    def _submit(self, work: Work[T]) -> "asyncio.Future[T]":
        if self._writer is None:
            return self._readers.run(lambda: self._transact(work, True))
        future: Future[T] = Future()
        self._group.append((work, future))
        self._writer.post(self._write_group)
        return asyncio.wrap_future(future)

    def _transact(self, work: Work[T], writes: bool) -> T:  # noqa: FBT001
        try:
            return self._once(work, writes)
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
            # The connection had been lost since it was used last; a new one may do.
            return self._once(work, writes)

    def _once(self, work: Work[T], writes: bool) -> T:  # noqa: FBT001
        with self._engine.connect() as connection:
            if writes:
                connection.execution_options(**{_WRITES: True})
            elif self.name == "postgresql":
                connection.execution_options(isolation_level="REPEATABLE READ")
            with connection.begin():
                return work(connection)

    def _write_group(self) -> None:
        """Write what waits, all in one transaction: they share one wait for the disk."""
        group: list[tuple[Work[Any], Future[Any]]] = []
        while self._group and len(group) < _GROUP:
            work, future = self._group.popleft()
            if future.set_running_or_notify_cancel():
                group.append((work, future))
        if not group:
            return
        done: list[tuple[Future[Any], Any]] = []
        failed: list[tuple[Future[Any], BaseException]] = []
        try:
            with self._writing() as connection, connection.begin():
                for work, future in group:
                    try:
                        with connection.begin_nested():
                            done.append((future, work(connection)))
                    except Exception as error:  # noqa: BLE001 - raised where it is awaited
                        failed.append((future, error))
        except BaseException as error:  # noqa: BLE001 - raised where it is awaited
            failed = [(future, error) for _, future in group]
            done = []
        for future, result in done:
            future.set_result(result)
        for future, failure in failed:
            future.set_exception(failure)


def _with_driver(url: URL) -> URL:
    backend = url.get_backend_name()
    if backend in ("postgres", "postgresql"):
        return url.set(drivername="postgresql+psycopg")
    return url.set(drivername="sqlite+pysqlite")


def _sqlite(url: URL) -> Engine:
    engine = create_engine(
        url,
        pool_size=_SQLITE_READERS + 1,
        max_overflow=0,
        connect_args={"check_same_thread": False, "timeout": _WITHIN},
    )

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _: object) -> None:
        # Transactions begin where we say so.
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode=WAL")
        # Each commit waits for the disk: what is acknowledged survives a loss of power.
        connection.execute("PRAGMA synchronous=FULL")

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        writes = connection.get_execution_options().get(_WRITES)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _postgres(url: URL) -> Engine:
    ms = int(_WITHIN * 1000)
    # What is acknowledged is on disk, whatever the server's default; and no lock, statement or
    # forgotten transaction holds up the others for long.
    options = (
        f"-c synchronous_commit=on -c lock_timeout={ms} -c statement_timeout={ms} "
        f"-c idle_in_transaction_session_timeout={ms}"
    )
    return create_engine(
        url,
        pool_size=_POSTGRES_THREADS,
        max_overflow=0,
        connect_args={"connect_timeout": 3, "tcp_user_timeout": ms, "options": options},
    )


def _reason(error: Exception) -> str:
    """Return what the database said, in one line."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    lines = str(cause).strip().splitlines()
    return lines[0] if lines else type(error).__name__
