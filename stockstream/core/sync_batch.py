"""Items of one user, decided one after the other; what comes of them is written at once."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from stockstream.core.syncing import Decision, Standing, SyncRules, base_version_of
from stockstream.model.document import (
    Change,
    Conflict,
    Document,
    DocumentKey,
    Outcome,
    Receipt,
    Usage,
)

#: Parts of a user's quota at which past versions give way to new ones, and until when.
_CROWDED: Final = 0.9
_ROOMY: Final = 0.8
#: What a record of the store takes beside its data, in bytes: no user fills it with empty ones.
_OVERHEAD: Final = 200


class Ledger(Protocol):
    """What a store knows of a user, while nobody else can change it."""

    def document(self, key: DocumentKey) -> Document | None:
        """Return the present version of a document."""
        ...

    def revision(self, key: DocumentKey, version: int) -> Document | None:
        """Return a past version of a document, None where it is no longer kept."""
        ...

    def receipt(self, item_id: str) -> Receipt | None:
        """Return what is remembered of an item."""
        ...

    def conflict(self, conflict_id: str) -> tuple[Conflict, bool] | None:
        """Return a conflict, and whether it still waits."""
        ...


@dataclass(slots=True, kw_only=True)
class SyncBatch:
    """Decides about items, and gathers what is to be written for them."""

    rules: SyncRules
    ledger: Ledger
    #: As of before the batch, then kept up.
    usage: Usage
    #: Number of the user's last change.
    seq: int
    outcomes: list[Outcome] = field(default_factory=list)
    #: New versions that are present when the batch is written.
    documents: dict[DocumentKey, Document] = field(default_factory=dict)
    #: Versions that are past by then.
    past: dict[tuple[DocumentKey, int], Document] = field(default_factory=dict)
    receipts: dict[str, Receipt] = field(default_factory=dict)
    conflicts: dict[str, Conflict] = field(default_factory=dict)
    #: Conflicts that wait no more.
    settled: set[str] = field(default_factory=set)

    def run(self, changes: Sequence[Change]) -> None:
        """Decide about changes, each knowing what the one before it did."""
        for change in changes:
            standing = self._standing(change)
            decision = self.rules.decide(change, standing)
            self._note(decision, standing)

    @property
    def writes(self) -> bool:
        """Whether there is anything to write."""
        return bool(self.receipts)

    def _standing(self, change: Change) -> Standing:
        document = self.documents.get(change.key) or self.ledger.document(change.key)
        receipt = self.receipts.get(change.item_id) or self.ledger.receipt(change.item_id)
        if receipt is not None:
            waiting = self._conflict(change.item_id)
            return Standing(
                document=document,
                receipt=receipt,
                waiting=waiting[0] if waiting and waiting[1] else None,
            )
        resolved = self._conflict(change.resolves) if change.resolves else None
        return Standing(
            document=document,
            base=self._base(change, document, resolved[0] if resolved else None),
            resolved=resolved[0] if resolved else None,
            resolved_waits=resolved is not None and resolved[1],
            usage=self.usage,
        )

    def _base(
        self, change: Change, document: Document | None, resolved: Conflict | None
    ) -> Document | None:
        version = base_version_of(change, resolved)
        if not version or document is None or version >= document.version.version:
            return None
        past = self.past.get((change.key, version))
        return past or self.ledger.revision(change.key, version)

    def _conflict(self, conflict_id: str) -> tuple[Conflict, bool] | None:
        new = self.conflicts.get(conflict_id)
        found = (new, True) if new is not None else self.ledger.conflict(conflict_id)
        if found is not None and conflict_id in self.settled:
            return found[0], False
        return found

    def _note(self, decision: Decision, standing: Standing) -> None:
        documents, size, conflicts = 0, 0, 0
        outcome = decision.outcome
        if decision.document is not None:
            self.seq += 1
            document = replace(decision.document, seq=self.seq)
            before = standing.document
            if before is not None:
                self.past[before.key, before.version.version] = before
            documents = before is None
            size += size_of(document.body)
            self.documents[document.key] = document
            outcome = replace(outcome, document=document)
        self.outcomes.append(outcome)
        if decision.receipt is not None:
            self.receipts[decision.receipt.item_id] = decision.receipt
            size += size_of_receipt(decision.receipt)
        if decision.conflict is not None:
            self.conflicts[decision.conflict.id] = decision.conflict
            conflicts += 1
            size += size_of_conflict(decision.conflict)
        if decision.settled is not None:
            self.settled.add(decision.settled)
            conflicts -= 1
        self.usage = Usage(
            documents=self.usage.documents + documents,
            size=self.usage.size + size,
            conflicts=self.usage.conflicts + conflicts,
        )


def too_much(size: int, rules: SyncRules) -> int:
    """Return the bytes by which a user's past versions are to become fewer."""
    quota = rules.quota.size
    return size - int(quota * _ROOMY) if size > quota * _CROWDED else 0


def size_of(*bodies: str | None) -> int:
    """Return the bytes that a record with such data counts for."""
    return _OVERHEAD + sum(len(body.encode()) for body in bodies if body is not None)


def size_of_receipt(receipt: Receipt) -> int:
    """Return the bytes that a receipt counts for."""
    sides = [side for each in receipt.unmerged for side in (each.path, each.client, each.server)]
    return size_of(receipt.sent, *sides)


def size_of_conflict(conflict: Conflict) -> int:
    """Return the bytes that a conflict counts for."""
    return size_of(conflict.client, conflict.server)
