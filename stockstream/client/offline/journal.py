"""The file that the queue and what is known of the documents survive in."""

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
from msgspec import UNSET

from stockstream.client.offline.items import Held, ItemState, OfflineItem
from stockstream.client.offline.replica import Delta
from stockstream.errors import QueueLockedError, StoreUnavailableError
from stockstream.model.document import DocumentKey
from stockstream.wire.sync_replies import ConflictReply

T = TypeVar("T")

#: Version of the tables; a file of a later one is left alone.
_VERSION: Final = 1
_TABLES: Final = """
    CREATE TABLE IF NOT EXISTS items (id TEXT PRIMARY KEY, item TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS held (
        type TEXT NOT NULL, id TEXT NOT NULL, held TEXT NOT NULL, PRIMARY KEY (type, id)
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS conflicts (
        id TEXT PRIMARY KEY, conflict TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS cursor (one INTEGER PRIMARY KEY CHECK (one = 1), cursor TEXT);
"""
_encode = msgspec.json.Encoder().encode


class Journal:
    """An SQLite file with one writer; what was written is on the disk when a call returns.

    Args:
        path: of the file; made where it is missing. Beside it are SQLite's own files and
            ``<path>.lock``.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        #: SQLite's calls block, for as long as the disk does. None: the file is not open.
        self._thread: ThreadPoolExecutor | None = None
        self._file: _File | None = None

    async def open(self) -> Delta:
        """Open the file and return all that it holds; what was being sent is pending again.

        Raises:
            QueueLockedError: somebody has it open.
            StoreUnavailableError: it can't be opened, or is no such file.
        """
        if self._thread is not None:
            raise QueueLockedError(str(self._path))
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="stockstream-offline")
        try:
            return await self._do(self._open)
        except BaseException:
            self._end(self._thread)
            raise

    async def write(self, deltas: list[Delta]) -> None:
        """Write deltas down, all of them or none.

        Raises:
            StoreUnavailableError: nothing was written.
        """
        if self._file is None:
            raise StoreUnavailableError(str(self._path), "is not open")
        file = self._file
        await self._do(lambda: file.write(deltas))

    async def close(self) -> None:
        """Let go of the file; calling it twice does no harm."""
        if self._thread is not None:
            await asyncio.wrap_future(self._end(self._thread))

    def _end(self, thread: ThreadPoolExecutor) -> Future[None]:
        """Have the file let go of behind whatever is being done with it."""
        self._thread = None
        ended = thread.submit(self._close)
        thread.shutdown(wait=False)
        return ended

    def _open(self) -> Delta:
        self._file = _File(self._path)
        return self._file.load()

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()

    async def _do(self, work: Callable[[], T]) -> T:
        def guarded() -> T:
            try:
                return work()
            except (sqlite3.Error, OSError, msgspec.MsgspecError) as error:
                raise StoreUnavailableError(str(self._path), str(error)) from error

        return await asyncio.get_running_loop().run_in_executor(self._thread, guarded)


class _File:
    """The same, blocking.

    Args:
        path: of the file.

    Raises:
        QueueLockedError: somebody has it open.
        OSError: it can't be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        # What users write is nobody else's business.
        self._lock = os.open(f"{path}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
            self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        except BlockingIOError:
            os.close(self._lock)
            raise QueueLockedError(str(path)) from None
        except BaseException:
            os.close(self._lock)
            raise

    def load(self) -> Delta:
        """Make it a file of changes where it is not, and return all that it holds."""
        database = self._database
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if version > _VERSION:
            raise StoreUnavailableError(str(self._path), "was written by a later version")
        database.executescript(_TABLES)
        database.execute(f"PRAGMA user_version = {_VERSION}")
        items = [
            msgspec.json.decode(text, type=OfflineItem)
            for (text,) in database.execute("SELECT item FROM items")
        ]
        cursor = database.execute("SELECT cursor FROM cursor").fetchone()
        return Delta(
            items=sorted(items, key=lambda item: item.order),
            held={
                DocumentKey(kind, document_id): msgspec.json.decode(text, type=Held)
                for kind, document_id, text in database.execute("SELECT type, id, held FROM held")
            },
            conflicts={
                conflict_id: msgspec.json.decode(text, type=ConflictReply)
                for conflict_id, text in database.execute("SELECT id, conflict FROM conflicts")
            },
            cursor=cursor[0] if cursor else None,
        )

    def write(self, deltas: list[Delta]) -> None:
        """Write deltas down in one transaction."""
        self._database.execute("BEGIN IMMEDIATE")
        try:
            for delta in deltas:
                _write_delta(self._database, delta)
            self._database.execute("COMMIT")
        except BaseException:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise

    def close(self) -> None:
        """Let go of it."""
        self._database.close()
        # Closing it gives up the lock.
        os.close(self._lock)


def _write_delta(database: sqlite3.Connection, delta: Delta) -> None:
    write = database.executemany
    if delta.forget:
        database.execute("DELETE FROM held")
    write("DELETE FROM items WHERE id = ?", [(item_id,) for item_id in delta.removed])
    write(
        "INSERT OR REPLACE INTO items VALUES (?, ?)",
        [(item.id, _encode(_at_rest(item)).decode()) for item in delta.items],
    )
    write(
        "INSERT OR REPLACE INTO held VALUES (?, ?, ?)",
        [(key.type, key.id, _encode(held).decode()) for key, held in delta.held.items()],
    )
    write("DELETE FROM held WHERE type = ? AND id = ?", [(k.type, k.id) for k in delta.dropped])
    write("DELETE FROM conflicts WHERE id = ?", [(each,) for each in delta.decided])
    write(
        "INSERT OR REPLACE INTO conflicts VALUES (?, ?)",
        [(each.conflict_id, _encode(each).decode()) for each in delta.conflicts.values()],
    )
    if delta.cursor is not UNSET:
        database.execute("INSERT OR REPLACE INTO cursor VALUES (1, ?)", (delta.cursor,))


def _at_rest(item: OfflineItem) -> Any:
    """Return an item as it is found by who reads the file after this process's end."""
    if item.state is ItemState.SYNCING:
        return msgspec.structs.replace(item, state=ItemState.PENDING)
    return item
