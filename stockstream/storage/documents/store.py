"""Documents in SQLite or PostgreSQL."""

from collections.abc import Sequence
from functools import partial
from typing import Final

from sqlalchemy import Connection, text

from stockstream.core.syncing import SyncRules
from stockstream.model.document import (
    Change,
    Conflict,
    DocumentFigures,
    DocumentHistory,
    DocumentKey,
    DocumentPage,
    DocumentPosition,
    Outcome,
)
from stockstream.storage.documents import queries
from stockstream.storage.documents.changes import apply_changes
from stockstream.storage.documents.database import Database

_PING: Final = text("SELECT 1")


class SqlDocumentStore:
    """Implements :class:`stockstream.document_ports.DocumentStore`.

    Args:
        database: where; it is closed with the store.
        versions: past versions of a document that are kept.
    """

    def __init__(self, database: Database, versions: int = 50) -> None:
        self.database = database
        self._versions = versions

    @property
    def opened(self) -> bool:
        """Whether anybody has needed it yet: the database is opened then."""
        return self.database.opened

    async def apply(
        self, user: str, changes: Sequence[Change], rules: SyncRules
    ) -> Sequence[Outcome]:
        """See :meth:`stockstream.document_ports.DocumentStore.apply`."""

        def work(connection: Connection) -> Sequence[Outcome]:
            return apply_changes(connection, user, changes, rules, self._versions)

        return await self.database.write(work)

    async def changed_since(
        self, user: str, since: DocumentPosition | None, *, limit: int, kind: str | None = None
    ) -> DocumentPage:
        """See :meth:`stockstream.document_ports.DocumentStore.changed_since`."""
        work = partial(queries.changed_since, user=user, since=since, limit=limit, kind=kind)
        return await self.database.read(work)

    async def history(self, user: str, key: DocumentKey, limit: int) -> DocumentHistory | None:
        """See :meth:`stockstream.document_ports.DocumentStore.history`."""
        work = partial(queries.history, user=user, key=key, limit=limit)
        return await self.database.read(work)

    async def conflicts(self, user: str, limit: int) -> Sequence[Conflict]:
        """See :meth:`stockstream.document_ports.DocumentStore.conflicts`."""
        return await self.database.read(partial(queries.conflicts, user=user, limit=limit))

    async def forget(self, before_ms: int) -> int:
        """See :meth:`stockstream.document_ports.DocumentStore.forget`."""
        users = await self.database.read(partial(queries.forgettable_users, before_ms=before_ms))
        gone = 0
        for user in users:
            work = partial(queries.forget, user=user, before_ms=before_ms)
            gone += await self.database.write(work)
        return gone

    async def figures(self) -> DocumentFigures:
        """See :meth:`stockstream.document_ports.DocumentStore.figures`."""
        return await self.database.read(queries.figures)

    async def ping(self) -> None:
        """See :meth:`stockstream.document_ports.DocumentStore.ping`."""
        await self.database.read(lambda connection: connection.execute(_PING))

    async def aclose(self) -> None:
        """See :meth:`stockstream.document_ports.DocumentStore.aclose`."""
        await self.database.aclose()
