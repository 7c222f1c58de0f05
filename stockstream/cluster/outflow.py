"""What is told to Redis: whatever waits goes when it can, and is tried again when it can't."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

from stockstream.core.backoff import Backoff
from stockstream.errors import StoreUnavailableError
from stockstream.ports import Clock


async def keep_sending(
    wake: asyncio.Event,
    send: Callable[[], Awaitable[bool]],
    failed: Callable[[StoreUnavailableError], None],
    *,
    backoff: Backoff,
    clock: Clock,
    random: Random,
) -> None:
    """Send whenever something waits, until cancelled.

    Args:
        wake: is set when there is something to send, and cleared here.
        send: sends some of it; returns whether there is more. What it could not send still waits.
        failed: called when Redis was out of reach; it is tried again after a pause.
        backoff: how long that is, by the failures since something was sent.
        clock: times it.
        random: spreads it.
    """
    failures = 0
    while True:
        await wake.wait()
        wake.clear()
        try:
            more = True
            while more:
                more = await send()
                failures = 0
        except StoreUnavailableError as error:
            failures += 1
            failed(error)
            await clock.sleep(backoff.delay(failures, random))
            wake.set()
