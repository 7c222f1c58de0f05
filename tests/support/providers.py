"""Providers that answer what a test tells them, when it lets them."""

import asyncio
from collections.abc import AsyncGenerator, Collection, Sequence

from stockstream.errors import PermanentProviderError, ProviderError, TemporaryProviderError
from stockstream.model import Quote, Symbol
from stockstream.provider_ports import BarSource, PollLimits, QuoteBatch, QuoteFeed, QuotePoller

NO_LIMITS = PollLimits(max_concurrent=100)


def down(retry_after: float | None = None) -> TemporaryProviderError:
    """What a provider that is out of order for now says."""
    return TemporaryProviderError("fake", "out of order", retry_after=retry_after)


def unknown(symbol: Symbol) -> PermanentProviderError:
    """What a provider says about a symbol that it does not know."""
    return PermanentProviderError("fake", "no such symbol", symbols=[symbol])


class FakePoller:
    """A :class:`~stockstream.provider_ports.QuotePoller`; what has no price has no quote yet."""

    def __init__(self, limits: PollLimits = NO_LIMITS) -> None:
        self.limits = limits
        #: What it answers: quotes, failures of single symbols, the failure of whole requests.
        self.prices: dict[Symbol, float] = {}
        self.errors: dict[Symbol, ProviderError] = {}
        self.failure: Exception | None = None
        #: A request that holds one of these is not answered before the symbol is taken out of it.
        self.hanging: set[Symbol] = set()
        #: Requests in the order of their coming, and those that were given up by the caller.
        self.requests: list[list[Symbol]] = []
        self.cancelled: list[list[Symbol]] = []
        #: Requests under way, and the most of them at once.
        self.busy = 0
        self.busiest = 0
        #: Symbols asked for while an earlier request for them was under way.
        self.overlaps: list[Symbol] = []
        self._asked: list[Symbol] = []

    async def fetch_quotes(self, symbols: Sequence[Symbol]) -> QuoteBatch:
        self.requests.append(list(symbols))
        self.overlaps += [symbol for symbol in symbols if symbol in self._asked]
        self._asked += symbols
        self.busy += 1
        self.busiest = max(self.busiest, self.busy)
        try:
            while not self.hanging.isdisjoint(symbols):
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.cancelled.append(list(symbols))
            raise
        finally:
            self.busy -= 1
            for symbol in symbols:
                self._asked.remove(symbol)
        if self.failure is not None:
            raise self.failure
        return self._answer(symbols)

    def _answer(self, symbols: Sequence[Symbol]) -> QuoteBatch:
        return QuoteBatch(
            quotes=[Quote(symbol=s, price=self.prices[s]) for s in symbols if s in self.prices],
            errors={s: self.errors[s] for s in symbols if s in self.errors},
        )

    def count(self, symbol: Symbol) -> int:
        """How often a symbol was asked for."""
        return sum(symbol in request for request in self.requests)


class FakeFeed:
    """A :class:`~stockstream.provider_ports.QuoteFeed` that yields whatever a test pushes."""

    def __init__(self, symbol_limit: int | None = None) -> None:
        self.symbol_limit = symbol_limit
        #: Each set of symbols that it was told to watch.
        self.watched: list[frozenset[Symbol]] = []
        #: What :meth:`watch` raises.
        self.watch_failure: Exception | None = None
        #: How often it was connected, and how many connections are open.
        self.connections = 0
        self.open = 0
        self._coming: asyncio.Queue[Sequence[Quote] | Exception | None] = asyncio.Queue()

    async def watch(self, symbols: Collection[Symbol]) -> None:
        self.watched.append(frozenset(symbols))
        await asyncio.sleep(0)
        if self.watch_failure is not None:
            raise self.watch_failure

    async def stream(self) -> AsyncGenerator[Sequence[Quote], None]:
        self.connections += 1
        self.open += 1
        try:
            while (item := await self._coming.get()) is not None:
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            self.open -= 1

    def push(self, symbol: Symbol, price: float, timestamp: int | None = None) -> None:
        """Have a quote come in."""
        self._coming.put_nowait([Quote(symbol=symbol, price=price, timestamp=timestamp)])

    def fail(self, error: Exception) -> None:
        """Have the connection end with an error."""
        self._coming.put_nowait(error)

    def end(self) -> None:
        """Have it end for good: nothing will ever come again."""
        self._coming.put_nowait(None)


class FakeProvider:
    """A :class:`stockstream.provider_ports.QuoteProvider` of whatever parts it is given."""

    name = "fake"

    def __init__(
        self,
        *,
        poller: QuotePoller | None = None,
        feed: QuoteFeed | None = None,
        bars: BarSource | None = None,
    ) -> None:
        self.poller = poller
        self.feed = feed
        self.bars = bars
        self.closed = False

    async def aclose(self) -> None:
        self.closed = True
