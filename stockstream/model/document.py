"""What a user changes and every device of the user has: documents, their versions, conflicts.

Data travels through the house as canonical JSON text (``wire/canonical.py``): what was checked
once is compared, stored and counted as it is.
"""

from dataclasses import dataclass
from enum import StrEnum

import msgspec


class DataVersion(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """The documented version of a document's data (section 6.1)."""

    #: +1 for each change of the document; the first is 1.
    version: int
    #: When the server received the change, in ms since the epoch; never less than in the version
    #: before.
    timestamp: int
    #: The user who made it.
    author: str
    #: ``sha256:`` and the hash of the canonical data; of ``null`` where it was deleted.
    checksum: str


@dataclass(frozen=True, slots=True, order=True)
class DocumentKey:
    """Which document of a user."""

    #: ``watchlist``, ``note``, …
    type: str
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A document at one version; deleted ones are kept as tombstones."""

    key: DocumentKey
    #: Canonical JSON of an object; None: it is deleted.
    body: str | None
    version: DataVersion
    #: When the change was received, in the order that all nodes share (``core/hybrid_clock.py``).
    stamp: int
    #: The item that made this version.
    item_id: str
    #: Place of this version among all changes of the user, as of the last one.
    seq: int = 0

    @property
    def order(self) -> tuple[int, str]:
        """What decides which of two changes is the later one; never the same for two."""
        return self.stamp, self.item_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """An item of a client, found to be well-formed."""

    #: Made by the client, unique among the user's: applied once, however often it is sent.
    item_id: str
    key: DocumentKey
    #: Canonical JSON of an object; None: the document is to be deleted.
    body: str | None
    #: Version that it was made on; 0: made anew; None: the client does not say.
    base_version: int | None
    #: Name of the strategy that decides about what others changed meanwhile.
    strategy: str
    #: The conflict that is decided by this.
    resolves: str | None
    #: Who made it.
    author: str
    #: When it was received; see :attr:`Document.stamp`.
    stamp: int

    @property
    def order(self) -> tuple[int, str]:
        """See :attr:`Document.order`."""
        return self.stamp, self.item_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Unmerged:
    """Something that two sides changed differently: the server's side was kept."""

    #: JSON pointer to it; empty: the whole document.
    path: str
    #: Canonical JSON of either side; None: that side has removed it.
    client: str | None
    server: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """Two sides of a document that wait for their user (strategy ``manual``)."""

    #: The item that met it.
    id: str
    key: DocumentKey
    #: Top-level fields in which the two differ.
    fields: tuple[str, ...]
    #: Canonical JSON of either side; None: that side has deleted it.
    client: str | None
    server: str | None
    #: What the server's side was when they met.
    server_version: DataVersion
    #: What the client's side was made on, where it is known.
    base_version: int | None


class SyncStatus(StrEnum):
    """What became of an item."""

    #: The document is what was sent.
    APPLIED = "applied"
    #: The document is made of both sides.
    MERGED = "merged"
    #: It had been applied before.
    DUPLICATE = "duplicate"
    #: The document stays what it was on the server.
    SUPERSEDED = "superseded"
    #: Both sides wait for the user.
    CONFLICT = "conflict"
    #: Nothing of it is kept.
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What is remembered of an item: it is never applied again."""

    item_id: str
    key: DocumentKey
    #: Checksum of what was sent: the same id must not come with other data.
    sent_checksum: str
    status: SyncStatus
    #: Version of the document when the item had been dealt with; 0: there was none.
    version: int
    unmerged: tuple[Unmerged, ...] = ()
    #: What was sent, ``null`` for a deletion, unless it is a version of its own: nothing vanishes.
    sent: str | None = None
    stamp: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why nothing of an item is kept."""

    #: One of the contract's codes.
    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The answer to an item."""

    change: Change
    status: SyncStatus
    #: What holds now; None: there is no such document.
    document: Document | None = None
    unmerged: tuple[Unmerged, ...] = ()
    conflict: Conflict | None = None
    refusal: Refusal | None = None
    #: Whether the document has a new version by it: other devices want to hear.
    changed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """How much of the store a user takes."""

    #: Documents, deleted ones that are still remembered included.
    documents: int = 0
    #: Bytes of data: documents, their histories, what waits or was superseded.
    size: int = 0
    #: Conflicts that wait.
    conflicts: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentHistory:
    """What a document was, and what was sent that it never was."""

    #: The newest first, the present one included.
    versions: tuple[Document, ...]
    #: What made no version as it was: merged, given way, waiting; the newest first.
    sent: tuple[Receipt, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentPosition:
    """How far a device has followed a user's changes."""

    #: Changes where the numbers begin anew.
    epoch: str
    seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentPage:
    """Documents that changed after a position, in the order of their last changes."""

    documents: tuple[Document, ...]
    #: Up to where the device has everything once it has these.
    position: DocumentPosition
    #: Whether more have changed already.
    more: bool
    #: Whether the device has to begin anew: the page does not go on from where it was.
    reset: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentFigures:
    """What a store of documents holds, all users together."""

    users: int = 0
    #: Deleted ones that are still remembered included.
    documents: int = 0
    #: Conflicts that wait.
    conflicts: int = 0
    #: Bytes of data.
    size: int = 0
