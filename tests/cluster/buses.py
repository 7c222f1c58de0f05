"""A running quote bus with short times, and what tests wait for."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from random import Random

from stockstream.clock import SystemClock
from stockstream.cluster.link import RedisLink
from stockstream.cluster.quote_bus import QuoteBus
from stockstream.cluster.quote_log import QuoteLog
from stockstream.model import Symbol
from stockstream.ports import Clock
from tests.cluster.quotes import Collector
from tests.support.processes import wait_until


@dataclass(frozen=True, slots=True)
class Listening:
    bus: QuoteBus
    got: Collector

    async def live(self, *symbols: Symbol) -> None:
        """Watch symbols and wait for their snapshots."""
        before = len(self.got.snapshots)
        for symbol in symbols:
            self.bus.watch(symbol)
        await wait_until(
            lambda: {s for s, _ in self.got.snapshots[before:]} >= set(symbols), "snapshots"
        )

    async def lose(self, losses: int = 1) -> None:
        """Wait until connections were lost, and one is there again."""
        await wait_until(lambda: self.bus.losses >= losses, "a lost connection")
        await wait_until(lambda: self.bus.hearing, "a new connection")


@asynccontextmanager
async def listening(
    link: RedisLink,
    *,
    node: str = "listener",
    clock: Clock | None = None,
    canary_interval: float = 0.1,
    deaf_after: float = 30.0,
    held_limit: int = 2**26,
) -> AsyncIterator[Listening]:
    """Run a bus for as long as the context lasts; it calls nothing deaf that is only slow."""
    collector = Collector()
    bus = QuoteBus(
        link,
        node=node,
        log=QuoteLog(link, node=node),
        receiver=collector,
        clock=clock or SystemClock(),
        random=Random(1),
        canary_interval=canary_interval,
        deaf_after=deaf_after,
        held_limit=held_limit,
    )
    task = asyncio.create_task(bus.run())
    try:
        yield Listening(bus, collector)
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
