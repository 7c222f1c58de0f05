"""What waits to be synchronized, and what is known of the server's documents (documented, 5.1)."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec

from stockstream.errors import RefusedError
from stockstream.model.document import DataVersion, DocumentKey, SyncStatus
from stockstream.wire.canonical import parse
from stockstream.wire.sync_replies import ConflictReply, UnmergedPart


class ItemState(StrEnum):
    """The documented states of an item."""

    #: It is going to be sent.
    PENDING = "pending"
    #: It is being sent.
    SYNCING = "syncing"
    #: The server has it; it is in the queue no more.
    SYNCED = "synced"
    #: The server refuses it, or has put it off too often; it waits for the program.
    FAILED = "failed"


class OfflineItem(msgspec.Struct, frozen=True, kw_only=True):
    """A change of a document that the server has not confirmed yet."""

    #: Unique: the server applies the change once, however often it is sent.
    id: str
    #: Which document.
    type: str
    document_id: str
    #: Canonical JSON of the document from then on; None: it is deleted.
    body: str | None
    #: The same of what the change was made on; None: there was nothing.
    before: str | None
    #: Version of the document that it was made on; 0: it was made anew; None: that which the
    #: change before it, still in the queue, is going to make.
    base: int | None
    #: The machine's clock when it was made, in ms since the epoch.
    timestamp: int
    #: Place in the queue.
    order: int
    #: What decides where others have changed the document too; None: the server's setting.
    strategy: str | None = None
    #: The conflict that this decides.
    resolves: str | None = None
    state: ItemState = ItemState.PENDING
    #: Whether it failed for good: then the user does not see it, and it holds up nobody.
    refused: bool = False
    #: How often the server has put it off, or refused it.
    retry_count: int = 0
    #: When it was sent last, in ms since the epoch.
    last_attempt: int | None = None
    #: Why it failed: a code of the contract, and the server's words.
    code: str = ""
    message: str = ""

    @property
    def key(self) -> DocumentKey:
        """Which document."""
        return DocumentKey(self.type, self.document_id)

    @property
    def data(self) -> dict[str, Any] | None:
        """The document from then on; None: it is deleted."""
        return value_of(self.body)

    @property
    def size(self) -> int:
        """Characters of data that it holds."""
        return len(self.body or "") + len(self.before or "")


class Held(msgspec.Struct, frozen=True):
    """What the server had when it was last heard of."""

    #: Canonical JSON; None: it is deleted.
    body: str | None
    version: DataVersion

    @property
    def age(self) -> tuple[int, int]:
        """What grows with each change: versions alone begin anew where a deletion is forgotten."""
        return self.version.timestamp, self.version.version


@dataclass(frozen=True, slots=True, kw_only=True)
class OfflineDocument:
    """A document as the user sees it: the server's, with what the queue will change."""

    type: str
    id: str
    #: None: there is none, or no more.
    data: dict[str, Any] | None
    #: Of the server's document; None: nothing is known of one.
    version: DataVersion | None
    #: Whether changes of it wait in the queue.
    pending: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncSuccess:
    """The server has a change; the payload of ``sync_success``."""

    item: OfflineItem
    #: What became of it: ``applied``, ``merged``, ``duplicate`` or ``superseded``.
    status: SyncStatus
    #: What the server has now.
    version: DataVersion
    #: What could not be merged: the server's side was kept.
    unmerged: Sequence[UnmergedPart] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncFailure:
    """A change was not taken; the payload of ``sync_error``."""

    #: As it stands now: ``pending`` where it is tried again by itself, else ``failed``.
    item: OfflineItem
    error: RefusedError
    #: Both sides, where the user has to decide between them.
    conflict: ConflictReply | None = None

    @property
    def will_retry(self) -> bool:
        """Whether it is tried again by itself."""
        return self.item.state is not ItemState.FAILED


def value_of(body: str | None) -> dict[str, Any] | None:
    """Return the data that canonical JSON stands for."""
    value: dict[str, Any] | None = None if body is None else parse(body)
    return value
