"""What other programs see in Redis, and what they may do to it."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis

from stockstream.model import Position
from stockstream.storage.redis import RedisQuoteStore
from stockstream.storage.redis_client import open_redis
from tests.storage.quotes import AAPL, MSFT, START_MS, update, updates

VALUE = "stock:AAPL:current"
HISTORY = "stock:AAPL:timeseries"

#: Beyond what a loaded machine takes for a command; nothing here is about timeouts.
_AMPLE = 20.0


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[RedisQuoteStore]:
    store = RedisQuoteStore(open_redis(redis_url, timeout=_AMPLE), timeout=_AMPLE)
    yield store
    await store.aclose()


async def value_in(redis: Redis) -> Any:
    return json.loads(await redis.get(VALUE) or "null")


async def test_the_documented_keys_hold_the_documented_json(
    store: RedisQuoteStore, redis: Redis
) -> None:
    await store.append([update(1), update(2, snapshot=True)])

    members: Any = await redis.zrange(HISTORY, 0, -1, withscores=True)
    assert await value_in(redis) == {
        "symbol": "AAPL",
        "price": 174.0,
        "change": 0.2,
        "changePercent": 0.2,
        "volume": 2_000.0,
        "timestamp": START_MS + 2_000,
        "seq": 2,
        "epoch": "e1",
        "bid": 99.5,
    }
    assert [json.loads(member)["seq"] for member, _ in members] == [1, 2]
    assert [score for _, score in members] == [START_MS + 1_000, START_MS + 2_000]
    assert set(await redis.keys()) == {VALUE.encode(), HISTORY.encode()}


async def test_a_value_lives_300_seconds_and_a_history_a_week(
    store: RedisQuoteStore, redis: Redis
) -> None:
    await store.append([update(1)])

    assert 290 < await redis.ttl(VALUE) <= 300
    assert 604_790 < await redis.ttl(HISTORY) <= 604_800


async def test_touching_renews_the_value_alone(store: RedisQuoteStore, redis: Redis) -> None:
    await store.append([update(1)])
    await redis.expire(VALUE, 10)
    await redis.expire(HISTORY, 1_000)

    await store.touch([AAPL])

    assert 290 < await redis.ttl(VALUE) <= 300
    assert await redis.ttl(HISTORY) <= 1_000


async def test_the_scripts_survive_that_redis_forgets_them(
    store: RedisQuoteStore, redis: Redis
) -> None:
    await store.append([update(1)])
    await store.touch([AAPL])
    await redis.script_flush()

    await store.append([update(2)])
    await redis.script_flush()
    await store.touch([AAPL])

    assert await store.get(AAPL) == update(2)


@pytest.mark.parametrize(
    "foreign",
    [
        b"",
        b"no JSON",
        b"\xff\xfe",
        b"null",
        b"[1, 2]",
        b'{"seq": "7", "epoch": 5}',
        # What a program that follows the document alone writes.
        b'{"symbol":"AAPL","price":1,"change":0,"changePercent":0,"volume":0,"timestamp":1}',
        # Whole, but of another symbol.
        msgspec.json.encode(update(9, symbol=MSFT)),
    ],
)
async def test_what_does_not_decode_is_passed_over_and_counted(
    store: RedisQuoteStore, redis: Redis, foreign: bytes
) -> None:
    await store.append(updates(1, 3))
    await redis.zadd(HISTORY, {foreign: START_MS + 2_500})
    await redis.set(VALUE, foreign)

    assert await store.get(AAPL) is None
    assert store.undecodable == 1
    assert [held.seq for held in await store.newest(AAPL, 3)] == [3, 2, 1]
    assert store.undecodable > 1
    missed = await store.since(AAPL, Position(epoch="e1", seq=1))
    assert missed is not None
    assert [held.seq for held in missed] == [2, 3]

    await store.append(updates(3, 4))
    assert await store.get(AAPL) == update(4)
    assert [held.seq for held in await store.newest(AAPL, 9)] == [4, 3, 2, 1]


async def test_a_foreign_history_that_is_full_makes_room_for_ours(
    store: RedisQuoteStore, redis: Redis
) -> None:
    await redis.zadd(HISTORY, {f"foreign {n}": START_MS - n for n in range(1_500)})

    await store.append(updates(1, 2))

    assert [held.seq for held in await store.newest(AAPL, 9)] == [2, 1]
    assert await redis.zcard(HISTORY) == 1_000


async def test_a_key_of_another_type_is_replaced(store: RedisQuoteStore, redis: Redis) -> None:
    await redis.set(HISTORY, "text")
    await redis.rpush(VALUE, "list")

    await store.append([update(1)])

    assert await store.get(AAPL) == update(1)
    assert await store.newest(AAPL, 9) == [update(1)]


async def test_a_snapshot_mark_of_another_program_is_not_passed_on(
    store: RedisQuoteStore, redis: Redis
) -> None:
    await store.append([update(1)])
    marked = await value_in(redis) | {"snapshot": True}
    await redis.set(VALUE, json.dumps(marked))

    assert await store.get(AAPL) == update(1)


async def test_what_two_writers_append_at_once_is_held_once(redis_url: str) -> None:
    stores = [
        RedisQuoteStore(open_redis(redis_url, timeout=_AMPLE), timeout=_AMPLE) for _ in range(2)
    ]
    batches = [updates(first, first + 9) for first in range(1, 200, 10)]

    async def write(store: RedisQuoteStore) -> None:
        for batch in batches:
            await store.append(batch)

    await asyncio.gather(*(write(store) for store in stores))

    assert [held.seq for held in await stores[0].newest(AAPL, 999)] == list(range(200, 0, -1))
    assert await stores[1].get(AAPL) == update(200)
    for store in stores:
        await store.aclose()


async def test_readers_never_see_a_value_without_its_history(redis_url: str, redis: Redis) -> None:
    store = RedisQuoteStore(open_redis(redis_url, timeout=_AMPLE), timeout=_AMPLE)

    async def write() -> None:
        for seq in range(1, 201):
            await store.append([update(seq)])

    writing = asyncio.create_task(write())
    seen = set()
    while not writing.done():
        both: Any = redis.pipeline(transaction=True)
        value, newest = await both.get(VALUE).zrevrange(HISTORY, 0, 0).execute()
        if value is not None or newest:
            assert [value] == newest
            seen.add(value)
    await writing

    assert seen
    await store.aclose()
