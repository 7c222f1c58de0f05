"""Documents in memory: durable as long as the process, which is what tests want."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from stockstream.core.hybrid_clock import milliseconds
from stockstream.core.sync_batch import (
    SyncBatch,
    size_of,
    size_of_conflict,
    size_of_receipt,
    too_much,
)
from stockstream.core.syncing import SyncRules, starting_point
from stockstream.model.document import (
    Change,
    Conflict,
    Document,
    DocumentFigures,
    DocumentHistory,
    DocumentKey,
    DocumentPage,
    DocumentPosition,
    Outcome,
    Receipt,
    Usage,
)


@dataclass(slots=True)
class _Account:
    """All that is kept of one user; implements :class:`stockstream.core.sync_batch.Ledger`."""

    epoch: str = field(default_factory=lambda: secrets.token_hex(4))
    seq: int = 0
    #: Number of the last change of those that are forgotten.
    forgotten: int = 0
    documents: dict[DocumentKey, Document] = field(default_factory=dict)
    past: dict[DocumentKey, dict[int, Document]] = field(default_factory=dict)
    receipts: dict[str, Receipt] = field(default_factory=dict)
    #: With the stamp at which each was decided; 0: it waits.
    conflicts: dict[str, tuple[Conflict, int]] = field(default_factory=dict)
    usage: Usage = field(default_factory=Usage)

    def document(self, key: DocumentKey) -> Document | None:
        return self.documents.get(key)

    def revision(self, key: DocumentKey, version: int) -> Document | None:
        return self.past.get(key, {}).get(version)

    def receipt(self, item_id: str) -> Receipt | None:
        return self.receipts.get(item_id)

    def conflict(self, conflict_id: str) -> tuple[Conflict, bool] | None:
        found = self.conflicts.get(conflict_id)
        return None if found is None else (found[0], not found[1])

    @property
    def waiting(self) -> list[Conflict]:
        return [conflict for conflict, decided in self.conflicts.values() if not decided]

    def make_room(self, wanted: int) -> int:
        """Let the oldest past versions go; returns their bytes."""
        freed = 0
        past = [each for versions in self.past.values() for each in versions.values()]
        for each in sorted(past, key=lambda each: each.stamp):
            if freed >= wanted:
                break
            freed += size_of(self.past[each.key].pop(each.version.version).body)
        return freed

    def counted(self) -> Usage:
        versions = [*self.documents.values(), *(v for p in self.past.values() for v in p.values())]
        size = sum(size_of(each.body) for each in versions)
        size += sum(map(size_of_receipt, self.receipts.values()))
        size += sum(size_of_conflict(conflict) for conflict, _ in self.conflicts.values())
        return Usage(documents=len(self.documents), size=size, conflicts=len(self.waiting))


class MemoryDocumentStore:
    """Implements :class:`~stockstream.document_ports.DocumentStore`; a turn is a transaction.

    Args:
        versions: past versions of a document that are kept.
    """

    def __init__(self, versions: int = 50) -> None:
        self._versions = versions
        self._accounts: dict[str, _Account] = {}
        #: There is nothing to open.
        self.opened = True

    async def apply(
        self, user: str, changes: Sequence[Change], rules: SyncRules
    ) -> Sequence[Outcome]:
        """See :meth:`stockstream.document_ports.DocumentStore.apply`."""
        account = self._accounts.get(user) or _Account()
        batch = SyncBatch(rules=rules, ledger=account, usage=account.usage, seq=account.seq)
        batch.run(changes)
        if batch.writes:
            self._accounts[user] = account
            self._write(account, batch)
        return batch.outcomes

    def _write(self, account: _Account, batch: SyncBatch) -> None:
        account.seq = batch.seq
        account.documents |= batch.documents
        account.receipts |= batch.receipts
        account.conflicts |= {each.id: (each, 0) for each in batch.conflicts.values()}
        decided = max(receipt.stamp for receipt in batch.receipts.values())
        for conflict_id in batch.settled:
            account.conflicts[conflict_id] = (account.conflicts[conflict_id][0], decided)
        gone: list[Document] = []
        for (key, version), document in batch.past.items():
            past = account.past.setdefault(key, {})
            past[version] = document
            gone += [past.pop(old) for old in sorted(past)[: -self._versions]]
        size = batch.usage.size - sum(size_of(each.body) for each in gone)
        size -= account.make_room(too_much(size, batch.rules))
        account.usage = replace(batch.usage, size=size)

    async def changed_since(
        self, user: str, since: DocumentPosition | None, *, limit: int, kind: str | None = None
    ) -> DocumentPage:
        """See :meth:`stockstream.document_ports.DocumentStore.changed_since`."""
        account = self._accounts.get(user) or _Account(epoch="")
        seq, reset = starting_point(since, account.epoch, account.seq, account.forgotten)
        changed = sorted(
            (
                each
                for each in account.documents.values()
                if each.seq > seq and kind in (None, each.key.type)
            ),
            key=lambda each: each.seq,
        )
        more = len(changed) > limit
        upto = changed[limit - 1].seq if more else account.seq
        position = DocumentPosition(epoch=account.epoch, seq=upto)
        return DocumentPage(
            documents=tuple(changed[:limit]), position=position, more=more, reset=reset
        )

    async def history(self, user: str, key: DocumentKey, limit: int) -> DocumentHistory | None:
        """See :meth:`stockstream.document_ports.DocumentStore.history`."""
        account = self._accounts.get(user)
        document = account.documents.get(key) if account else None
        if account is None or document is None:
            return None
        past = sorted(account.past.get(key, {}).items(), reverse=True)
        sent = [r for r in account.receipts.values() if r.key == key and r.sent is not None]
        sent.sort(key=lambda receipt: receipt.stamp, reverse=True)
        versions = (document, *(each for _, each in past))
        return DocumentHistory(versions=versions[:limit], sent=tuple(sent[:limit]))

    async def conflicts(self, user: str, limit: int) -> Sequence[Conflict]:
        """See :meth:`stockstream.document_ports.DocumentStore.conflicts`."""
        account = self._accounts.get(user)
        return account.waiting[:limit] if account else []

    async def forget(self, before_ms: int) -> int:
        """See :meth:`stockstream.document_ports.DocumentStore.forget`."""
        return sum(_forget(account, before_ms) for account in self._accounts.values())

    async def figures(self) -> DocumentFigures:
        """See :meth:`stockstream.document_ports.DocumentStore.figures`."""
        usages = [account.usage for account in self._accounts.values()]
        return DocumentFigures(
            users=len(usages),
            documents=sum(usage.documents for usage in usages),
            conflicts=sum(usage.conflicts for usage in usages),
            size=sum(usage.size for usage in usages),
        )

    async def ping(self) -> None:
        """See :meth:`stockstream.document_ports.DocumentStore.ping`."""

    async def aclose(self) -> None:
        """See :meth:`stockstream.document_ports.DocumentStore.aclose`."""


def _forget(account: _Account, before_ms: int) -> int:
    def old(stamp: int) -> bool:
        return milliseconds(stamp) < before_ms

    gone = 0
    for item_id in [r.item_id for r in account.receipts.values() if old(r.stamp)]:
        # While its conflict waits, an item may be sent again.
        found = account.conflicts.get(item_id)
        if found is None or found[1]:
            del account.receipts[item_id]
            gone += 1
    for conflict_id in [
        c.id for c, decided in account.conflicts.values() if decided and old(decided)
    ]:
        del account.conflicts[conflict_id]
        gone += 1
    tombstones = [d for d in account.documents.values() if d.body is None and old(d.stamp)]
    for document in tombstones:
        account.forgotten = max(account.forgotten, document.seq)
        del account.documents[document.key]
        account.past.pop(document.key, None)
        gone += 1
    account.usage = account.counted()
    return gone
