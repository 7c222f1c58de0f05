"""What is read of documents, and what is forgotten; runs in a thread of the store."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Connection, Row, Table, delete, func, or_, select, tuple_, update

from stockstream.core.hybrid_clock import stamp_of
from stockstream.core.sync_batch import size_of
from stockstream.core.syncing import starting_point
from stockstream.model.document import (
    Conflict,
    DocumentFigures,
    DocumentHistory,
    DocumentKey,
    DocumentPage,
    DocumentPosition,
)
from stockstream.storage.documents.changes import lock_account
from stockstream.storage.documents.rows import conflict_of, document_of, receipt_of
from stockstream.storage.documents.tables import ACCOUNTS, CONFLICTS, DOCUMENTS, PAST, RECEIPTS

#: Rows that are forgotten in one go: nobody waits for long.
_PORTION: Final = 500


def changed_since(
    connection: Connection, user: str, since: DocumentPosition | None, limit: int, kind: str | None
) -> DocumentPage:
    """See :class:`stockstream.document_ports.DocumentStore`; needs one snapshot for all."""
    account = connection.execute(select(ACCOUNTS).where(ACCOUNTS.c.user == user)).one_or_none()
    epoch, last, forgotten = (
        (account.epoch, account.seq, account.forgotten) if account else ("", 0, 0)
    )
    seq, reset = starting_point(since, epoch, last, forgotten)
    changed = (
        select(DOCUMENTS)
        .where(DOCUMENTS.c.user == user, DOCUMENTS.c.seq > seq)
        .order_by(DOCUMENTS.c.seq)
        .limit(limit + 1)
    )
    if kind is not None:
        changed = changed.where(DOCUMENTS.c.type == kind)
    documents = [document_of(row) for row in connection.execute(changed)]
    more = len(documents) > limit
    upto = documents[limit - 1].seq if more else last
    return DocumentPage(
        documents=tuple(documents[:limit]),
        position=DocumentPosition(epoch=epoch, seq=upto),
        more=more,
        reset=reset,
    )


def history(
    connection: Connection, user: str, key: DocumentKey, limit: int
) -> DocumentHistory | None:
    """See :meth:`stockstream.document_ports.DocumentStore.history`."""
    present = connection.execute(_of(DOCUMENTS, user, key)).one_or_none()
    if present is None:
        return None
    past = connection.execute(_of(PAST, user, key).order_by(PAST.c.version.desc()).limit(limit - 1))
    sent = connection.execute(
        _of(RECEIPTS, user, key)
        .where(RECEIPTS.c.sent.is_not(None))
        .order_by(RECEIPTS.c.stamp.desc())
        .limit(limit)
    )
    return DocumentHistory(
        versions=(document_of(present), *map(document_of, past)),
        sent=tuple(map(receipt_of, sent)),
    )


def _of(table: Table, user: str, key: DocumentKey) -> Any:
    return select(table).where(table.c.user == user, table.c.type == key.type, table.c.id == key.id)


def conflicts(connection: Connection, user: str, limit: int) -> Sequence[Conflict]:
    """See :meth:`stockstream.document_ports.DocumentStore.conflicts`."""
    waiting = (
        select(CONFLICTS)
        .where(CONFLICTS.c.user == user, CONFLICTS.c.decided == 0)
        .order_by(CONFLICTS.c.stamp, CONFLICTS.c.item_id)
        .limit(limit)
    )
    return [conflict_of(row) for row in connection.execute(waiting)]


def figures(connection: Connection) -> DocumentFigures:
    """See :meth:`stockstream.document_ports.DocumentStore.figures`."""
    sums = [
        func.coalesce(func.sum(column), 0)
        for column in (ACCOUNTS.c.documents, ACCOUNTS.c.conflicts, ACCOUNTS.c.size)
    ]
    users, documents, waiting, size = connection.execute(
        select(func.count(), *sums).select_from(ACCOUNTS)
    ).one()
    return DocumentFigures(
        users=users, documents=int(documents), conflicts=int(waiting), size=int(size)
    )


def forgettable_users(connection: Connection, before_ms: int) -> list[str]:
    """Return users of whom something can be forgotten, some at a time."""
    old = stamp_of(before_ms)
    found: dict[str, None] = {}
    for statement in (_old_receipts(old), _old_conflicts(old), _old_tombstones(old)):
        found |= dict.fromkeys(row.user for row in connection.execute(statement.limit(_PORTION)))
    return list(found)


def forget(connection: Connection, user: str, before_ms: int) -> int:
    """Forget what nobody needs any more of a user, some at a time; returns how much that was."""
    old = stamp_of(before_ms)
    account = lock_account(connection, user)

    def portion(statement: Any, table: Table) -> Sequence[Row[Any]]:
        return connection.execute(statement.where(table.c.user == user).limit(_PORTION)).all()

    receipts = portion(_old_receipts(old), RECEIPTS)
    decided = portion(_old_conflicts(old), CONFLICTS)
    tombstones = portion(_old_tombstones(old), DOCUMENTS)
    for table, rows in ((RECEIPTS, receipts), (CONFLICTS, decided)):
        if rows:
            ids = [row.item_id for row in rows]
            connection.execute(delete(table).where(table.c.user == user, table.c.item_id.in_(ids)))
    size = sum(row.size for row in (*receipts, *decided))
    keys = [(row.type, row.id) for row in tombstones]
    if keys:
        past = tuple_(PAST.c.type, PAST.c.id).in_(keys)
        gone = connection.execute(
            delete(PAST).where(PAST.c.user == user, past).returning(PAST.c.size)
        )
        size += sum(row.size for row in gone) + len(keys) * size_of(None)
        key = tuple_(DOCUMENTS.c.type, DOCUMENTS.c.id).in_(keys)
        connection.execute(delete(DOCUMENTS).where(DOCUMENTS.c.user == user, key))
    connection.execute(
        update(ACCOUNTS)
        .where(ACCOUNTS.c.user == user)
        .values(
            size=ACCOUNTS.c.size - size,
            documents=ACCOUNTS.c.documents - len(keys),
            forgotten=max([account.forgotten, *(row.seq for row in tombstones)]),
        )
    )
    return len(receipts) + len(decided) + len(tombstones)


def _old_receipts(old: int) -> Any:
    # While its conflict waits, an item may be sent again.
    waits = (
        select(CONFLICTS.c.item_id)
        .where(
            CONFLICTS.c.user == RECEIPTS.c.user,
            CONFLICTS.c.item_id == RECEIPTS.c.item_id,
            CONFLICTS.c.decided == 0,
        )
        .exists()
    )
    return select(RECEIPTS.c.user, RECEIPTS.c.item_id, RECEIPTS.c.size).where(
        RECEIPTS.c.stamp < old, or_(RECEIPTS.c.status != "conflict", ~waits)
    )


def _old_conflicts(old: int) -> Any:
    return select(CONFLICTS.c.user, CONFLICTS.c.item_id, CONFLICTS.c.size).where(
        CONFLICTS.c.decided > 0, CONFLICTS.c.decided < old
    )


def _old_tombstones(old: int) -> Any:
    return select(DOCUMENTS.c.user, DOCUMENTS.c.type, DOCUMENTS.c.id, DOCUMENTS.c.seq).where(
        DOCUMENTS.c.body.is_(None), DOCUMENTS.c.stamp < old
    )
