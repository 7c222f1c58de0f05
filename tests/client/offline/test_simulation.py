"""Some devices of one user, edits at random, a network and servers at their worst.

In the end everybody has the same, every change that was confirmed is in the history, and every
conflict was resolved or waits for its user.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import pytest

from stockstream import OfflineDataManager
from stockstream.client.offline import SyncFailure, SyncSuccess
from tests.client.offline.devices import soon
from tests.client.offline.unreliable import UnreliableClient
from tests.support.fault_proxy import FaultProxy
from tests.support.ports import free_port
from tests.support.processes import Server, running_server, wait_until, wait_until_true

DEVICES = 3
ROUNDS = 100
KILLS = 2
MAY_BE_DELETED = ("drawing", "d1")
DOCUMENTS = [("watchlist", "main"), ("note", "n1"), ("note", "n2"), MAY_BE_DELETED]
STRATEGIES = (None, "merge", "client_wins", "server_wins", "last_write_wins", "manual", "manual")
SETTINGS = {"STOCKSTREAM_SYNC_HISTORY": "5000", "STOCKSTREAM_MAX_SYNCS_PER_SECOND": "10000"}


class Nodes:
    """Servers, each on a port of its own, that are killed and come back."""

    def __init__(self, stack: AsyncExitStack, env: dict[str, str], count: int) -> None:
        self.ports = [free_port() for _ in range(count)]
        self._stack = stack
        self._env = SETTINGS | env
        self._running: dict[int, Server] = {}

    async def start(self, number: int) -> None:
        env = self._env | {"STOCKSTREAM_NODE_ID": f"n{number}"}
        server = running_server(env=env, port=self.ports[number])
        self._running[number] = await self._stack.enter_async_context(server)

    async def kill(self, number: int) -> None:
        self._running[number].child.kill()
        await self.start(number)

    async def get(self, path: str) -> Any:
        url = f"{self._running[0].url}/api/sync{path}"
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            assert response.status == 200, await response.text()
            return await response.json()


@dataclass
class Device:
    """A device, and what it did."""

    number: int
    client: UnreliableClient
    documents: OfflineDataManager
    proxy: FaultProxy
    chance: Random
    #: By item, the document, of all changes that the server has confirmed.
    confirmed: dict[str, tuple[str, str]] = field(default_factory=dict)
    refused: list[SyncFailure] = field(default_factory=list)
    #: Documents of which a change was kept apart, for the user to decide.
    apart: set[tuple[str, str]] = field(default_factory=set)
    #: Of each document, the last value of the field that only this device touches.
    own: dict[tuple[str, str], int] = field(default_factory=dict)

    async def edit(self, step: int) -> None:
        kind, name = self.chance.choice(DOCUMENTS)
        strategy = self.chance.choice(STRATEGIES)
        if (kind, name) == MAY_BE_DELETED and self.chance.random() < 0.3:
            await self.documents.remove(kind, name, strategy=strategy)
            return
        data = dict(self.documents.get(kind, name) or {})
        data[f"own{self.number}"] = step
        self.own[kind, name] = step
        if self.chance.random() < 0.7:
            data["shared"] = step
        if kind == "watchlist":
            symbols = [each for each in data.get("symbols", []) if self.chance.random() < 0.9]
            data["symbols"] = [*symbols, f"S{self.number}.{step}"]
        await self.documents.save(kind, name, data, strategy=strategy)

    def succeeded(self, success: SyncSuccess) -> None:
        # What changes nothing (deleting what others have brought back is one) makes no version.
        if success.item.body not in (None, success.item.before):
            self.confirmed[success.item.id] = (success.item.type, success.item.document_id)

    def failed(self, failure: SyncFailure) -> None:
        if failure.conflict is not None:
            self.apart.add((failure.item.type, failure.item.document_id))
        elif not failure.will_retry:
            self.refused.append(failure)

    def seen(self) -> dict[tuple[str, str], Any]:
        return {(each.type, each.id): each.data for each in self.documents.documents()}


@asynccontextmanager
async def device(number: int, folder: Path, port: int, chance: Random) -> AsyncIterator[Device]:
    async with FaultProxy(port, seed=number) as proxy:
        url = f"http://127.0.0.1:{proxy.port}"
        client = UnreliableClient(url, chance=chance, heartbeat_interval=0.5, sleep=soon)
        manager = OfflineDataManager(
            client, folder / f"{number}.db", sync_batch_size=3, poll_interval=1.0, sleep=soon
        )
        made = Device(number, client, manager, proxy, chance)
        manager.on("sync_success", made.succeeded)
        manager.on("sync_error", made.failed)
        async with client, manager:
            yield made


async def happen(device: Device, step: int, kill: Callable[[], Awaitable[None]]) -> None:
    match device.chance.randrange(12):
        case 0:
            device.proxy.abort()
        case 1:
            device.proxy.blackhole()
        case 2 | 3 | 4:
            device.proxy.restore()
        case _:
            await device.edit(step)
    # Users are slower than networks.
    await asyncio.sleep(device.chance.random() * 0.1)
    if step % (ROUNDS // KILLS) == ROUNDS // KILLS - 1:
        await kill()


async def everybody_agrees(devices: Sequence[Device], nodes: Nodes) -> None:
    for each in devices:
        each.proxy.restore()
        await each.client.calm_down()
    for each in devices:
        assert await each.documents.synced(100) or each.documents.failed_sync_count

    async def agreed() -> bool:
        page = await nodes.get("?limit=1000")
        held = {(d["type"], d["documentId"]): d["data"] for d in page["documents"] if "data" in d}
        return all(each.seen() == held for each in devices)

    await wait_until_true(agreed, "the same documents everywhere")


async def assert_nothing_was_lost(devices: Sequence[Device], nodes: Nodes) -> None:
    apart = set[tuple[str, str]]().union(*(each.apart for each in devices))
    for kind, name in DOCUMENTS:
        history = await nodes.get(f"/history/{kind}/{name}?limit=1000")
        known = {entry["itemId"] for entry in history["versions"] + history["sent"]}
        for each in devices:
            assert {item for item, key in each.confirmed.items() if key == (kind, name)} <= known
            if (kind, name) not in {*apart, MAY_BE_DELETED}:
                document = each.documents.get(kind, name) or {}
                # What one device alone has touched is always kept.
                assert document.get(f"own{each.number}") == each.own.get((kind, name))
    assert not any(each.refused for each in devices)


async def disagree(devices: Sequence[Device]) -> None:
    """Let two of them change the same unknowingly: a conflict, whatever came before."""
    for each in devices:
        each.proxy.blackhole()
    for each in devices[:2]:
        disputed = {"shared": each.number}
        await each.documents.save("note", "disputed", disputed, strategy="manual")


async def decide_all_conflicts(devices: Sequence[Device], nodes: Nodes) -> int:
    """Return how many there were, on each device and on the server."""
    waiting = {each["conflictId"] for each in (await nodes.get("/conflicts"))["conflicts"]}

    def everybody_knows(ids: set[str]) -> bool:
        return all({c.conflict_id for c in d.documents.conflicts()} == ids for d in devices)

    await wait_until(lambda: everybody_knows(waiting), "the conflicts")
    for number, conflict_id in enumerate(sorted(waiting)):
        await devices[0].documents.resolve(conflict_id, {"decided": number})
    await everybody_agrees(devices, nodes)
    await wait_until(lambda: everybody_knows(set()), "the decisions")
    return len(waiting)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["one node on SQLite", "two nodes on PostgreSQL"])
async def test_all_devices_and_the_server_end_with_the_same(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    chance = Random(f"{kind} 1")
    env = {"STOCKSTREAM_DATABASE_URL": f"sqlite:///{tmp_path / 'documents.db'}"}
    if kind.startswith("two"):
        env = {
            "STOCKSTREAM_DATABASE_URL": request.getfixturevalue("postgres_url"),
            "STOCKSTREAM_REDIS_URL": request.getfixturevalue("redis_url"),
        }
    async with AsyncExitStack() as stack:
        nodes = Nodes(stack, env, 2 if kind.startswith("two") else 1)
        for number in range(len(nodes.ports)):
            await nodes.start(number)
        devices = [
            await stack.enter_async_context(
                device(n, tmp_path, nodes.ports[n % len(nodes.ports)], Random(chance.random()))
            )
            for n in range(DEVICES)
        ]

        async def kill() -> None:
            await nodes.kill(chance.randrange(len(nodes.ports)))

        for step in range(ROUNDS):
            await happen(chance.choice(devices), step, kill)
        await everybody_agrees(devices, nodes)
        await disagree(devices)
        await everybody_agrees(devices, nodes)
        await assert_nothing_was_lost(devices, nodes)
        assert await decide_all_conflicts(devices, nodes)
