"""Documents as a part of a node: their store, who hears of changes, their doors."""

from collections.abc import Callable
from dataclasses import dataclass

from stockstream.gateway.document_news import DocumentNews
from stockstream.gateway.shared_news import SharedNews
from stockstream.gateway.sync import SyncDoor
from stockstream.ports import Clock
from stockstream.services.sync import SyncService, SyncSettings
from stockstream.storage.documents.database import Database
from stockstream.storage.documents.store import SqlDocumentStore


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentSettings:
    """Where documents are, and how they are kept."""

    #: ``sqlite:///path`` or ``postgresql://…``; None: there is none, and documents are refused.
    database_url: str | None
    #: Past versions that are kept of a document.
    versions: int
    sync: SyncSettings
    #: Changes that a user may send a second, over time.
    items_per_second: float


class Documents:
    """All of it, put together; nothing is opened before it is needed."""

    def __init__(
        self,
        settings: DocumentSettings,
        clock: Clock,
        share: Callable[[DocumentNews], SharedNews] | None = None,
    ) -> None:
        """Put it together.

        Args:
            settings: where documents are, and how they are kept.
            clock: the time.
            share: has other nodes hear of changes as well; None: there are none.
        """
        self.store = SqlDocumentStore(Database(settings.database_url), settings.versions)
        self.news = DocumentNews(clock)
        self.sync = SyncService(
            self.store,
            settings=settings.sync,
            clock=clock,
            tell=share(self.news).tell if share else self.news.tell,
        )
        self.door = SyncDoor(self.sync, items_per_second=settings.items_per_second, clock=clock)
