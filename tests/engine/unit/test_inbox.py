"""What is still to be done for clients that have gone."""

import asyncio
import gc
import weakref
from typing import Any

import pytest

from stockstream.engine import AsyncServer, Limits
from tests.engine.unit.served import serve, until

SOON = Limits(drain_seconds=0.05)


async def hang(*_args: Any) -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize("at_once", [False, True], ids=["in turn", "at once"])
async def test_events_behind_a_hanging_handler_are_dropped_together(*, at_once: bool) -> None:
    server = AsyncServer(async_handlers=at_once, limits=SOON)
    started: list[int] = []
    left: list[str] = []

    async def start(_sid: str, number: int) -> None:
        started.append(number)
        await hang()

    async def disconnect(_sid: str, reason: str) -> None:
        left.append(reason)

    server.on("start", start)
    server.on("disconnect", disconnect)
    async with serve(server) as served:
        async with served.connected() as client:
            await client.send(*[f'42["start",{n}]' for n in range(200)])
            connection = server.connection(client.sid)
            assert connection is not None
            await until(lambda: connection.messages_in == 201)
        await until(lambda: len(server._inbox) == 0)
        assert served.is_empty()
    assert left == ["transport close"]
    assert started == list(range(server.limits.concurrent_handlers if at_once else 1))
    assert server.metrics.handlers_stopped == 200


async def test_handler_that_hangs_alone_is_stopped_when_its_client_is_gone() -> None:
    server = AsyncServer(limits=SOON)
    server.on("hang", hang)
    async with serve(server) as served:
        async with served.connected() as client:
            await client.send('42["hang"]')
            await until(lambda: len(server._inbox) == 1)
        await until(lambda: len(server._inbox) == 0)
    assert server.metrics.handlers_stopped == 1


async def test_client_that_left_during_its_connect_handler_is_forgotten_if_that_hangs() -> None:
    server = AsyncServer(limits=SOON)
    server.on("connect", hang)
    async with serve(server) as served:
        async with served.opened() as client:
            await client.send("40")
            await until(lambda: bool(list(server.manager.get_namespaces())))
        await until(served.is_empty)


async def test_client_whose_disconnect_handler_hangs_is_forgotten() -> None:
    server = AsyncServer(limits=SOON)
    server.on("disconnect", hang)
    async with serve(server) as served:
        async with served.connected() as client:
            pass
        # Whoever waits for it is told as well.
        await server.drop(client.sid)
        assert served.is_empty()


async def test_client_that_left_during_a_request_is_kept_no_longer_than_the_request() -> None:
    server = AsyncServer(async_handlers=False)
    gate = asyncio.Event()

    async def wait(_sid: str) -> None:
        await gate.wait()

    server.on("wait", wait)
    async with serve(server) as served:
        async with served.connected() as client:
            await client.send('42["wait"]')
            await until(lambda: len(server._inbox) == 1)
            found = server.connection(client.sid)
            assert found is not None
            connection = weakref.ref(found)
            del found
        await until(lambda: len(server._inbox._gone) == 1)
        gate.set()
        await until(served.is_empty)
        await until(lambda: len(server._inbox) == 0)
        assert len(server._inbox._gone) == 0
        gc.collect()
        assert connection() is None
    assert server.metrics.handlers_stopped == 0
