"""The real rules of the server, and devices that speak to it without a network."""

from typing import Any
from uuid import uuid4

import msgspec

from stockstream.client.offline.items import OfflineItem
from stockstream.client.offline.replica import Delta, Replica
from stockstream.client.offline.rules import Rules
from stockstream.client.offline.server import wire_item
from stockstream.clock import SystemClock
from stockstream.model.document import Document, DocumentKey, Outcome
from stockstream.services.sync import SyncService, SyncSettings
from stockstream.storage.documents.memory import MemoryDocumentStore
from stockstream.wire.canonical import canonical
from stockstream.wire.sync_replies import (
    DocumentChanged,
    SyncResult,
    document_changed,
    document_reply,
    refused_result,
    result_of,
)

USER = "ann"


class ServerRules:
    """What answers, as a server would, but at once."""

    def __init__(self, **settings: Any) -> None:
        #: What other devices would be told, in order.
        self.news: list[DocumentChanged] = []
        self.service = SyncService(
            MemoryDocumentStore(1_000),
            settings=SyncSettings(**settings),
            clock=SystemClock(),
            tell=self._tell,
        )

    def _tell(self, _user: str, document: Document) -> None:
        self.news.append(document_changed(document))

    async def sync(self, items: list[OfflineItem]) -> list[SyncResult]:
        payload = msgspec.json.decode(msgspec.json.encode([wire_item(item) for item in items]))
        answers = await self.service.sync(USER, payload)
        return [
            result_of(answer) if isinstance(answer, Outcome) else refused_result(item, answer)
            for item, answer in zip(payload, answers, strict=True)
        ]

    async def bodies(self) -> dict[DocumentKey, str | None]:
        """Return every document, as canonical JSON."""
        page, _ = await self.service.changed_since(USER, None, limit=1_000, kind=None)
        return {each.key: each.body for each in page.documents}

    async def made_by(self, key: DocumentKey) -> set[str]:
        """Return the ids of the items that are in a document's history."""
        history = await self.service.history(USER, key, 1_000)
        assert history is not None
        return {each.item_id for each in history.versions} | {each.item_id for each in history.sent}


class Device:
    """A replica whose deltas survive it, as they do in a file."""

    def __init__(self, server: ServerRules) -> None:
        self.server = server
        self._begin()
        self.written: list[Delta] = []
        #: Items that the server has confirmed, with their documents.
        self.confirmed: dict[str, DocumentKey] = {}

    def _begin(self) -> None:
        self.replica = Replica()
        self.rules = Rules(self.replica, max_items=1_000, max_size=1_000_000)

    def commit(self, delta: Delta) -> None:
        self.written.append(delta)
        self.replica.apply(delta)

    def edit(
        self, key: DocumentKey, data: dict[str, Any] | None, strategy: str | None = None
    ) -> str:
        item_id = uuid4().hex
        body = None if data is None else canonical(data)
        self.commit(self.rules.change(key, body, item_id=item_id, timestamp=0, strategy=strategy))
        assert self.replica.body(key) == body
        return item_id

    async def send(self, *, lost: bool = False, twice: bool = False) -> bool:
        """Send what is due; returns whether there was anything."""
        batch = self.replica.batch(3)
        if not batch:
            return False
        self.replica.apply(self.rules.sending(batch, 1))
        results = await self.server.sync(batch)
        if twice:
            results = await self.server.sync(batch)
        if lost:
            self.commit(self.rules.put_back(batch, tried=True))
            return True
        for item, result in zip(batch, results, strict=True):
            self.commit(self.rules.settle(result))
            if result.success:
                self.confirmed[item.id] = item.key
        return True

    async def catch_up(self) -> None:
        cursor = self.replica.cursor
        page, cursor = await self.server.service.changed_since(USER, cursor, limit=500, kind=None)
        documents = [document_reply(each) for each in page.documents]
        self.commit(self.rules.learn(documents, cursor=cursor))

    def restart(self) -> None:
        """Lose everything but what was written."""
        self._begin()
        for delta in self.written:
            self.replica.apply(delta)
        items = [
            msgspec.structs.replace(item, state="pending") if item.state == "syncing" else item
            for item in self.replica.items.values()
        ]
        self.replica.apply(Delta(items=items))
