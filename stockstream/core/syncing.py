"""What becomes of an item: the rules of synchronization, on what the store knows at that moment."""

import re
from dataclasses import dataclass, field
from typing import Any, Final

from stockstream.core.conflict_resolution import ConflictResolutionEngine, Resolution, Sides
from stockstream.core.hybrid_clock import milliseconds
from stockstream.core.merging import ABSENT
from stockstream.model.document import (
    Change,
    Conflict,
    DataVersion,
    Document,
    DocumentPosition,
    Outcome,
    Receipt,
    Refusal,
    SyncStatus,
    Unmerged,
    Usage,
)
from stockstream.wire.canonical import canonical, checksum, parse
from stockstream.wire.sync import MAX_BODY

INVALID: Final = "invalid_payload"
TOO_LARGE: Final = "too_large"
QUOTA: Final = "quota_exceeded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """What one user may take of the store."""

    documents: int = 10_000
    #: Bytes; see :class:`stockstream.model.document.Usage`.
    size: int = 100_000_000
    #: Conflicts that wait.
    conflicts: int = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """All that the store knows that an item depends on."""

    #: None: there has never been such a document, or it is forgotten.
    document: Document | None = None
    #: The version that the change was made on, where it is still kept.
    base: Document | None = None
    #: What is remembered of an item of the same id.
    receipt: Receipt | None = None
    #: The conflict of the item itself, or None: it met none, or that is decided.
    waiting: Conflict | None = None
    #: The conflict that the item decides, decided before or not.
    resolved: Conflict | None = None
    #: Whether that one still waits.
    resolved_waits: bool = False
    usage: Usage = field(default_factory=Usage)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What is to be written, all of it or nothing, and the answer."""

    outcome: Outcome
    #: A new version of the document.
    document: Document | None = None
    #: None: nothing has to be remembered.
    receipt: Receipt | None = None
    #: A conflict that waits from now on.
    conflict: Conflict | None = None
    #: The conflict that waits no more.
    settled: str | None = None


class SyncRules:
    """Decides about items. Pure: called again with the same, it says the same."""

    def __init__(self, engine: ConflictResolutionEngine, quota: Quota) -> None:
        self._engine = engine
        #: What a user may take.
        self.quota = quota

    def decide(self, change: Change, standing: Standing) -> Decision:
        """Return what becomes of an item."""
        if standing.receipt is not None:
            return _repeated(change, standing, standing.receipt)
        refusal = self._refusal(change, standing)
        if refusal is not None:
            return _refused(change, standing, refusal)
        document = standing.document
        base_version = base_version_of(change, standing.resolved)
        if document is None or base_version == document.version.version:
            return self._apply(change, standing, Resolution(value=_value(change.body)))
        base = standing.base
        sides = Sides(
            client=_value(change.body),
            server=_value(document.body),
            base=_value(base.body) if base is not None else ABSENT,
            base_known=base is not None or base_version == 0,
            client_is_later=change.order > document.order,
        )
        resolution = self._engine.resolve_conflict(sides, change.strategy)
        if resolution.conflicting_fields:
            return self._conflict(change, standing, document, resolution.conflicting_fields)
        return self._apply(change, standing, resolution)

    def _refusal(self, change: Change, standing: Standing) -> Refusal | None:
        current = standing.document.version.version if standing.document else 0
        base = change.base_version
        if base is not None and base > current:
            has = f"version {current} is the newest" if current else "there is no such document"
            return Refusal(code=INVALID, message=f"baseVersion: is {base}, but {has}")
        if self._engine.get_strategy(change.strategy) is None:
            names = ", ".join(sorted(self._engine.strategies))
            return Refusal(code=INVALID, message=f"strategy: is none of {names}")
        if change.resolves is not None and (
            standing.resolved is None or standing.resolved.key != change.key
        ):
            return Refusal(
                code=INVALID, message="resolves: there is no such conflict of this document"
            )
        usage, quota = standing.usage, self.quota
        if standing.document is None and usage.documents >= quota.documents:
            return Refusal(code=QUOTA, message=f"you have {quota.documents:,} documents already")
        # Deleting what is there always finds room: it is how room is made.
        deletes = change.body is None and standing.document is not None and standing.document.body
        if not deletes and usage.size + len(change.body or "") > quota.size:
            return Refusal(code=QUOTA, message=f"your documents take {usage.size:,} bytes already")
        return None

    def _apply(self, change: Change, standing: Standing, resolution: Resolution) -> Decision:
        document = standing.document
        body = None if resolution.value is ABSENT else canonical(resolution.value)
        if body is not None and len(body.encode()) > MAX_BODY:
            message = f"data: takes more than {MAX_BODY:,} bytes, merged with what others changed"
            return _refused(change, standing, Refusal(code=TOO_LARGE, message=message))
        # What changes nothing makes no version, but for the first one: a client wants to hold one.
        before = document.body if document is not None else None
        changed = body != before
        if changed or document is None:
            document = _next_version(change, document, body)
        status = SyncStatus.MERGED
        if body == change.body:
            status = SyncStatus.APPLIED
        elif not changed:
            status = SyncStatus.SUPERSEDED
        return Decision(
            outcome=Outcome(
                change=change,
                status=status,
                document=document,
                unmerged=resolution.unmerged,
                changed=document is not standing.document,
            ),
            document=document if document is not standing.document else None,
            receipt=_receipt(change, status, document, resolution.unmerged),
            settled=_settled(standing),
        )

    def _conflict(
        self, change: Change, standing: Standing, document: Document, fields: tuple[str, ...]
    ) -> Decision:
        settled = _settled(standing)
        if standing.usage.conflicts - (settled is not None) >= self.quota.conflicts:
            message = f"{self.quota.conflicts:,} conflicts wait for you already"
            return _refused(change, standing, Refusal(code=QUOTA, message=message))
        conflict = Conflict(
            id=change.item_id,
            key=change.key,
            fields=fields,
            client=change.body,
            server=document.body,
            server_version=document.version,
            base_version=change.base_version,
        )
        outcome = Outcome(
            change=change, status=SyncStatus.CONFLICT, document=document, conflict=conflict
        )
        return Decision(
            outcome=outcome,
            receipt=_receipt(change, SyncStatus.CONFLICT, document, ()),
            conflict=conflict,
            settled=settled,
        )


def check_strategy_of_type(text: str) -> str:
    """Return ``type=strategy``: what decides about documents of a type.

    Raises:
        ValueError: it is not written like that.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}=[A-Za-z0-9_.-]{1,64}", text):
        raise ValueError("must be type=strategy")
    return text


def base_version_of(change: Change, resolved: Conflict | None) -> int | None:
    """Return the version that a change was made on, None where that is not known."""
    if change.base_version is None and resolved is not None:
        # The user has seen this side of it, and decided.
        return resolved.server_version.version
    return change.base_version


def starting_point(
    since: DocumentPosition | None, epoch: str, seq: int, forgotten: int
) -> tuple[int, bool]:
    """Return the number after which changes are told, and whether the device begins anew.

    Args:
        since: where the device is.
        epoch: of the numbers that hold now.
        seq: the last number given.
        forgotten: the last number of a deletion that is forgotten.
    """
    if since is None or not since.seq:
        return 0, False
    if since.epoch != epoch or since.seq > seq or since.seq < forgotten:
        return 0, True
    return since.seq, False


def _repeated(change: Change, standing: Standing, receipt: Receipt) -> Decision:
    if receipt.key != change.key:
        message = "id: was the id of a change of another document"
        return _refused(change, standing, Refusal(code=INVALID, message=message))
    if receipt.sent_checksum != checksum(change.body or "null"):
        message = "id: was the id of another change; a new change needs a new one"
        return _refused(change, standing, Refusal(code=INVALID, message=message))
    waits = standing.waiting is not None
    outcome = Outcome(
        change=change,
        status=SyncStatus.CONFLICT if waits else SyncStatus.DUPLICATE,
        document=standing.document,
        unmerged=receipt.unmerged,
        conflict=standing.waiting,
    )
    return Decision(outcome=outcome)


def _refused(change: Change, standing: Standing, refusal: Refusal) -> Decision:
    return Decision(
        outcome=Outcome(
            change=change,
            status=SyncStatus.REFUSED,
            document=standing.document,
            refusal=refusal,
        )
    )


def _next_version(change: Change, before: Document | None, body: str | None) -> Document:
    # It may have been received earlier, and have something that the later one did not touch.
    stamp = max(change.stamp, before.stamp) if before else change.stamp
    version = DataVersion(
        version=before.version.version + 1 if before else 1,
        timestamp=milliseconds(stamp),
        author=change.author,
        checksum=checksum(body or "null"),
    )
    return Document(key=change.key, body=body, version=version, stamp=stamp, item_id=change.item_id)


def _receipt(
    change: Change, status: SyncStatus, document: Document, unmerged: tuple[Unmerged, ...]
) -> Receipt:
    is_a_version = document.item_id == change.item_id and document.body == change.body
    return Receipt(
        item_id=change.item_id,
        key=change.key,
        sent_checksum=checksum(change.body or "null"),
        status=status,
        version=document.version.version,
        unmerged=unmerged,
        sent=None if is_a_version else change.body or "null",
        stamp=change.stamp,
    )


def _settled(standing: Standing) -> str | None:
    if standing.resolved is None or not standing.resolved_waits:
        return None
    return standing.resolved.id


def _value(body: str | None) -> Any:
    return ABSENT if body is None else parse(body)
