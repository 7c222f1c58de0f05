"""What a program reads of the documents and of the queue; it waits for nothing."""

from typing import Any

from stockstream.client.offline.items import ItemState, OfflineDocument, OfflineItem
from stockstream.client.offline.replica import Replica
from stockstream.model.document import DocumentKey
from stockstream.wire.sync_replies import ConflictReply


class UserView:
    """A user's documents, with what waits upon them.

    Args:
        replica: what there is.
    """

    def __init__(self, replica: Replica) -> None:
        self._replica = replica

    @property
    def is_syncing(self) -> bool:
        """Whether something is being sent right now."""
        return self._replica.count(ItemState.SYNCING) > 0

    @property
    def pending_sync_count(self) -> int:
        """Changes that the server does not have, and did not refuse."""
        return self._replica.count(ItemState.PENDING, ItemState.SYNCING)

    @property
    def failed_sync_count(self) -> int:
        """Changes that have failed; see :meth:`retry_failed_syncs`."""
        return self._replica.count(ItemState.FAILED)

    def get_offline_queue(self) -> list[OfflineItem]:
        """Return all changes that the server has not confirmed, the oldest first."""
        return sorted(self._replica.items.values(), key=lambda item: item.order)

    def get(self, type: str, document_id: str) -> dict[str, Any] | None:  # noqa: A002
        """Return what a document holds for the user, what waits included; None: there is none."""
        document = self.document(type, document_id)
        return document.data if document is not None else None

    def document(self, type: str, document_id: str) -> OfflineDocument | None:  # noqa: A002
        """Return the same with its version; None: nothing is known of it."""
        return self._replica.document(DocumentKey(type, document_id))

    def documents(self, type: str | None = None) -> list[OfflineDocument]:  # noqa: A002
        """Return the documents that there are for the user, of one type or of all."""
        found = [self._replica.document(key) for key in sorted(self._replica.keys())]
        return [
            each
            for each in found
            if each is not None and each.data is not None and type in (None, each.type)
        ]

    def conflicts(self) -> list[ConflictReply]:
        """Return the conflicts that wait for the user, of this device and of others."""
        return self._replica.open_conflicts()
