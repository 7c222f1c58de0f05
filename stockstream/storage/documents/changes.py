"""One transaction that applies items; runs in a thread of the store, on either database."""

import secrets
from collections.abc import Iterable, Sequence
from typing import Any, Final

from sqlalchemy import Connection, bindparam, delete, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite

from stockstream.core.sync_batch import SyncBatch, too_much
from stockstream.core.syncing import SyncRules
from stockstream.model.document import (
    Change,
    Conflict,
    Document,
    DocumentKey,
    Outcome,
    Receipt,
    Usage,
)
from stockstream.storage.documents.rows import (
    conflict_of,
    conflict_row,
    document_of,
    document_row,
    past_row,
    receipt_of,
    receipt_row,
)
from stockstream.storage.documents.tables import ACCOUNTS, CONFLICTS, DOCUMENTS, PAST, RECEIPTS

#: Past versions that give way in one go.
_GIVING_WAY: Final = 200


def _upserting(insert: Any) -> tuple[Any, Any]:
    """Return the statements that lock an account, and that write a document, for a dialect."""
    account = insert(ACCOUNTS).values(forgotten=0, seq=0, documents=0, size=0, conflicts=0)
    # Writing to the row, were it with the value that it has, locks it until the end.
    account = account.on_conflict_do_update(
        index_elements=["user"], set_={"user": account.excluded.user}
    ).returning(*ACCOUNTS.c)
    document = insert(DOCUMENTS)
    names = ("version", "stamp", "author", "checksum", "item_id", "seq", "body")
    document = document.on_conflict_do_update(
        index_elements=["user", "type", "id"],
        set_={name: document.excluded[name] for name in names},
    )
    return account, document


_UPSERTS: Final = {
    "sqlite": _upserting(sqlite.insert),
    "postgresql": _upserting(postgresql.insert),
}
_USER: Final[Any] = bindparam("account")
_DOCUMENTS_OF: Final = select(DOCUMENTS).where(
    DOCUMENTS.c.user == _USER,
    tuple_(DOCUMENTS.c.type, DOCUMENTS.c.id).in_(bindparam("keys", expanding=True)),
)
_RECEIPTS_OF: Final = select(RECEIPTS).where(
    RECEIPTS.c.user == _USER, RECEIPTS.c.item_id.in_(bindparam("ids", expanding=True))
)
_REVISION: Final = select(PAST).where(
    PAST.c.user == _USER,
    PAST.c.type == bindparam("kind"),
    PAST.c.id == bindparam("name"),
    PAST.c.version == bindparam("number"),
)
_CONFLICT: Final = select(CONFLICTS).where(
    CONFLICTS.c.user == _USER, CONFLICTS.c.item_id == bindparam("conflict")
)
_SETTLE: Final = (
    update(CONFLICTS)
    .where(CONFLICTS.c.user == _USER, CONFLICTS.c.item_id == bindparam("conflict"))
    .values(decided=bindparam("at"))
)
_ACCOUNT: Final = (
    update(ACCOUNTS)
    .where(ACCOUNTS.c.user == _USER)
    .values(
        seq=bindparam("last"),
        documents=bindparam("count"),
        size=bindparam("bytes"),
        conflicts=bindparam("waiting"),
    )
)
_PRUNE: Final = (
    delete(PAST)
    .where(
        PAST.c.user == _USER,
        PAST.c.type == bindparam("kind"),
        PAST.c.id == bindparam("name"),
        PAST.c.version <= bindparam("oldest"),
    )
    .returning(PAST.c.size)
)


def lock_account(connection: Connection, user: str) -> Any:
    """Lock a user's account until the transaction ends, and return its row."""
    statement = _UPSERTS[connection.dialect.name][0]
    return connection.execute(statement, {"user": user, "epoch": secrets.token_hex(4)}).one()


def apply_changes(
    connection: Connection, user: str, changes: Sequence[Change], rules: SyncRules, versions: int
) -> Sequence[Outcome]:
    """Let the rules decide about changes, and write what comes of it.

    Args:
        connection: within a transaction.
        user: whose they are.
        changes: in order.
        rules: what decides.
        versions: past versions of a document that are kept.
    """
    account = lock_account(connection, user)
    usage = Usage(documents=account.documents, size=account.size, conflicts=account.conflicts)
    ledger = _Ledger(connection, user, changes)
    batch = SyncBatch(rules=rules, ledger=ledger, usage=usage, seq=account.seq)
    batch.run(changes)
    if batch.writes:
        _write(connection, user, batch)
        size = batch.usage.size - _prune(connection, user, batch, versions)
        if wanted := too_much(size, rules):
            size -= _make_room(connection, user, wanted)
        connection.execute(
            _ACCOUNT,
            {
                "account": user,
                "last": batch.seq,
                "count": batch.usage.documents,
                "bytes": size,
                "waiting": batch.usage.conflicts,
            },
        )
    return batch.outcomes


class _Ledger:
    """Implements :class:`stockstream.core.sync_batch.Ledger` on rows that are locked."""

    def __init__(self, connection: Connection, user: str, changes: Sequence[Change]) -> None:
        self._connection = connection
        self._user = user
        keys = list({(change.key.type, change.key.id): None for change in changes})
        rows = connection.execute(_DOCUMENTS_OF, {"account": user, "keys": keys})
        self._documents = {each.key: each for each in map(document_of, rows)}
        ids = [change.item_id for change in changes]
        rows = connection.execute(_RECEIPTS_OF, {"account": user, "ids": ids})
        self._receipts = {each.item_id: each for each in map(receipt_of, rows)}

    def document(self, key: DocumentKey) -> Document | None:
        return self._documents.get(key)

    def receipt(self, item_id: str) -> Receipt | None:
        return self._receipts.get(item_id)

    def revision(self, key: DocumentKey, version: int) -> Document | None:
        where = {"account": self._user, "kind": key.type, "name": key.id, "number": version}
        row = self._connection.execute(_REVISION, where).one_or_none()
        return None if row is None else document_of(row)

    def conflict(self, conflict_id: str) -> tuple[Conflict, bool] | None:
        where = {"account": self._user, "conflict": conflict_id}
        row = self._connection.execute(_CONFLICT, where).one_or_none()
        return None if row is None else (conflict_of(row), not row.decided)


def _write(connection: Connection, user: str, batch: SyncBatch) -> None:
    def insert(statement: Any, rows: Iterable[dict[str, Any]]) -> None:
        values = list(rows)
        if values:
            connection.execute(statement, values)

    receipts = batch.receipts
    insert(PAST.insert(), (past_row(user, each) for each in batch.past.values()))
    insert(
        _UPSERTS[connection.dialect.name][1],
        (document_row(user, each) for each in batch.documents.values()),
    )
    insert(RECEIPTS.insert(), (receipt_row(user, each) for each in receipts.values()))
    insert(
        CONFLICTS.insert(),
        (conflict_row(user, each, receipts[each.id].stamp) for each in batch.conflicts.values()),
    )
    decided = max(receipt.stamp for receipt in receipts.values())
    insert(_SETTLE, ({"account": user, "conflict": each, "at": decided} for each in batch.settled))


def _prune(connection: Connection, user: str, batch: SyncBatch, versions: int) -> int:
    """Let the oldest versions of documents that have too many go; returns their bytes."""
    freed = 0
    for document in batch.documents.values():
        oldest = document.version.version - versions - 1
        if oldest > 0:
            where = {
                "account": user,
                "kind": document.key.type,
                "name": document.key.id,
                "oldest": oldest,
            }
            freed += sum(row.size for row in connection.execute(_PRUNE, where))
    return freed


def _make_room(connection: Connection, user: str, wanted: int) -> int:
    """Let the user's oldest past versions go, some at a time; returns their bytes."""
    columns = (PAST.c.type, PAST.c.id, PAST.c.version, PAST.c.size)
    oldest = select(*columns).where(PAST.c.user == user).order_by(PAST.c.stamp).limit(_GIVING_WAY)
    freed, gone = 0, []
    for row in connection.execute(oldest):
        if freed >= wanted:
            break
        freed += row.size
        gone.append((row.type, row.id, row.version))
    if gone:
        key = tuple_(PAST.c.type, PAST.c.id, PAST.c.version)
        connection.execute(delete(PAST).where(PAST.c.user == user, key.in_(gone)))
    return freed
