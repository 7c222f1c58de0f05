"""A symbol that is wanted now: what is known of it, and who waits for that."""

import asyncio

from stockstream.errors import PermanentProviderError
from stockstream.model import StockUpdate
from stockstream.model.topics import QuoteFailure


class LiveSymbol:
    """What is known of a symbol from its first client to its last."""

    __slots__ = ("_waiters", "failure", "last", "settled")

    def __init__(self) -> None:
        #: The last update of it.
        self.last: StockUpdate | None = None
        #: Whether ``last`` is true now: confirmed, or young enough, since it is wanted.
        self.settled = False
        #: What went wrong last; None once a quote was believed.
        self.failure: QuoteFailure | None = None
        self._waiters: set[asyncio.Future[None]] = set()

    @property
    def hopeless(self) -> bool:
        """Whether the provider said that there will never be a price."""
        return self.failure is not None and self.failure.code == PermanentProviderError.code

    def settle(self, update: StockUpdate) -> bool:
        """Take over what is true now; returns whether it is the first thing that is known."""
        self.last = update
        if self.settled:
            return False
        self.settled = True
        self.wake()
        return True

    async def wait(self, within: float) -> None:
        """Return when the price is known, will never be, or after ``within`` seconds."""
        if self.settled or self.hopeless:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            await asyncio.wait((waiter,), timeout=within)
        finally:
            self._waiters.discard(waiter)

    def wake(self) -> None:
        """Let those who wait look again."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()
