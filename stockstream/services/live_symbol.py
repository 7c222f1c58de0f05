"""A symbol that streams now: what is known of it, and who waits for that."""

import asyncio

from stockstream.core.symbol_stream import SymbolStream
from stockstream.errors import PermanentProviderError
from stockstream.model.topics import QuoteFailure


class LiveSymbol:
    """State of a stream from its first client to its last."""

    __slots__ = ("_waiters", "failure", "seeded", "settled", "state")

    def __init__(self, state: SymbolStream) -> None:
        self.state = state
        #: Whether the store was asked what was emitted last; a quote that came before the answer
        #: would be taken for news.
        self.seeded = False
        #: Whether ``state.last`` is true now: confirmed, or young enough, since the stream began.
        self.settled = False
        #: What went wrong last; None once a quote was believed.
        self.failure: QuoteFailure | None = None
        self._waiters: set[asyncio.Future[None]] = set()

    @property
    def hopeless(self) -> bool:
        """Whether the provider said that there will never be a price."""
        return self.failure is not None and self.failure.code == PermanentProviderError.code

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
