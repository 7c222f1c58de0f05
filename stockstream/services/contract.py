"""What the doors need from whoever streams: one node alone, or one of many."""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from stockstream.model import Position, StockUpdate, Symbol
from stockstream.services.producing import QuoteProducer


class Streaming(Protocol):
    """Demand in, numbered price changes out, to a :class:`stockstream.ports.QuoteSink`."""

    @property
    def producer(self) -> QuoteProducer:
        """What asks the provider, for the symbols that this node streams."""
        ...

    @property
    def offset(self) -> int:
        """Place in the one order of all symbols up to which everything was sent to the sink."""
        ...

    def acquire(self, symbol: Symbol) -> None:
        """Want a symbol (documented ``subscribeToStock``); pairs with one :meth:`release`.

        Raises:
            SubscriptionLimitError: as many symbols stream as may; there is nothing to release.
        """
        ...

    def release(self, symbol: Symbol) -> None:
        """Want it no more; its stream ends when nobody came back in time."""
        ...

    def snapshot(self, symbol: Symbol) -> StockUpdate | None:
        """Return the state of a wanted symbol, or None where it is not known yet."""
        ...

    async def current(self, symbol: Symbol, within: float) -> StockUpdate | None:
        """See :meth:`stockstream.services.wanted.WantedSymbols.current`."""
        ...

    async def ready(self, symbols: Collection[Symbol], offset: int) -> bool:
        """Wait until all that is emitted of wanted symbols reaches the sink.

        Args:
            symbols: which ones.
            offset: of an update that a client has; it was sent to the sink by then.

        Returns:
            False where that does not come about in time, or there is no such offset.
        """
        ...

    async def missed(self, symbol: Symbol, position: Position) -> Sequence[StockUpdate] | None:
        """Return every update after ``position`` in order, or None where there would be a gap.

        What was sent to the sink before the call is in it.

        Raises:
            StoreUnavailableError: the store can't be reached.
        """
        ...

    def remembers(self, symbol: Symbol) -> bool:
        """Return whether a symbol's sequence goes on where it stopped."""
        ...

    async def beyond(
        self, offsets: Mapping[Symbol, int]
    ) -> Mapping[Symbol, Sequence[StockUpdate] | None]:
        """Return every update of wanted symbols after an offset each; None where a gap is possible.

        What was sent to the sink before the call is in it.

        Raises:
            StoreUnavailableError: the store can't be reached.
        """
        ...

    async def history(self, symbol: Symbol, limit: int) -> Sequence[StockUpdate]:
        """Return at most ``limit`` updates, the newest first (documented ``getStockHistory``).

        Raises:
            StoreUnavailableError: the store can't be reached.
        """
        ...

    def get_active_subscriptions(self) -> dict[str, int]:
        """Return how many want each symbol on this node (documented, section 4.1)."""
        ...

    def get_streaming_status(self) -> dict[str, bool]:
        """Return whether each wanted symbol streams: its state is known and nothing is wrong."""
        ...

    async def run(self) -> None:
        """Stream until cancelled."""
        ...

    async def hand_over(self) -> None:
        """Let other nodes stream instead; clients of this node are served for a while yet."""
        ...
