"""Rows of the tables of documents, and what they stand for."""

from typing import Any

import msgspec
from sqlalchemy import Row

from stockstream.core.hybrid_clock import milliseconds
from stockstream.core.sync_batch import size_of, size_of_conflict, size_of_receipt
from stockstream.model.document import (
    Conflict,
    DataVersion,
    Document,
    DocumentKey,
    Receipt,
    SyncStatus,
    Unmerged,
)

_encode = msgspec.json.Encoder().encode
_sides = msgspec.json.Decoder(list[tuple[str, str | None, str | None]]).decode
_names = msgspec.json.Decoder(tuple[str, ...]).decode
_version = msgspec.json.Decoder(DataVersion).decode

Values = dict[str, Any]


def document_of(row: Row[Any]) -> Document:
    """Return a version of a document, present or past."""
    return Document(
        key=DocumentKey(row.type, row.id),
        body=row.body,
        version=DataVersion(
            version=row.version,
            timestamp=milliseconds(row.stamp),
            author=row.author,
            checksum=row.checksum,
        ),
        stamp=row.stamp,
        item_id=row.item_id,
        seq=getattr(row, "seq", 0),
    )


def document_row(user: str, document: Document) -> Values:
    """Return the row of a present version."""
    return {**_version_row(user, document), "seq": document.seq}


def past_row(user: str, document: Document) -> Values:
    """Return the row of a past version."""
    return {**_version_row(user, document), "size": size_of(document.body)}


def _version_row(user: str, document: Document) -> Values:
    return {
        "user": user,
        "type": document.key.type,
        "id": document.key.id,
        "version": document.version.version,
        "stamp": document.stamp,
        "author": document.version.author,
        "checksum": document.version.checksum,
        "item_id": document.item_id,
        "body": document.body,
    }


def receipt_of(row: Row[Any]) -> Receipt:
    """Return what is remembered of an item."""
    sides = _sides(row.unmerged) if row.unmerged else []
    return Receipt(
        item_id=row.item_id,
        key=DocumentKey(row.type, row.id),
        sent_checksum=row.sent_checksum,
        status=SyncStatus(row.status),
        version=row.version,
        unmerged=tuple(Unmerged(path=p, client=c, server=s) for p, c, s in sides),
        sent=row.sent,
        stamp=row.stamp,
    )


def receipt_row(user: str, receipt: Receipt) -> Values:
    """Return the row of what is remembered of an item."""
    sides = [(each.path, each.client, each.server) for each in receipt.unmerged]
    return {
        "user": user,
        "item_id": receipt.item_id,
        "type": receipt.key.type,
        "id": receipt.key.id,
        "sent_checksum": receipt.sent_checksum,
        "status": receipt.status.value,
        "version": receipt.version,
        "stamp": receipt.stamp,
        "size": size_of_receipt(receipt),
        "unmerged": _encode(sides).decode() if sides else None,
        "sent": receipt.sent,
    }


def conflict_of(row: Row[Any]) -> Conflict:
    """Return a conflict."""
    return Conflict(
        id=row.item_id,
        key=DocumentKey(row.type, row.id),
        fields=_names(row.fields),
        client=row.client,
        server=row.server,
        server_version=_version(row.server_version),
        base_version=row.base_version,
    )


def conflict_row(user: str, conflict: Conflict, stamp: int) -> Values:
    """Return the row of a conflict that waits."""
    return {
        "user": user,
        "item_id": conflict.id,
        "type": conflict.key.type,
        "id": conflict.key.id,
        "stamp": stamp,
        "decided": 0,
        "fields": _encode(conflict.fields).decode(),
        "server_version": _encode(conflict.server_version).decode(),
        "base_version": conflict.base_version,
        "size": size_of_conflict(conflict),
        "client": conflict.client,
        "server": conflict.server,
    }
