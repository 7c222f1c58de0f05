"""The symbols that this node's clients want, and what is known of each."""

import asyncio
from collections.abc import Callable, Mapping

from stockstream.clock import wait_until
from stockstream.core.demand import Demand
from stockstream.errors import PermanentProviderError
from stockstream.model import StockUpdate, Symbol
from stockstream.ports import Clock
from stockstream.services.live_symbol import LiveSymbol


class WantedSymbols:
    """Counts demand; the first client of a symbol begins something, the last one ends it later."""

    def __init__(
        self,
        *,
        linger: float,
        limit: int,
        clock: Clock,
        on_first: Callable[[Symbol], None],
        on_last: Callable[[Symbol], None],
    ) -> None:
        """Begin without any.

        Args:
            linger: seconds that a symbol stays after its last client left.
            limit: symbols at once, at most.
            clock: the time.
            on_first: called when a symbol is wanted; :attr:`live` has it by then.
            on_last: called when it no longer is; :attr:`live` no longer has it by then.
        """
        self._demand = Demand(linger, limit)
        self._clock = clock
        self._on_first = on_first
        self._on_last = on_last
        #: Set when the last client left while no other symbol's end was near.
        self._left = asyncio.Event()
        #: What is known of each symbol, those that linger included.
        self.live: dict[Symbol, LiveSymbol] = {}

    @property
    def counts(self) -> Mapping[Symbol, int]:
        """How many want each symbol; 0 for those that linger."""
        return self._demand.counts

    def acquire(self, symbol: Symbol) -> None:
        """Want a symbol; pairs with one :meth:`release`.

        Raises:
            SubscriptionLimitError: there are as many as there may be; there is nothing to release.
        """
        if self._demand.acquire(symbol):
            for unwanted in self._demand.make_room():
                self._end(unwanted)
            self.live[symbol] = LiveSymbol()
            self._on_first(symbol)

    def release(self, symbol: Symbol) -> None:
        """Want it no more."""
        idle = self._demand.next_end() is None
        self._demand.release(symbol, self._clock.monotonic())
        if idle and self._demand.next_end() is not None:
            self._left.set()

    def snapshot(self, symbol: Symbol) -> StockUpdate | None:
        """Return the state of a symbol, or None where it is not known yet."""
        live = self.live.get(symbol)
        return live.last if live is not None and live.settled else None

    async def current(self, symbol: Symbol, within: float) -> StockUpdate | None:
        """Return the state of a symbol that is wanted, waiting for its first price if need be.

        Returns None where there is none ``within`` so many seconds. Cancelling is safe.

        Raises:
            PermanentProviderError: the provider says that there will never be one.
        """
        live = self.live[symbol]
        await live.wait(within)
        if live.settled:
            return live.last
        if live.failure is not None and live.hopeless:
            raise PermanentProviderError("provider", live.failure.error, symbols=[symbol])
        return None

    def active(self) -> dict[str, int]:
        """Return how many want each symbol, without those that linger."""
        return {symbol: count for symbol, count in self.counts.items() if count}

    def status(self) -> dict[str, bool]:
        """Return whether each symbol's state is known and nothing is wrong with it."""
        return {s: live.settled and live.failure is None for s, live in self.live.items()}

    async def run(self) -> None:
        """End what nobody came back for in time, until cancelled."""
        while True:
            self._left.clear()
            for symbol in self._demand.expire(self._clock.monotonic()):
                self._end(symbol)
            end = self._demand.next_end()
            if end is None:
                await self._left.wait()
            else:
                await wait_until(self._clock, end, self._left)

    def _end(self, symbol: Symbol) -> None:
        self.live.pop(symbol).wake()
        self._on_last(symbol)
