"""What tests of the streaming service have in common."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from random import Random

from stockstream.model import Symbol
from stockstream.model.derived import Derived
from stockstream.model.reference import Reference
from stockstream.model.topics import (
    STOCK_UPDATE_ERROR,
    STOCK_UPDATED,
    STREAM_STARTED,
    STREAM_STOPPED,
    QuoteFailure,
)
from stockstream.services.bars import BarService
from stockstream.services.deriving import Derivations
from stockstream.services.event_bus import EventBus
from stockstream.services.streaming import StreamingService, StreamingSettings
from tests.support.clock import ManualClock
from tests.support.providers import FakeFeed, FakePoller, FakeProvider
from tests.support.sinks import FakeRecorder, RecordingSink, UnreliableStore

A, B, C, D = (Symbol(name) for name in "ABCD")


class Streaming:
    """The service among fakes of its ports, and a real bus without subscribers."""

    def __init__(
        self,
        *,
        poller: FakePoller | None = None,
        feed: FakeFeed | None = None,
        clock: ManualClock | None = None,
        store: UnreliableStore | None = None,
        linger: float = 5.0,
        derived: Mapping[Symbol, Derived] | None = None,
        reference: Mapping[Symbol, Reference] | None = None,
        limit: int = 10_000,
    ) -> None:
        self.clock = clock or ManualClock()
        self.poller = poller or FakePoller()
        self.feed = feed
        self.store = store or UnreliableStore(self.clock)
        self.recorder = FakeRecorder(self.store)
        self.sink = RecordingSink()
        self.derived = Derivations(derived or {}, self.sink)
        self.bus = EventBus(clock=self.clock, random=Random(1))
        self.bars = BarService(None, self.clock)
        self.service = StreamingService(
            provider=FakeProvider(poller=None if feed and not poller else self.poller, feed=feed),
            store=self.store,
            recorder=self.recorder,
            sink=self.derived,
            bus=self.bus,
            bars=self.bars,
            clock=self.clock,
            random=Random(1),
            settings=StreamingSettings(
                subscription_timeout=linger, seed_timeout=0.05, max_symbols=limit
            ),
            derived=self.derived,
            reference=reference,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run it until the block ends; it then leaves nothing behind."""
        task = asyncio.create_task(self.service.run())
        await self.clock.advance(0)
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait((task,))
        assert task.cancelled()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    async def say(self, symbol: Symbol, *prices: float) -> None:
        """Have the provider name prices, one a second."""
        for price in prices:
            self.poller.prices[symbol] = price
            await self.clock.advance(1)

    async def want(self, *symbols: Symbol) -> None:
        """Have a client of each symbol come, and let that take effect."""
        for symbol in symbols:
            self.service.acquire(symbol)
        await self.clock.advance(0)

    @property
    def failures(self) -> list[QuoteFailure]:
        """What was reported on the bus, the oldest first."""
        return [event.data for event in reversed(self.bus.history(STOCK_UPDATE_ERROR))]

    @property
    def started(self) -> list[Symbol]:
        return [event.data for event in reversed(self.bus.history(STREAM_STARTED))]

    @property
    def stopped(self) -> list[Symbol]:
        return [event.data for event in reversed(self.bus.history(STREAM_STOPPED))]

    @property
    def updates_on_the_bus(self) -> list[float]:
        return [event.data.price for event in reversed(self.bus.history(STOCK_UPDATED))]
