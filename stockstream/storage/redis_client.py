"""How this house talks to Redis: bounded connections, no call without an end, one kind of error."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from stockstream.errors import StoreUnavailableError


def open_redis(url: str, *, timeout: float = 1.0, max_connections: int = 16) -> Redis:
    """Return a client that connects when it is first used, and again after every loss.

    Its commands belong into :func:`redis_call`, which alone limits how long an answer may take.

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://``.
        timeout: most seconds for connecting, and for waiting until a connection is free.
        max_connections: most connections; who needs another one waits for it.

    Raises:
        ValueError: the address is none of Redis.
    """
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=max_connections,
        timeout=timeout,
        # With a timeout the client writes inside asyncio.wait_for, which in Python 3.11 may miss a
        # cancellation: measured, a caller then only ends when the timeout does.
        socket_timeout=None,
        socket_connect_timeout=timeout,
        retry=retry_once(),
    )
    return Redis.from_pool(pool)


def retry_once() -> Retry:
    """Return when a command is tried again: once and at once, where its idle connection had died.

    A timeout is not tried again: whoever did not answer for so long is down, and the caller has
    waited enough.
    """
    # That a connection is closed already is a RuntimeError of uvloop's.
    errors: Any = (RedisConnectionError, RuntimeError)
    return Retry(NoBackoff(), retries=1, supported_errors=errors)


@asynccontextmanager
async def redis_call(store: str, *, within: float) -> AsyncIterator[None]:
    """Give the enclosed commands ``within`` seconds in all, and every failure the same name.

    One command may need many steps: a free connection, connecting, the handshake, a second try.

    Raises:
        StoreUnavailableError: Redis failed, refused, or took too long.
    """
    try:
        async with asyncio.timeout(within):
            yield
    except TimeoutError as error:
        raise StoreUnavailableError(store, f"no answer within {within} s") from error
    except (RedisError, OSError, RuntimeError) as error:
        raise StoreUnavailableError(store, str(error) or type(error).__name__) from error
