"""What tests do with a store of documents."""

from collections.abc import Sequence
from typing import Any

from stockstream.core.syncing import SyncRules
from stockstream.document_ports import DocumentStore
from stockstream.model.document import (
    Change,
    Document,
    DocumentKey,
    Outcome,
)
from stockstream.wire.canonical import parse
from tests.documents.changes import USER, rules

DAY = 86_400_000
NOTE = DocumentKey("note", "d")


async def apply(
    store: DocumentStore, *changes: Change, user: str = USER, by: SyncRules | None = None
) -> Outcome:
    """Apply changes and return the outcome of the last one."""
    return (await store.apply(user, changes, by or rules()))[-1]


async def everything(store: DocumentStore, user: str = USER) -> Sequence[Document]:
    page = await store.changed_since(user, None, limit=1_000)
    assert not page.more
    return page.documents


def data(document: Document | None) -> Any:
    assert document is not None
    return None if document.body is None else parse(document.body)
