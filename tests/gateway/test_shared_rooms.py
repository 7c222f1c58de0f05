"""Emits between the servers of several nodes, on a way that comes and goes."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest

from stockstream.clock import SystemClock
from stockstream.engine import AsyncServer
from stockstream.errors import StoreUnavailableError
from stockstream.gateway import shared_rooms
from stockstream.gateway.shared_rooms import SharedRooms
from tests.gateway.nodes import until


class Air:
    """Carries what is told to all nodes, where it works."""

    def __init__(self) -> None:
        self.nodes: list[SharedRooms] = []
        self.works = True
        #: Attempts that failed.
        self.failures = 0

    async def publish(self, message: bytes) -> None:
        if not self.works:
            self.failures += 1
            raise StoreUnavailableError("redis", "gone")
        for node in self.nodes:
            node.hear(message)


@asynccontextmanager
async def servers(air: Air, count: int) -> AsyncIterator[list[AsyncServer]]:
    """Run a server of each of so many nodes."""
    for _ in range(count):
        air.nodes.append(SharedRooms(air.publish, SystemClock(), Random(1)))
    running = [AsyncServer(node.manager()) for node in air.nodes]
    tasks = [asyncio.create_task(node.run()) for node in air.nodes]
    for server in running:
        server.manager.initialize()
    try:
        yield running
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for server in running:
            await server.manager.aclose()


def heard(monkeypatch: pytest.MonkeyPatch, server: AsyncServer) -> list[tuple[str, Any]]:
    """Return what a server emits to clients of its own from now on."""
    emitted: list[tuple[str, Any]] = []

    async def handle(message: dict[str, Any]) -> None:
        emitted.append((message["event"], message["data"]))

    monkeypatch.setattr(server.manager, "_handle_emit", handle)
    return emitted


async def test_emits_wait_while_the_way_is_gone_and_arrive_in_order_and_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    air = Air()
    async with servers(air, 2) as (here, there):
        emitted = heard(monkeypatch, there)
        air.works = False
        for number in range(20):
            # Nobody waits for the way to come back.
            await here.emit("news", number)
        await until(lambda: air.failures >= 3)
        assert air.nodes[0].pending == 20
        air.works = True
        await until(lambda: len(emitted) == 20)
        assert emitted == [("news", [number]) for number in range(20)]
        assert air.nodes[0].pending == 0


async def test_no_more_than_a_bounded_number_waits_and_the_oldest_give_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shared_rooms, "MOST", 5)
    air = Air()
    async with servers(air, 2) as (here, there):
        emitted = heard(monkeypatch, there)
        air.works = False
        for number in range(8):
            await here.emit("news", number)
        air.works = True
        await until(lambda: len(emitted) == 5)
        assert [data for _, data in emitted] == [[3], [4], [5], [6], [7]]
        assert air.nodes[0].shed == 3


@pytest.mark.parametrize("garbage", [b"", b"\xff", b"[]", b"5", b'"method"', b"{", b"\x80\x04}q."])
async def test_what_is_no_message_is_counted_and_disturbs_nobody(
    monkeypatch: pytest.MonkeyPatch, garbage: bytes
) -> None:
    air = Air()
    async with servers(air, 2) as (here, there):
        emitted = heard(monkeypatch, there)
        await air.publish(garbage)
        await here.emit("news", 1)
        await until(lambda: bool(emitted))
        assert emitted == [("news", [1])]
        assert [node.undecodable for node in air.nodes] == [1, 1]


async def test_what_a_server_says_itself_is_not_emitted_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    air = Air()
    async with servers(air, 1) as (server,):
        emitted = heard(monkeypatch, server)
        await server.emit("news", 1)
        await air.publish(json.dumps({"method": "emit", "event": "other", "data": [2]}).encode())
        await until(lambda: len(emitted) == 2)
        assert emitted == [("news", [1]), ("other", [2])]
