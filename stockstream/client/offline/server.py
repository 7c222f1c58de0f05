"""What is asked of the server about documents, over HTTP."""

from collections.abc import Sequence
from typing import Any, Final, TypeVar

import msgspec

from stockstream.client.offline.items import OfflineItem
from stockstream.client.stock_client import StockClient
from stockstream.errors import UnavailableError
from stockstream.wire.sync_replies import (
    ConflictReply,
    ConflictsReply,
    DocumentsReply,
    SyncResult,
    SyncResults,
)

T = TypeVar("T")

_PAGE: Final = 100


class SyncServer:
    """The routes of ``/api/sync``.

    Each raises RefusedError where the server refuses (``retryable`` says whether that is for
    now), and UnavailableError where it can't be reached or nothing is known of the outcome.
    """

    def __init__(self, client: StockClient) -> None:
        self._client = client

    async def sync(self, items: Sequence[OfflineItem]) -> list[SyncResult]:
        """Send changes; returns what became of each, in order."""
        body = {"items": [wire_item(item) for item in items]}
        answer = await self._client.fetch("POST", "/api/sync", body=body)
        results = list(_read(answer, SyncResults).results)
        if [result.id for result in results] != [item.id for item in items]:
            raise UnavailableError("the server's results are not those of what was sent")
        return results

    async def changed_since(self, cursor: str | None) -> DocumentsReply:
        """Return a page of what has changed."""
        parameters = {"limit": str(_PAGE)} | ({"since": cursor} if cursor else {})
        answer = await self._client.fetch("GET", "/api/sync", parameters=parameters)
        return _read(answer, DocumentsReply)

    async def conflicts(self) -> Sequence[ConflictReply]:
        """Return the conflicts that wait for the user."""
        answer = await self._client.fetch("GET", "/api/sync/conflicts")
        return _read(answer, ConflictsReply).conflicts


def wire_item(item: OfflineItem) -> dict[str, Any]:
    """Return a change as it travels."""
    wire: dict[str, Any] = {
        "id": item.id,
        "type": item.type,
        "documentId": item.document_id,
        "timestamp": item.timestamp,
        "baseVersion": item.base,
    }
    if item.body is None:
        wire["deleted"] = True
    else:
        # It is JSON already.
        wire["data"] = msgspec.Raw(item.body.encode())
    if item.strategy is not None:
        wire["strategy"] = item.strategy
    if item.resolves is not None:
        wire["resolves"] = item.resolves
    return wire


def _read(answer: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(answer, type=kind)
    except msgspec.MsgspecError as error:
        raise UnavailableError(f"the server's answer makes no sense: {error}") from None
