"""Devices of one user that edit at random, as far as a server can tell."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any

from stockstream.model.document import DocumentKey, Outcome, Refusal, SyncStatus
from stockstream.services.sync import SyncService
from stockstream.wire.canonical import parse
from tests.documents.changes import USER

Item = dict[str, Any]

#: Of this one every device has a field of its own, and does nothing that could lose it.
KEPT = DocumentKey("settings", "kept")
KEYS = (
    KEPT,
    DocumentKey("watchlist", "main"),
    DocumentKey("note", "n1"),
    DocumentKey("note", "n2"),
)
SAFE = ("merge", "client_wins", "server_wins", "last_write_wins")
STRATEGIES = (*SAFE, "stock_data", "manual", "manual")
SYMBOLS = ("AAPL", "MSFT", "TSLA", "NVDA", "AMZN")

_numbers = count(1)


@dataclass
class Device:
    """What a device knows, what it wants, and what it was told."""

    name: str
    chance: Random
    known: dict[DocumentKey, tuple[Any, int]] = field(default_factory=dict)
    cursor: str | None = None
    #: Changes that are not answered yet, one of a document; sent again exactly as they are.
    outbox: dict[DocumentKey, Item] = field(default_factory=dict)
    #: Items that the server took, those with a conflict among them.
    taken: dict[str, Item] = field(default_factory=dict)
    #: Conflicts that were met, and those that the user has decided.
    met: set[str] = field(default_factory=set)
    decided: set[str] = field(default_factory=set)
    #: The last value of the field of the kept document that is this device's own.
    own: int | None = None

    def edit(self) -> None:
        """Change some document, where the change before it has been answered."""
        key = self.chance.choice(KEYS)
        if key in self.outbox:
            return
        data, version = self.known.get(key, (None, 0))
        strategy = self.chance.choice(SAFE if key == KEPT else STRATEGIES)
        number = next(_numbers)
        item: Item = {
            "id": f"{self.name}-{number}",
            "type": key.type,
            "documentId": key.id,
            "timestamp": number,
            "baseVersion": version,
            "strategy": strategy,
        }
        undecided = sorted(self.met - self.decided)
        if key != KEPT and self.chance.random() < 0.15:
            item["deleted"] = True
        else:
            item["data"] = self._edited(data or {}, number)
        if key != KEPT and self.chance.random() < 0.1:
            del item["baseVersion"]
        if key.type == "note" and undecided and self.chance.random() < 0.5:
            item = self._decision(item, undecided)
        if key == KEPT:
            self.own = number
        self.outbox[key] = item

    def _edited(self, data: dict[str, Any], number: int) -> dict[str, Any]:
        edited = {**data, self.name: number}
        if self.chance.random() < 0.6:
            edited["shared"] = number
        symbols = [each for each in edited.get("symbols", []) if self.chance.random() < 0.8]
        added = self.chance.choice(SYMBOLS)
        return {**edited, "symbols": [*symbols, *({added} - set(symbols))]}

    def _decision(self, item: Item, undecided: Sequence[str]) -> Item:
        conflict = self.chance.choice(undecided)
        if not conflict.endswith(f"@{item['documentId']}"):
            return item
        return {**item, "resolves": conflict.partition("@")[0]}

    async def catch_up(self, server: SyncService) -> None:
        """Learn what has changed."""
        more = True
        while more:
            page, self.cursor = await server.changed_since(USER, self.cursor, limit=2, kind=None)
            assert not page.reset
            more = page.more
            for each in page.documents:
                self._learn(each.key, each.body, each.version.version)

    def answered(self, items: Sequence[Item], answers: Sequence[Outcome | Refusal]) -> None:
        """Take the answers to what was sent; one that was sent twice is answered twice."""
        for item, answer in zip(items, answers, strict=True):
            key = DocumentKey(item["type"], item["documentId"])
            assert isinstance(answer, Outcome), answer
            assert answer.refusal is None, answer.refusal
            assert answer.document is not None
            if self.outbox.get(key) is item:
                del self.outbox[key]
            if "resolves" in item:
                self.decided.add(f"{item['resolves']}@{key.id}")
            if answer.status is SyncStatus.CONFLICT:
                self.met.add(f"{item['id']}@{key.id}")
            self.taken[item["id"]] = item
            self._learn(key, answer.document.body, answer.document.version.version)

    def _learn(self, key: DocumentKey, body: str | None, version: int) -> None:
        if version > self.known.get(key, (None, 0))[1]:
            self.known[key] = (None if body is None else parse(body), version)
