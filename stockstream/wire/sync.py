"""What devices send to have documents changed (``docs/sync.md``), checked at the door."""

import re
from collections.abc import Callable
from hashlib import blake2s
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from stockstream.errors import InvalidPayloadError, TooLargeError
from stockstream.model.document import Change, DocumentKey, DocumentPosition
from stockstream.wire.canonical import canonical
from stockstream.wire.requests import decode_request

#: Most items in one request.
MAX_ITEMS: Final = 100
#: Bytes of a document's canonical JSON.
MAX_BODY: Final = 65_536
_MAX_VERSION: Final = 2**31 - 1

_TYPE: Final = r"^[a-z][a-z0-9_]{0,63}$"
_ID: Final = r"^[A-Za-z0-9._:@-]{1,128}$"
# No control characters: databases and logs have trouble with them.
_ITEM_ID: Final = r"^[^\x00-\x1f\x7f]{1,128}$"

_Type = Annotated[str, Meta(pattern=_TYPE, description="Type of the document.")]
_DocumentId = Annotated[str, Meta(pattern=_ID, description="Id of the document.")]
_ItemId = Annotated[
    str,
    Meta(
        pattern=_ITEM_ID, description="Id of this change: it is applied once, however often sent."
    ),
]


class SyncItem(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One change of a document (documented, section 5.1: id, type, data, timestamp)."""

    id: _ItemId
    type: _Type
    #: None, or left out, where the document is to be deleted.
    data: dict[str, Any] | None = None
    #: The client's clock in ms; informative.
    timestamp: float | None = None
    #: Left out: the item's own id.
    document_id: _DocumentId | None = None
    #: Version that the change was made on; 0: made anew; None: not known.
    base_version: Annotated[int, Meta(ge=0, le=_MAX_VERSION)] | None = None
    deleted: bool = False
    strategy: Annotated[str, Meta(max_length=64)] | None = None
    #: A conflict that the user has decided by this.
    resolves: Annotated[str, Meta(max_length=128)] | None = None


class SyncRequest(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One change, or ``items``: a batch of them. See docs/sync.md."""

    id: _ItemId | UnsetType = UNSET
    type: _Type | UnsetType = UNSET
    data: dict[str, Any] | UnsetType | None = UNSET
    timestamp: float | UnsetType | None = UNSET
    document_id: _DocumentId | UnsetType | None = UNSET
    base_version: Annotated[int, Meta(ge=0, le=_MAX_VERSION)] | UnsetType | None = UNSET
    deleted: bool | UnsetType = UNSET
    strategy: Annotated[str, Meta(max_length=64)] | UnsetType | None = UNSET
    resolves: Annotated[str, Meta(max_length=128)] | UnsetType | None = UNSET
    items: (
        Annotated[
            list[dict[str, Any]],
            Meta(
                min_length=1,
                max_length=MAX_ITEMS,
                description="Changes, done in order; each has its own result.",
            ),
        ]
        | UnsetType
    ) = UNSET


class DocumentsParameters(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"
):
    """Of ``GET /api/sync``."""

    since: (
        Annotated[
            str,
            Meta(
                max_length=128,
                description="`cursor` of the answer before; left out: from the beginning.",
            ),
        ]
        | None
    ) = None
    limit: Annotated[int, Meta(ge=1, le=1_000, description="Most documents in the answer.")] = 100
    type: _Type | None = None


class DocumentParameters(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"
):
    """Of ``GET /api/sync/history/{type}/{documentId}``."""

    type: _Type
    document_id: _DocumentId
    limit: Annotated[int, Meta(ge=1, le=1_000, description="Most versions in the answer.")] = 100


class SinceRequest(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The payload of ``sync_since``."""

    since: Annotated[str, Meta(max_length=128)] | None = None
    limit: Annotated[int, Meta(ge=1, le=1_000)] = 100
    type: _Type | None = None


def read_items(payload: object) -> tuple[list[object], bool]:
    """Return the items of a request, not looked at yet, and whether they are a batch.

    Raises:
        InvalidPayloadError: it is neither an item nor a batch.
    """
    if isinstance(payload, dict) and "items" in payload:
        items = payload["items"]
        if not isinstance(items, list) or not 1 <= len(items) <= MAX_ITEMS:
            count = f", not {len(items):,}" if isinstance(items, list) else ""
            raise InvalidPayloadError(f"items: must be an array of 1 to {MAX_ITEMS} items{count}")
        return items, True
    return [payload], False


def read_change(
    payload: object, *, author: str, strategy: Callable[[str], str], stamp: int
) -> Change:
    """Return the change that an item stands for.

    Args:
        payload: the item.
        author: who sent it.
        strategy: says what decides about documents of a type, where the item does not.
        stamp: when it was received.

    Raises:
        InvalidPayloadError: it is none; the message names the field.
        TooLargeError: its data is too large.
    """
    item = decode_request(SyncItem, payload)
    _check("id", item.id, _ITEM_ID)
    if item.resolves is not None:
        _check("resolves", item.resolves, _ITEM_ID)
    if item.deleted and item.data is not None:
        raise InvalidPayloadError("data: does not go together with deleted")
    if item.data is None and not item.deleted:
        raise InvalidPayloadError("data: is missing; an object is expected")
    body = None if item.data is None else canonical(item.data)
    if body is not None and (size := len(body.encode())) > MAX_BODY:
        raise TooLargeError(f"data: takes {size:,} bytes; at most {MAX_BODY:,} are taken")
    return Change(
        item_id=item.id,
        key=read_key(item.type, item.document_id, item.id),
        body=body,
        base_version=item.base_version,
        strategy=item.strategy or strategy(item.type),
        resolves=item.resolves,
        author=author,
        stamp=stamp,
    )


def read_key(kind: str, document_id: str | None, item_id: str = "") -> DocumentKey:
    """Return which document is meant; one that is not named is called as its item.

    Raises:
        InvalidPayloadError: no document is called like that.
    """
    _check("type", kind, _TYPE)
    if document_id is None:
        _check("id (documentId is left out)", item_id, _ID)
        return DocumentKey(kind, item_id)
    _check("documentId", document_id, _ID)
    return DocumentKey(kind, document_id)


def cursor_of(position: DocumentPosition, user: str, kind: str | None) -> str:
    """Return a position as devices are told it, together with what it is one of."""
    return f"{position.epoch or '-'}.{position.seq}.{_owner(user, kind)}"


def read_cursor(text: str, user: str, kind: str | None) -> DocumentPosition:
    """Return the position that a cursor stands for.

    Raises:
        InvalidPayloadError: it was not given to this user, or not for documents of this type.
    """
    epoch, _, rest = text.partition(".")
    seq, _, owner = rest.partition(".")
    if owner != _owner(user, kind) or not (seq.isascii() and seq.isdecimal() and len(seq) < 19):
        raise InvalidPayloadError("since: is no cursor that was given to you for this type")
    return DocumentPosition(epoch=epoch, seq=int(seq))


def _owner(user: str, kind: str | None) -> str:
    return blake2s(f"{user}\0{kind or ''}".encode("utf-8", "replace"), digest_size=4).hexdigest()


def _check(field: str, text: str, pattern: str) -> None:
    # Said once more, in full: `$` of a pattern lets a newline pass.
    if not re.fullmatch(pattern.strip("^$"), text):
        raise InvalidPayloadError(f"{field}: does not match {pattern}")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidPayloadError(f"{field}: ends within a character") from None
