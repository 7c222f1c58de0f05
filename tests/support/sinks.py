"""Where updates end up in tests: a sink and a recorder that note them, a store that can be gone."""

from collections.abc import Sequence

from stockstream.errors import StoreUnavailableError
from stockstream.model import Position, StockUpdate, Symbol
from stockstream.ports import Clock
from stockstream.storage.memory import MemoryQuoteStore


class RecordingSink:
    """A :class:`stockstream.ports.QuoteSink` that notes what it is given."""

    def __init__(self) -> None:
        self.published: list[StockUpdate] = []
        self.settled: list[StockUpdate] = []
        #: The monotonic time of receipt of each call.
        self.received: list[float] = []

    def publish(
        self, updates: Sequence[StockUpdate], received: float, encoded: Sequence[bytes] = ()
    ) -> None:
        self.published += updates
        self.received.append(received)

    def settle(self, update: StockUpdate) -> None:
        self.settled.append(update)

    def renew(self, update: StockUpdate) -> None:
        self.settled.append(update)

    def prices(self, symbol: Symbol) -> list[float]:
        """The published prices of a symbol."""
        return [update.price for update in self.published if update.symbol == symbol]


class UnreliableStore(MemoryQuoteStore):
    """A memory store that a test can take away; it notes what was touched."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.available = True
        self.touched: list[list[Symbol]] = []

    def _check(self) -> None:
        if not self.available:
            raise StoreUnavailableError("fake", "gone")

    async def get(self, symbol: Symbol) -> StockUpdate | None:
        self._check()
        return await super().get(symbol)

    async def touch(self, symbols: Sequence[Symbol]) -> None:
        self._check()
        self.touched.append(list(symbols))
        await super().touch(symbols)

    async def since(self, symbol: Symbol, position: Position) -> Sequence[StockUpdate] | None:
        self._check()
        return await super().since(symbol, position)

    async def ping(self) -> None:
        self._check()


class FakeRecorder:
    """A :class:`stockstream.ports.QuoteRecorder` that stores when it is flushed, and not before."""

    def __init__(self, store: MemoryQuoteStore) -> None:
        self._store = store
        self._pending: list[StockUpdate] = []
        #: Whether :meth:`flush` gets done in time.
        self.in_time = True

    def submit(self, updates: Sequence[StockUpdate]) -> None:
        self._pending += updates

    async def flush(self, within: float) -> bool:
        if self.in_time:
            pending, self._pending = self._pending, []
            await self._store.append(pending)
        return self.in_time
