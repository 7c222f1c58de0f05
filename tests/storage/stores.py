"""The stores that the contract suite runs against, each with time that passes at will."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from redis.asyncio import Redis

from stockstream.ports import QuoteStore
from stockstream.storage.memory import MemoryQuoteStore
from stockstream.storage.redis import RedisQuoteStore
from stockstream.storage.redis_client import open_redis
from tests.support.clock import ManualClock


@dataclass(frozen=True, kw_only=True, slots=True)
class StoreUnderTest:
    """A store, and the means to let its time pass."""

    store: QuoteStore
    #: Lets that many seconds pass for the store.
    pass_time: Callable[[float], Awaitable[None]]


@asynccontextmanager
async def memory_store() -> AsyncIterator[StoreUnderTest]:
    clock = ManualClock()
    store = MemoryQuoteStore(clock)
    yield StoreUnderTest(store=store, pass_time=clock.advance)
    await store.aclose()


@asynccontextmanager
async def redis_store(url: str) -> AsyncIterator[StoreUnderTest]:
    client = open_redis(url, timeout=10)
    store = RedisQuoteStore(client, timeout=10)

    async def pass_time(seconds: float) -> None:
        await shorten_lives(client, seconds)

    yield StoreUnderTest(store=store, pass_time=pass_time)
    await store.aclose()


async def shorten_lives(client: Redis, seconds: float) -> None:
    """Take that many seconds from the life of every key, as if they had passed."""
    async for key in client.scan_iter():
        left_ms = await client.pttl(key)
        if left_ms >= 0:
            # An expiry in the past removes the key.
            await client.pexpire(key, left_ms - int(seconds * 1000))
