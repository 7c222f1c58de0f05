"""The rules of the queue, pure: what happens to it, as deltas.

What is sent may have arrived, so it is never changed any more. Only the oldest change of a document
is ever sent; those behind it are made anew on what the server made of it.
"""

from collections.abc import Collection, Iterable
from typing import Final, NamedTuple

from msgspec import UNSET
from msgspec.structs import replace

from stockstream.client.offline.items import Held, ItemState, OfflineItem
from stockstream.client.offline.rebase import rebase
from stockstream.client.offline.replica import Delta, Replica
from stockstream.errors import QueueFullError
from stockstream.model.document import DocumentKey, SyncStatus
from stockstream.wire.canonical import canonical
from stockstream.wire.sync_replies import (
    ConflictReply,
    DocumentChanged,
    DocumentReply,
    SyncResult,
)

#: Characters of data that may wait.
MAX_SIZE: Final = 64_000_000
#: Milliseconds for which deletions are remembered: 90 days, as servers do.
DELETIONS_KEPT: Final = 90 * 86_400_000


class Seen(NamedTuple):
    """What a user sees of a document."""

    #: Canonical JSON; None: there is none.
    body: str | None
    #: The server's version of it, 0 where there is none; None: changes that wait are part of it.
    version: int | None


class Rules:
    """Says what has to change, and changes nothing.

    Args:
        replica: what there is.
        max_items: changes that may wait, failed ones included.
        max_size: characters of their data.
    """

    def __init__(self, replica: Replica, *, max_items: int, max_size: int = MAX_SIZE) -> None:
        self._replica = replica
        self._max_items = max_items
        self._max_size = max_size

    # --- what the program does ----------------------------------------------------------------

    def seen(self, key: DocumentKey) -> Seen:
        """Return what the user sees of a document: whatever he does now, he does to this."""
        version = None if self._replica.line(key) else self._version(key)
        return Seen(self._replica.body(key), version)

    def change(
        self,
        key: DocumentKey,
        body: str | None,
        *,
        item_id: str,
        timestamp: int,
        seen: Seen | None = None,
        strategy: str | None = None,
        resolves: str | None = None,
    ) -> Delta:
        """Add a change at the end of the queue.

        Args:
            key: which document.
            body: what it becomes.
            item_id: of the change.
            timestamp: ms since the epoch.
            seen: what the user saw when he made it; others may have changed it since. None: what
                he sees now.
            strategy: what decides where others have changed it too.
            resolves: the conflict that it decides.

        Raises:
            QueueFullError: there is no room for it.
        """
        replica = self._replica
        before, base = seen or self.seen(key)
        if base is None or replica.line(key):
            # It comes behind others of this device, which may have been settled just now.
            now = replica.body(key)
            before, body = now, rebase(before, body, now).ours
            base = None if replica.line(key) else self._version(key)
        elif conflict := replica.conflicts.get(resolves or ""):
            base, before = conflict.server_version.version, _canonical(conflict.server_data)
        item = OfflineItem(
            id=item_id,
            type=key.type,
            document_id=key.id,
            body=body,
            before=before,
            base=base,
            timestamp=timestamp,
            order=replica.order + 1,
            strategy=strategy,
            resolves=resolves,
        )
        if len(replica.items) >= self._max_items or replica.size + item.size > self._max_size:
            raise QueueFullError(len(replica.items), replica.size)
        return Delta(items=[item])

    def remove(self, item_id: str) -> Delta:
        """Take a change out of the queue; those behind it are made without it.

        One that is being sent may have arrived: then it is part of the document, as others'
        changes are.
        """
        item = self._replica.items.get(item_id)
        if item is None:
            return Delta()
        return Delta(removed=[item_id], items=self._without(item))

    def clear(self) -> Delta:
        """Take everything out of the queue."""
        return Delta(removed=list(self._replica.items))

    def retry(self) -> Delta:
        """Have failed changes sent once more, exactly as they were: they may have arrived."""
        return Delta(
            items=[
                replace(
                    item,
                    state=ItemState.PENDING,
                    refused=False,
                    retry_count=0,
                    code="",
                    message="",
                )
                for item in self._replica.items.values()
                if item.state is ItemState.FAILED
            ]
        )

    def forget(self, now: int) -> Delta:
        """Forget deletions that servers have forgotten as well.

        Args:
            now: ms since the epoch.
        """
        return Delta(
            dropped=[
                key
                for key, held in self._replica.held.items()
                if held.body is None
                and now - held.version.timestamp > DELETIONS_KEPT
                and not self._replica.line(key)
            ]
        )

    # --- what the sender does -----------------------------------------------------------------

    def sending(self, batch: Iterable[OfflineItem], timestamp: int) -> Delta:
        """Note that items are being sent."""
        return Delta(
            items=[replace(item, state=ItemState.SYNCING, last_attempt=timestamp) for item in batch]
        )

    def put_back(self, batch: Iterable[OfflineItem], *, tried: bool) -> Delta:
        """Have items sent again that nobody knows of what became of them.

        Args:
            batch: what was sent; what was settled meanwhile stays as it is.
            tried: whether this counts among the tries that each has.
        """
        return Delta(
            items=[
                replace(now, state=ItemState.PENDING, retry_count=now.retry_count + tried)
                for now in self._being_sent(batch)
            ]
        )

    def give_up(self, batch: Iterable[OfflineItem], code: str, message: str) -> Delta:
        """Let items fail that were put off too often; they keep their places, and are seen."""
        return Delta(
            items=[
                replace(
                    now,
                    state=ItemState.FAILED,
                    code=code,
                    message=message,
                    retry_count=now.retry_count + 1,
                )
                for now in self._being_sent(batch)
            ]
        )

    def refuse(self, item_id: str, code: str, message: str) -> Delta:
        """Let an item fail: the user sees it no more, and those behind it are made without it."""
        item = self._replica.items.get(item_id)
        if item is None or item.state is ItemState.FAILED:
            return Delta()
        failed = replace(
            item,
            state=ItemState.FAILED,
            refused=True,
            code=code,
            message=message,
            retry_count=item.retry_count + 1,
        )
        return Delta(items=[failed, *self._without(item)])

    # --- what the server says -----------------------------------------------------------------

    def settle(self, result: SyncResult) -> Delta:
        """Take in the result of an item; of one that is not in the queue, nothing."""
        item = self._replica.items.get(result.id)
        if item is None or item.state is ItemState.FAILED:
            return Delta()
        if result.status is SyncStatus.REFUSED or result.version is UNSET:
            error = result.error or None
            code, message = (error.code, error.message) if error else ("refused", "refused")
            return self.refuse(item.id, code, message)
        if result.conflict:
            return self._conflict(item, result.conflict)
        holds = Held(_body(result.data, result.deleted, item.body), result.version)
        return Delta(
            removed=[item.id],
            items=self._upon(item, holds),
            held=self._newer(item.key, holds),
            decided=[item.resolves] if item.resolves else [],
        )

    def learn(
        self, documents: Iterable[DocumentReply | DocumentChanged], *, cursor: str | None = None
    ) -> Delta:
        """Take in documents of the server; what is known to be newer stays.

        Args:
            documents: in the order of their changes.
            cursor: up to where the server's changes are known then; None: as before.
        """
        held: dict[DocumentKey, Held] = {}
        for each in documents:
            key = DocumentKey(each.type, each.document_id)
            known = held.get(key) or self._replica.held.get(key)
            news = Held(_body(each.data, each.deleted, None), each.version)
            if known is None or news.age > known.age:
                held[key] = news
        return Delta(held=held, cursor=UNSET if cursor is None else cursor)

    def relearn(self, documents: Iterable[DocumentReply], *, cursor: str) -> Delta:
        """Take in all documents that the server has: what it does not name is gone."""
        held = {
            DocumentKey(each.type, each.document_id): Held(
                _body(each.data, each.deleted, None), each.version
            )
            for each in documents
        }
        items = []
        for item in self._replica.items.values():
            there = held.get(item.key)
            newest = there.version.version if there else 0
            if item.base is not None and item.base > newest:
                # A server that has lost what it was made on gets it as it is.
                items.append(replace(item, base=newest, before=there.body if there else None))
        return Delta(items=items, held=held, forget=True, cursor=cursor)

    def conflicts_are(self, conflicts: Iterable[ConflictReply], before: Collection[str]) -> Delta:
        """Take in all conflicts that wait at the server.

        Args:
            conflicts: what it says.
            before: ids of those that were known when it was asked; what has come or was decided
                since then, it may not have known.
        """
        waiting = {each.conflict_id: each for each in conflicts}
        known = self._replica.conflicts
        return Delta(
            conflicts={
                name: each
                for name, each in waiting.items()
                if name not in known and name not in before
            },
            decided=[name for name in before if name in known and name not in waiting],
        )

    # ------------------------------------------------------------------------------------------

    def _version(self, key: DocumentKey) -> int:
        held = self._replica.held.get(key)
        return held.version.version if held else 0

    def _being_sent(self, batch: Iterable[OfflineItem]) -> list[OfflineItem]:
        now = (self._replica.items.get(item.id) for item in batch)
        return [item for item in now if item is not None and item.state is ItemState.SYNCING]

    def _upon(self, item: OfflineItem, holds: Held) -> list[OfflineItem]:
        """Return the change behind one that was settled, made on what holds now."""
        following = self._replica.behind(item)
        if following is None:
            return []
        made = rebase(following.before, following.body, holds.body)
        version = holds.version.version
        if not made.clashes:
            return [replace(following, before=holds.body, body=made.ours, base=version)]
        # It touches what others changed too. That is for the server to decide, who does when the
        # change is as if it had been made on what the one before it was made on.
        start = "{}" if item.before is None else item.before
        body = rebase(following.before, following.body, start).ours
        apart = replace(following, before=item.before, body=body, base=item.base)
        if made.theirs == holds.body:
            return [apart]
        # The rest goes ahead by itself: the server would take the change before it for another's.
        rest = replace(
            following,
            id=f"{following.id}~1",
            before=holds.body,
            body=made.theirs,
            base=version,
            order=item.order,
            resolves=None,
        )
        return [rest, apart]

    def _without(self, item: OfflineItem) -> list[OfflineItem]:
        """Return the change behind one that is not going to happen."""
        following = self._replica.behind(item)
        if following is None:
            return []
        body = rebase(following.before, following.body, item.before).ours
        return [replace(following, before=item.before, body=body, base=item.base)]

    def _newer(self, key: DocumentKey, holds: Held) -> dict[DocumentKey, Held]:
        known = self._replica.held.get(key)
        return {} if known is not None and known.age > holds.age else {key: holds}

    def _conflict(self, item: OfflineItem, conflict: ConflictReply) -> Delta:
        holds = Held(_canonical(conflict.server_data), conflict.server_version)
        return Delta(
            removed=[item.id],
            items=self._upon(item, holds),
            held=self._newer(item.key, holds),
            conflicts={conflict.conflict_id: conflict},
            decided=[item.resolves] if item.resolves else [],
        )


def _canonical(data: object) -> str | None:
    return None if data is None else canonical(data)


def _body(data: object, deleted: object, otherwise: str | None) -> str | None:
    """Return what an answer says that a document holds; what it leaves out is as it was sent."""
    if deleted is True:
        return None
    return otherwise if data is UNSET else canonical(data)
