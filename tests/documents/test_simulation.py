"""Devices, nodes and a network at their worst: in the end all have the same, and nothing is lost.

``SEEDS`` in the environment says how many worlds are tried; the suite's own number is small.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from random import Random
from typing import Any

import pytest

from stockstream.clock import SystemClock
from stockstream.document_ports import DocumentStore
from stockstream.errors import UnavailableError
from stockstream.model.document import DocumentHistory, DocumentKey
from stockstream.services.sync import SyncService, SyncSettings
from stockstream.storage.documents.database import Database
from stockstream.storage.documents.memory import MemoryDocumentStore
from stockstream.storage.documents.store import SqlDocumentStore
from stockstream.wire.canonical import parse
from tests.documents.changes import USER
from tests.documents.conftest import KINDS
from tests.documents.devices import KEPT, KEYS, Device, Item

SEEDS = int(os.environ.get("SEEDS", "2"))
DEVICES = 4
ROUNDS = 40
#: All versions are kept, so that every change can be found.
ALL = 100_000
#: Seconds by which the clock of the second node is wrong.
WRONG_BY = 5


class WrongClock(SystemClock):
    """A clock that is late."""

    def time_ms(self) -> int:
        return super().time_ms() - 1000 * WRONG_BY


class World:
    """Two nodes on one store, and the network to them."""

    def __init__(self, open_store: Callable[[], DocumentStore], chance: Random) -> None:
        self._open_store = open_store
        self.chance = chance
        self.clocks = (SystemClock(), WrongClock())
        self.nodes: list[SyncService] = []
        self._stores: list[DocumentStore] = []
        #: What a node of each number is doing.
        self._doing: list[set[asyncio.Task[None]]] = [set(), set()]
        #: Requests that the network delivers when nobody waits for an answer any more.
        self.late: list[list[Item]] = []
        self.kills = 0

    def start(self) -> None:
        for clock in self.clocks:
            self._stores.append(self._open_store())
            self.nodes.append(self._node(self._stores[-1], clock))

    def _node(self, store: DocumentStore, clock: SystemClock) -> SyncService:
        return SyncService(store, settings=SyncSettings(), clock=clock, tell=lambda *_: None)

    async def kill(self, number: int) -> None:
        """End a node in the middle of whatever it does, and begin another one."""
        self.kills += 1
        tasks = [*self._doing[number]]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._stores[number].aclose()
        self._stores[number] = self._open_store()
        self.nodes[number] = self._node(self._stores[number], self.clocks[number])

    async def send(self, device: Device) -> None:
        """Send what waits, over a network that loses, repeats and delays."""
        items = [*device.outbox.values()]
        device.chance.shuffle(items)
        number = self.chance.randrange(2)
        fate = self.chance.randrange(7)
        if not items or fate == 0:
            return
        task = asyncio.create_task(self._exchange(device, items, number, fate))
        self._doing[number].add(task)
        task.add_done_callback(self._doing[number].discard)
        with suppress(asyncio.CancelledError, UnavailableError):
            await task

    async def _exchange(self, device: Device, items: list[Item], number: int, fate: int) -> None:
        node, other = self.nodes[number], self.nodes[1 - number]
        if fate == 1:
            # It takes its time, and the device has given up by then.
            self.late.append(items)
        elif fate == 2:
            await node.sync(USER, items)
        elif fate == 3:
            both = await asyncio.gather(node.sync(USER, items), other.sync(USER, items))
            device.answered(items, self.chance.choice(both))
        else:
            if fate == 4:
                self.late.append(items)
            device.answered(items, await node.sync(USER, items))

    async def deliver_late(self) -> None:
        if self.late:
            items = self.late.pop(self.chance.randrange(len(self.late)))
            with suppress(UnavailableError):
                await self.chance.choice(self.nodes).sync(USER, items)

    async def aclose(self) -> None:
        for store in self._stores:
            await store.aclose()


async def happen(world: World, devices: list[Device]) -> None:
    """Let all devices do something at the same time, and something happen to them."""

    async def live(device: Device) -> None:
        for _ in range(device.chance.randrange(3)):
            device.edit()
        await world.send(device)
        if device.chance.random() < 0.4:
            with suppress(UnavailableError):
                await device.catch_up(world.chance.choice(world.nodes))

    doing = [live(device) for device in devices if world.chance.random() < 0.7]
    if world.chance.random() < 0.4:
        doing.append(world.deliver_late())
    if world.chance.random() < 0.15:
        doing.append(world.kill(world.chance.randrange(2)))
    await asyncio.gather(*doing)


async def calm_down(world: World, devices: list[Device]) -> None:
    """Let everything arrive, and everybody learn of it."""
    while world.late:
        await world.deliver_late()
    for device in devices:
        items = [*device.outbox.values()]
        if items:
            device.answered(items, await world.nodes[0].sync(USER, items))
        assert not device.outbox
    for device in devices:
        await device.catch_up(world.nodes[1])


async def check(world: World, devices: list[Device]) -> None:
    node = world.nodes[1]
    histories = {key: await node.history(USER, key, ALL) for key in KEYS}
    holds = {key: _newest(history) for key, history in histories.items() if history}
    for device in devices:
        assert {key: data for key, (data, _) in device.known.items()} == holds
        for item in device.taken.values():
            history = histories[DocumentKey(item["type"], item["documentId"])]
            assert history is not None
            assert item["id"] in kept_by(history)
        if device.own is not None:
            kept: Any = holds[KEPT]
            assert kept[device.name] == device.own
    for history in histories.values():
        made = [version.item_id for version in history.versions] if history else []
        assert len(made) == len(set(made)), "a change was applied twice"
    met = {each.partition("@")[0] for device in devices for each in device.met}
    decided = {each.partition("@")[0] for device in devices for each in device.decided}
    waiting = {each.id for each in await node.conflicts(USER)}
    assert met - decided <= waiting
    assert not waiting & decided


def kept_by(history: DocumentHistory) -> set[str]:
    """Return the changes that made a version, or are kept beside those as they were sent."""
    versions = {each.item_id for each in history.versions}
    return versions | {each.item_id for each in history.sent}


def _newest(history: DocumentHistory) -> object:
    body = history.versions[0].body
    return None if body is None else parse(body)


@asynccontextmanager
async def world_of(
    kind: str, request: pytest.FixtureRequest, name: str, chance: Random
) -> AsyncIterator[World]:
    if kind == "memory":
        store = MemoryDocumentStore(ALL)
        world = World(lambda: store, chance)
    else:
        folder = request.getfixturevalue("tmp_path")
        url = f"sqlite:///{folder / name}.db"
        if kind == "postgresql":
            url = request.getfixturevalue("shared_postgres").new_database()
        world = World(lambda: SqlDocumentStore(Database(url), ALL), chance)
    world.start()
    yield world
    await world.aclose()


@pytest.mark.timeout(60 + 10 * SEEDS)
@pytest.mark.parametrize("kind", KINDS)
async def test_all_devices_and_the_server_end_with_the_same_and_nothing_is_lost(
    kind: str, request: pytest.FixtureRequest
) -> None:
    kills = conflicts = 0
    for seed in range(SEEDS):
        chance = Random(seed)
        devices = [Device(f"device{n}", Random(chance.random())) for n in range(DEVICES)]
        async with world_of(kind, request, f"{seed}", chance) as world:
            for _ in range(ROUNDS):
                await happen(world, devices)
            await calm_down(world, devices)
            await check(world, devices)
            kills += world.kills
            conflicts += sum(len(device.met) for device in devices)
    # Or nothing was shown.
    assert kills
    assert conflicts
