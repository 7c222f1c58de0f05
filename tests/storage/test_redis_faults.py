"""Redis that hangs, dies and comes back: a real one, stopped and killed."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from random import Random

import pytest
from redis.asyncio import Redis

from stockstream.clock import SystemClock
from stockstream.core.backoff import Backoff
from stockstream.errors import StoreUnavailableError
from stockstream.model import Position
from stockstream.storage.redis import RedisQuoteStore
from stockstream.storage.redis_client import open_redis
from stockstream.storage.writer import WriteBehind
from tests.storage.quotes import AAPL, update, updates
from tests.support.ports import free_port
from tests.support.processes import wait_until
from tests.support.redis_server import RedisServer, running_redis

#: Seconds that a store waits for Redis here; long enough for a loaded machine to answer.
TIMEOUT = 1.0

Call = Callable[[RedisQuoteStore], Awaitable[object]]

EVERY_CALL: dict[str, Call] = {
    "append": lambda store: store.append(updates(1, 3)),
    "touch": lambda store: store.touch([AAPL]),
    "get": lambda store: store.get(AAPL),
    "newest": lambda store: store.newest(AAPL, 10),
    "since": lambda store: store.since(AAPL, Position(epoch="e1", seq=1)),
    "ping": lambda store: store.ping(),
}


@pytest.fixture(scope="module")
def own_redis() -> Iterator[RedisServer]:
    with running_redis() as server:
        yield server


@pytest.fixture
def server(own_redis: RedisServer) -> RedisServer:
    """A Redis that may be stopped and killed; a test leaves it running."""
    own_redis.flush()
    return own_redis


@asynccontextmanager
async def open_store(
    url: str, *, timeout: float = TIMEOUT, max_connections: int = 16
) -> AsyncIterator[RedisQuoteStore]:
    client = open_redis(url, timeout=timeout, max_connections=max_connections)
    store = RedisQuoteStore(client, timeout=timeout)
    yield store
    await store.aclose()


@asynccontextmanager
async def write_behind(store: RedisQuoteStore) -> AsyncIterator[WriteBehind]:
    quick = Backoff(initial=0.01, maximum=0.05)
    async with WriteBehind(store, clock=SystemClock(), random=Random(1), backoff=quick) as writer:
        yield writer


async def until_available(store: RedisQuoteStore) -> None:
    while True:
        try:
            return await store.ping()
        except StoreUnavailableError:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("call", EVERY_CALL.values(), ids=EVERY_CALL.keys())
@pytest.mark.parametrize("connected", [True, False], ids=["connected", "not connected"])
async def test_no_call_hangs_on_a_redis_that_does_not_answer(
    server: RedisServer, call: Call, *, connected: bool
) -> None:
    async with open_store(server.url, timeout=0.2) as store:
        if connected:
            await until_available(store)
        server.pause()
        try:
            with pytest.raises(StoreUnavailableError, match=r"^redis: "):
                await call(store)
        finally:
            server.resume()

        await until_available(store)


@pytest.mark.parametrize("call", EVERY_CALL.values(), ids=EVERY_CALL.keys())
async def test_every_call_says_that_there_is_no_redis(call: Call) -> None:
    async with open_store(f"redis://127.0.0.1:{free_port()}/0") as store:
        with pytest.raises(StoreUnavailableError, match=r"^redis: ") as refused:
            await call(store)

    assert refused.value.retryable


async def test_closing_does_not_hang_on_a_redis_that_does_not_answer(server: RedisServer) -> None:
    async with open_store(server.url) as store:
        await store.ping()
        server.pause()
        try:
            await store.aclose()
        finally:
            server.resume()


async def test_a_store_survives_that_redis_is_killed_and_started_again(
    server: RedisServer,
) -> None:
    async with open_store(server.url) as store:
        await store.append(updates(1, 3))
        server.kill()
        with pytest.raises(StoreUnavailableError):
            await store.get(AAPL)
        server.start()

        # It forgot everything: the data, the scripts and the connections.
        await store.append(updates(4, 5))

        assert await store.get(AAPL) == update(5)
        assert [held.seq for held in await store.newest(AAPL, 9)] == [5, 4]


async def test_connections_that_died_while_idle_are_not_noticed(server: RedisServer) -> None:
    async with open_store(server.url) as store:
        await asyncio.gather(*(store.get(AAPL) for _ in range(16)))
        server.kill()
        server.start()

        await asyncio.gather(*(store.get(AAPL) for _ in range(16)))


async def test_what_redis_did_after_the_caller_gave_up_is_not_done_twice(
    server: RedisServer,
) -> None:
    async with open_store(server.url, timeout=0.2) as store:
        await until_available(store)
        server.pause()
        try:
            with pytest.raises(StoreUnavailableError):
                await store.append(updates(1, 3))
        finally:
            # Now Redis finds the command in its socket and obeys.
            server.resume()
        await until_available(store)

        await store.append(updates(1, 5))

        assert [held.seq for held in await store.newest(AAPL, 9)] == [5, 4, 3, 2, 1]
        assert await store.get(AAPL) == update(5)


async def test_more_callers_than_connections_share_them(server: RedisServer) -> None:
    async with open_store(server.url, timeout=20, max_connections=2) as store:
        await store.append([update(1)])

        got = await asyncio.gather(*(store.get(AAPL) for _ in range(200)))

        assert got == [update(1)] * 200
        # Ours, and the one that asks.
        assert len(await store._client.client_list()) <= 2


@pytest.mark.parametrize("turns", range(1, 8))
async def test_callers_that_give_up_leave_their_connections_to_others(
    server: RedisServer, turns: int
) -> None:
    # A timeout that no test lives to see: the callers themselves give up.
    async with open_store(server.url, timeout=600, max_connections=2) as store:
        await store.append([update(1)])
        server.pause()
        try:
            callers = [asyncio.create_task(store.get(AAPL)) for _ in range(20)]
            for _ in range(turns):
                await asyncio.sleep(0)
            for caller in callers:
                caller.cancel()
            await asyncio.wait(callers)
            assert all(caller.cancelled() for caller in callers)
        finally:
            server.resume()

        assert await store.get(AAPL) == update(1)
        assert await store.get(AAPL) == update(1)


async def test_a_redis_that_refuses_to_write_is_unavailable() -> None:
    with running_redis("--maxmemory", "1", "--maxmemory-policy", "noeviction") as full:
        async with open_store(full.url) as store:
            with pytest.raises(StoreUnavailableError, match="maxmemory"):
                await store.append([update(1)])


async def test_a_wrong_password_is_told_without_telling_it() -> None:
    with running_redis() as server:
        async with Redis.from_url(server.url) as operator:
            await operator.config_set("requirepass", "correct")
        async with open_store(f"redis://:hunter2@127.0.0.1:{server.port}/0") as store:
            with pytest.raises(StoreUnavailableError, match="password") as refused:
                await store.ping()

    assert "hunter2" not in str(refused.value)


async def test_write_behind_catches_up_after_redis_hung(server: RedisServer) -> None:
    async with open_store(server.url, timeout=0.2) as store, write_behind(store) as writer:
        writer.submit(updates(1, 10))
        await wait_until(lambda: writer.state.stored == 10, "the first updates")
        server.pause()
        try:
            for seq in range(11, 500):
                writer.submit([update(seq)])
            await wait_until(lambda: not writer.state.healthy, "the outage to show")
        finally:
            server.resume()

        await wait_until(lambda: writer.state.pending == 0, "the backlog")
        assert writer.state.healthy
        assert writer.state.dropped == 0
        assert [held.seq for held in await store.newest(AAPL, 999)] == list(range(499, 0, -1))


async def test_write_behind_catches_up_after_redis_was_killed(server: RedisServer) -> None:
    async with open_store(server.url) as store, write_behind(store) as writer:
        writer.submit(updates(1, 10))
        await wait_until(lambda: writer.state.stored == 10, "the first updates")
        server.kill()
        try:
            writer.submit(updates(11, 700))
            await wait_until(lambda: not writer.state.healthy, "the outage to show")
        finally:
            server.start()

        await wait_until(lambda: writer.state.pending == 0, "the backlog")
        assert [held.seq for held in await store.newest(AAPL, 999)] == list(range(700, 10, -1))
        assert await store.get(AAPL) == update(700)


async def test_write_behind_ends_in_time_though_redis_hangs(server: RedisServer) -> None:
    async with open_store(server.url) as store, write_behind(store) as writer:
        await store.ping()
        server.pause()
        try:
            writer.submit(updates(1, 10))

            assert await writer.aclose(within=0.05) == 10
        finally:
            server.resume()
