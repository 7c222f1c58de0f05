"""What devices are told of documents (``docs/sync.md``)."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from stockstream.model.document import (
    Conflict,
    DataVersion,
    Document,
    DocumentHistory,
    DocumentKey,
    Outcome,
    Refusal,
    SyncStatus,
    Unmerged,
)
from stockstream.wire.canonical import parse

#: ``type`` of errors of this part.
SYNC_ERROR: Final = "sync_error"
#: What a receipt says of a deletion.
_DELETED: Final = "null"
#: What of an item is taken, or need not be.
_SUCCESSES: Final = frozenset(SyncStatus) - {SyncStatus.CONFLICT, SyncStatus.REFUSED}


class UnmergedPart(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What could not be merged; the server's side was kept."""

    #: JSON pointer; empty: the whole document.
    path: str
    #: Left out where that side has removed it.
    client: Any = UNSET
    server: Any = UNSET


class ConflictReply(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Two sides that wait for their user (documented, section 6.1: the strategy ``manual``)."""

    conflict_id: str
    type: str
    document_id: str
    conflicting_fields: Sequence[str]
    #: null where that side has deleted it.
    client_data: dict[str, Any] | None
    server_data: dict[str, Any] | None
    server_version: DataVersion
    base_version: int | UnsetType = UNSET
    requires_user_action: bool


class SyncError(msgspec.Struct, frozen=True, kw_only=True):
    """Why an item was refused."""

    type: str
    code: str
    message: str


class SyncResult(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What became of an item."""

    id: str
    success: bool
    status: SyncStatus
    document_id: str | UnsetType = UNSET
    type: str | UnsetType = UNSET
    #: What holds now.
    version: DataVersion | UnsetType = UNSET
    #: Only where it differs from what was sent.
    data: dict[str, Any] | UnsetType = UNSET
    deleted: bool | UnsetType = UNSET
    unmerged: Sequence[UnmergedPart] | UnsetType = UNSET
    conflict: ConflictReply | UnsetType = UNSET
    error: SyncError | UnsetType = UNSET


class SyncAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What ``POST /api/sync`` answers, described: a :class:`SyncResult` or :class:`SyncResults`."""

    success: bool
    #: Of a batch.
    results: Sequence[SyncResult] | UnsetType = UNSET
    #: Of a single item, with all the other fields of a result.
    id: str | UnsetType = UNSET
    status: SyncStatus | UnsetType = UNSET


class SyncFailure(SyncResult, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The result of a single item that is no success: an error as all are, and what it is about."""

    code: str
    message: str

    @classmethod
    def of(cls, result: SyncResult, code: str, message: str) -> "SyncFailure":
        """Return a result as an error."""
        fields = {name: getattr(result, name) for name in SyncResult.__struct_fields__}
        return cls(**{**fields, "type": SYNC_ERROR}, code=code, message=message)


class SyncResults(msgspec.Struct, frozen=True, kw_only=True):
    """The results of a batch, in order."""

    #: Whether all of them are successes.
    success: bool
    results: Sequence[SyncResult]


class DocumentReply(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A document as it holds now."""

    type: str
    document_id: str
    #: One of the two.
    data: dict[str, Any] | UnsetType = UNSET
    deleted: bool | UnsetType = UNSET
    version: DataVersion


class DocumentChanged(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True
):
    """The payload within the envelope of ``document_changed``."""

    type: str
    document_id: str
    data: dict[str, Any] | UnsetType = UNSET
    deleted: bool | UnsetType = UNSET
    version: DataVersion
    #: The item that did it: the sender knows it.
    item_id: str


class DocumentsReply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A page of what has changed since a cursor."""

    documents: Sequence[DocumentReply]
    cursor: str
    more: bool
    #: True: begin anew, and forget what the pages from here on don't name.
    reset: bool = False


class ConflictsReply(msgspec.Struct, frozen=True, kw_only=True):
    """Conflicts that wait for the user, the oldest first."""

    conflicts: Sequence[ConflictReply]


class RevisionReply(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A version of a document, present or past."""

    version: DataVersion
    data: dict[str, Any] | UnsetType = UNSET
    deleted: bool | UnsetType = UNSET
    item_id: str


class SentReply(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What made no version as it was: merged, given way, waiting, or the same as there was."""

    item_id: str
    status: SyncStatus
    data: dict[str, Any] | UnsetType = UNSET
    deleted: bool | UnsetType = UNSET
    #: Version that the document had then.
    version: int


class HistoryReply(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The versions of a document, newest first."""

    type: str
    document_id: str
    versions: Sequence[RevisionReply]
    #: What these are made of beside what they say, newest first.
    sent: Sequence[SentReply]


def refused_result(payload: object, refusal: Refusal) -> SyncResult:
    """Return the result of an item that is not even one."""
    item_id = payload.get("id") if isinstance(payload, dict) else None
    return SyncResult(
        id=item_id[:128] if isinstance(item_id, str) else "",
        success=False,
        status=SyncStatus.REFUSED,
        error=SyncError(type=SYNC_ERROR, code=refusal.code, message=refusal.message),
    )


def result_of(outcome: Outcome) -> SyncResult:
    """Return what became of an item, as its sender is told."""
    change, document, refusal = outcome.change, outcome.document, outcome.refusal
    body = document.body if document is not None else None
    # The sender has what it sent.
    differs = document is not None and body != change.body and refusal is None
    return SyncResult(
        id=change.item_id,
        success=outcome.status in _SUCCESSES,
        status=outcome.status,
        document_id=change.key.id,
        type=change.key.type,
        version=document.version if document is not None else UNSET,
        data=_data(body) if differs else UNSET,
        deleted=True if differs and body is None else UNSET,
        unmerged=[_unmerged(each) for each in outcome.unmerged] or UNSET,
        conflict=UNSET if outcome.conflict is None else conflict_reply(outcome.conflict),
        error=UNSET
        if refusal is None
        else SyncError(type=SYNC_ERROR, code=refusal.code, message=refusal.message),
    )


def document_reply(document: Document) -> DocumentReply:
    """Return a document as devices learn it."""
    return DocumentReply(
        type=document.key.type,
        document_id=document.key.id,
        data=_data(document.body),
        deleted=_deleted(document.body),
        version=document.version,
    )


def document_changed(document: Document) -> DocumentChanged:
    """Return what other devices are told of a new version."""
    return DocumentChanged(
        type=document.key.type,
        document_id=document.key.id,
        data=_data(document.body),
        deleted=_deleted(document.body),
        version=document.version,
        item_id=document.item_id,
    )


def conflict_reply(conflict: Conflict) -> ConflictReply:
    """Return a conflict as its user is told of it."""
    base = conflict.base_version
    return ConflictReply(
        conflict_id=conflict.id,
        type=conflict.key.type,
        document_id=conflict.key.id,
        conflicting_fields=conflict.fields,
        client_data=None if conflict.client is None else parse(conflict.client),
        server_data=None if conflict.server is None else parse(conflict.server),
        server_version=conflict.server_version,
        base_version=UNSET if base is None else base,
        requires_user_action=True,
    )


def history_reply(key: DocumentKey, history: DocumentHistory) -> HistoryReply:
    """Return what a document was."""
    versions = [
        RevisionReply(
            version=each.version,
            data=_data(each.body),
            deleted=_deleted(each.body),
            item_id=each.item_id,
        )
        for each in history.versions
    ]
    sent = [
        SentReply(
            item_id=each.item_id,
            status=each.status,
            data=UNSET if each.sent == _DELETED else parse(each.sent),
            deleted=True if each.sent == _DELETED else UNSET,
            version=each.version,
        )
        for each in history.sent
        if each.sent is not None
    ]
    return HistoryReply(type=key.type, document_id=key.id, versions=versions, sent=sent)


def _data(body: str | None) -> dict[str, Any] | UnsetType:
    return UNSET if body is None else parse(body)


def _deleted(body: str | None) -> bool | UnsetType:
    return True if body is None else UNSET


def _unmerged(part: Unmerged) -> UnmergedPart:
    return UnmergedPart(
        path=part.path,
        client=UNSET if part.client is None else parse(part.client),
        server=UNSET if part.server is None else parse(part.server),
    )
