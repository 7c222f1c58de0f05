"""Documents that can be changed without a connection (documented, section 5)."""

from stockstream.client.offline.items import (
    ItemState,
    OfflineDocument,
    OfflineItem,
    SyncFailure,
    SyncSuccess,
)
from stockstream.client.offline.manager import OfflineDataManager

__all__ = [
    "ItemState",
    "OfflineDataManager",
    "OfflineDocument",
    "OfflineItem",
    "SyncFailure",
    "SyncSuccess",
]
