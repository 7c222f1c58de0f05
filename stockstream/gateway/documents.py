"""Documents as a part of a node: their store, who hears of changes, their doors."""

from dataclasses import dataclass

from stockstream.gateway.document_news import DocumentNews
from stockstream.gateway.sync import SyncDoor
from stockstream.ports import Clock
from stockstream.services.sync import SyncService, SyncSettings
from stockstream.storage.documents.database import Database
from stockstream.storage.documents.store import SqlDocumentStore


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentSettings:
    """Where documents are, and how they are kept."""

    #: ``sqlite:///path`` or ``postgresql://…``.
    database_url: str
    #: Past versions that are kept of a document.
    versions: int
    sync: SyncSettings
    #: Changes that a user may send a second, over time.
    items_per_second: float


class Documents:
    """All of it, put together; nothing is opened before it is needed."""

    def __init__(self, settings: DocumentSettings, clock: Clock) -> None:
        self.store = SqlDocumentStore(Database(settings.database_url), settings.versions)
        self.news = DocumentNews(clock)
        self.sync = SyncService(
            self.store, settings=settings.sync, clock=clock, tell=self.news.tell
        )
        self.door = SyncDoor(self.sync, items_per_second=settings.items_per_second, clock=clock)
