"""A store that fails, hangs and breaks on command."""

import asyncio
from collections.abc import Sequence

from stockstream.errors import StoreUnavailableError
from stockstream.model import StockUpdate
from stockstream.storage.memory import MemoryQuoteStore
from tests.support.clock import ManualClock


class FlakyStore(MemoryQuoteStore):
    """A memory store whose `append` can be made to fail; it notes what it was asked for."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self._now = clock.monotonic
        #: Set for as long as `append` comes back at all.
        self.answers = asyncio.Event()
        self.answers.set()
        #: What `append` raises.
        self.error: Exception | None = None
        #: The batches that were tried, when (on the monotonic clock), and those that were stored.
        self.tried: list[list[StockUpdate]] = []
        self.tried_at: list[float] = []
        self.stored: list[list[StockUpdate]] = []

    def go_down(self) -> None:
        self.error = StoreUnavailableError("flaky", "down")

    def come_back(self) -> None:
        self.error = None

    async def append(self, updates: Sequence[StockUpdate]) -> None:
        self.tried.append(list(updates))
        self.tried_at.append(self._now())
        await self.answers.wait()
        if self.error is not None:
            raise self.error
        await super().append(updates)
        self.stored.append(list(updates))
