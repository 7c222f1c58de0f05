"""What tests of the event bus have in common."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random

from stockstream.core.backoff import Backoff
from stockstream.model.event import Topic
from stockstream.services.event_bus import EventBus
from stockstream.services.event_subscription import Subscription
from tests.support.clock import ManualClock

NUMBERS = Topic[int]("numbers")
WORDS = Topic[str]("words")

#: Waits of 1, 2, 4, … seconds.
WAITS = Backoff(initial=1, maximum=60, jitter=0)


class Hold:
    """A handler that takes an event and keeps it until it is let go."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.let_go = asyncio.Event()

    async def __call__(self, _: object) -> None:
        self.entered.set()
        await self.let_go.wait()


@asynccontextmanager
async def open_bus(clock: ManualClock, *, history_size: int = 1000) -> AsyncIterator[EventBus]:
    """Open a bus; what tests leave undelivered is given up."""
    bus = EventBus(clock=clock, random=Random(1), history_size=history_size)
    try:
        yield bus
    finally:
        closing = asyncio.create_task(bus.aclose(1))
        while not closing.done():
            await clock.advance(1)
        await closing


async def until(condition: Callable[[], bool]) -> None:
    """Let others run until something is so; the test's own timeout is the limit."""
    while not condition():
        await asyncio.sleep(0)


async def settled(*subscriptions: Subscription) -> None:
    """Wait until nothing is pending."""
    await until(lambda: not any(each.pending for each in subscriptions))
