"""One device's queue, and its view of the user's documents: what there is, in memory."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from msgspec import UNSET, UnsetType

from stockstream.client.offline.items import Held, ItemState, OfflineDocument, OfflineItem, value_of
from stockstream.client.offline.rebase import rebase
from stockstream.model.document import DocumentKey
from stockstream.wire.sync_replies import ConflictReply

#: Characters of data in one request: far below what servers take.
BATCH_SIZE: Final = 400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """What changes, all of it or nothing."""

    #: New ones and changed ones.
    items: Sequence[OfflineItem] = ()
    #: Ids of items that leave the queue.
    removed: Sequence[str] = ()
    held: Mapping[DocumentKey, Held] = field(default_factory=dict)
    #: Documents of which nothing is known any more.
    dropped: Sequence[DocumentKey] = ()
    #: Whether everything that was held before is forgotten.
    forget: bool = False
    #: Conflicts that wait, and the ids of those that wait no more.
    conflicts: Mapping[str, ConflictReply] = field(default_factory=dict)
    decided: Sequence[str] = ()
    #: Up to where the server's changes are known; UNSET: as before.
    cursor: str | UnsetType | None = UNSET


class Replica:
    """What is known, and what waits; it changes by deltas alone."""

    def __init__(self) -> None:
        self.items: dict[str, OfflineItem] = {}
        self.held: dict[DocumentKey, Held] = {}
        self.conflicts: dict[str, ConflictReply] = {}
        self.cursor: str | None = None
        #: Characters of data in the queue.
        self.size = 0
        #: Place of the last change.
        self.order = 0
        self._states: Counter[ItemState] = Counter()
        #: Ids of the items that stand in line, by document, the oldest first.
        self._lines: dict[DocumentKey, list[str]] = {}

    # --- what there is ------------------------------------------------------------------------

    def count(self, *states: ItemState) -> int:
        """Return the number of items in these states."""
        return sum(self._states[state] for state in states)

    def line(self, key: DocumentKey) -> list[OfflineItem]:
        """Return the changes of a document that the server has not refused, the oldest first."""
        return [self.items[item_id] for item_id in self._lines.get(key, ())]

    def body(self, key: DocumentKey) -> str | None:
        """Return a document as the user sees it; None: there is none."""
        held = self.held.get(key)
        body = held.body if held else None
        for item in self.line(key):
            body = rebase(item.before, item.body, body).ours
        return body

    def document(self, key: DocumentKey) -> OfflineDocument | None:
        """Return a document as the user sees it; None: nothing is known of it."""
        held = self.held.get(key)
        if held is None and key not in self._lines:
            return None
        return OfflineDocument(
            type=key.type,
            id=key.id,
            data=value_of(self.body(key)),
            version=held.version if held else None,
            pending=key in self._lines,
        )

    def keys(self) -> Iterator[DocumentKey]:
        """Return the documents that anything is known of."""
        yield from self.held
        yield from (key for key in self._lines if key not in self.held)

    def open_conflicts(self) -> list[ConflictReply]:
        """Return the conflicts that wait for the user, but for those that the queue decides."""
        decided = {item.resolves for item in self.items.values() if not item.refused}
        return [each for each in self.conflicts.values() if each.conflict_id not in decided]

    def batch(self, count: int) -> list[OfflineItem]:
        """Return what is to be sent next: the oldest change of each document, in order."""
        oldest = [
            self.items[line[0]]
            for line in self._lines.values()
            if self.items[line[0]].state is ItemState.PENDING
        ]
        batch = sorted(oldest, key=lambda item: item.order)
        size = 0
        for number, item in enumerate(batch):
            size += len(item.body or "")
            if number and (number == count or size > BATCH_SIZE):
                return batch[:number]
        return batch

    @property
    def is_settled(self) -> bool:
        """Whether nothing is going to be sent before the program does something."""
        return all(self.items[line[0]].state is ItemState.FAILED for line in self._lines.values())

    def behind(self, item: OfflineItem) -> OfflineItem | None:
        """Return the change behind one, where it is still to be said what it is made on."""
        line = self._lines.get(item.key, [])
        if item.id not in line or item.id == line[-1]:
            return None
        following = self.items[line[line.index(item.id) + 1]]
        return following if following.base is None else None

    def touched(self, delta: Delta) -> set[DocumentKey]:
        """Return the documents that a delta may change for the user."""
        forgotten = set(self.held) if delta.forget else set()
        removed = {self.items[each].key for each in delta.removed if each in self.items}
        return forgotten | removed | set(delta.held) | {item.key for item in delta.items}

    # --- how it changes -----------------------------------------------------------------------

    def apply(self, delta: Delta) -> None:
        """Make it so."""
        if delta.forget:
            self.held = {}
        self.held.update(delta.held)
        for key in delta.dropped:
            self.held.pop(key, None)
        for item_id in delta.removed:
            self._take_out(item_id)
        for item in sorted(delta.items, key=lambda each: each.order):
            self._take_out(item.id)
            self._put(item)
        for conflict_id in delta.decided:
            self.conflicts.pop(conflict_id, None)
        self.conflicts.update(delta.conflicts)
        if delta.cursor is not UNSET:
            self.cursor = delta.cursor

    def _put(self, item: OfflineItem) -> None:
        self.items[item.id] = item
        self._states[item.state] += 1
        self.size += item.size
        self.order = max(self.order, item.order)
        if not item.refused:
            line = self._lines.setdefault(item.key, [])
            line.append(item.id)
            if len(line) > 1 and self.items[line[-2]].order > item.order:
                line.sort(key=lambda each: self.items[each].order)

    def _take_out(self, item_id: str) -> None:
        item = self.items.pop(item_id, None)
        if item is None:
            return
        self._states[item.state] -= 1
        self.size -= item.size
        if not item.refused:
            line = self._lines[item.key]
            line.remove(item_id)
            if not line:
                del self._lines[item.key]
