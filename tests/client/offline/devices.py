"""A user's devices, and the server that they all belong to."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

from stockstream import OfflineDataManager, StockClient
from stockstream.client.offline import OfflineDocument, SyncFailure, SyncSuccess
from stockstream.errors import StockstreamError
from tests.client.clients import Waits, client_of
from tests.gateway.nodes import Running, running

LIST = "watchlist"
#: Where nobody answers.
NOWHERE = "http://127.0.0.1:1"


async def soon(seconds: float) -> None:
    """Wait less."""
    await asyncio.sleep(min(seconds, 0.05))


class Device:
    """A manager, and what it told."""

    def __init__(self, client: StockClient, manager: OfflineDataManager) -> None:
        self.client = client
        self.documents = manager
        self.changed: list[OfflineDocument] = []
        self.successes: list[SyncSuccess] = []
        self.failures: list[SyncFailure] = []
        self.online: list[bool] = []
        self.errors: list[StockstreamError] = []
        manager.on("changed", self.changed.append)
        manager.on("sync_success", self.successes.append)
        manager.on("sync_error", self.failures.append)
        manager.on("error", self.errors.append)
        manager.on("online_status_changed", self.online.append)


@asynccontextmanager
async def device(
    url: str, path: Path, *, waits: Waits | None = None, token: Any = None, **options: Any
) -> AsyncIterator[Device]:
    """Run a device that waits for hardly anything, and asks only where it has a reason to."""
    client = client_of(url, soon, token=token, heartbeat_interval=1.0)
    usual: dict[str, Any] = {
        "poll_interval": 1_000.0,
        "sleep": waits or soon,
        "random": Random(1),
    }
    manager = OfflineDataManager(client, path, **usual | options)
    made = Device(client, manager)
    async with client, manager:
        yield made


@asynccontextmanager
async def server(folder: Path, **settings: Any) -> AsyncIterator[Running]:
    """Run a node whose documents are in a folder."""
    url = f"sqlite:///{folder / 'documents.db'}"
    async with running(alone=False, database_url=url, **settings) as node:
        yield node


async def stored(node: Running) -> dict[str, Any]:
    """Return what each document of the server holds, by id."""
    _, page = await node.get("/api/sync?limit=1000")
    return {each["documentId"]: each.get("data") for each in page["documents"]}


async def versions(node: Running, document_id: str) -> list[Any]:
    """Return what a document was, the oldest first."""
    _, page = await node.get(f"/api/sync/history/{LIST}/{document_id}?limit=1000")
    return [each.get("data") for each in reversed(page["versions"])]
