"""Quotes in memory: for one process that needs nobody else, and as the measure of the others."""

from collections import OrderedDict, deque
from collections.abc import Sequence
from itertools import islice, takewhile

from stockstream.model import Position, StockUpdate, Symbol
from stockstream.ports import Clock
from stockstream.storage.history import (
    HISTORY_LIMIT,
    VALUE_TTL,
    as_stored,
    updates_after,
    updates_beyond,
)


class _Series:
    """What is held of one symbol; its last update is also its current value."""

    __slots__ = ("fresh_until", "updates")

    def __init__(self) -> None:
        #: In the order of their being appended, which is the order of their times.
        self.updates: deque[StockUpdate] = deque()
        #: When the current value expires, on the monotonic clock.
        self.fresh_until = 0.0

    def holds(self, update: StockUpdate) -> bool:
        """Return whether the update, or a later one of its epoch, was appended before."""
        if self.updates and self.updates[-1].epoch == update.epoch:
            return self.updates[-1].seq >= update.seq
        later = takewhile(lambda held: held.timestamp >= update.timestamp, reversed(self.updates))
        return any(held.epoch == update.epoch and held.seq >= update.seq for held in later)

    def append(self, update: StockUpdate) -> None:
        """Append an update that is not held."""
        last = self.updates[-1] if self.updates else None
        if last and last.epoch != update.epoch and last.timestamp >= update.timestamp:
            # A sequence that starts anew at an earlier time (a recording played again) replaces
            # what was said about the time from then on: nothing could order the two.
            self.updates = deque(
                held
                for held in self.updates
                if held.epoch == update.epoch or held.timestamp < update.timestamp
            )
        self.updates.append(update)


class MemoryQuoteStore:
    """Implements :class:`stockstream.ports.QuoteStore` within the process.

    Symbols are what strangers ask for, so their number and the number of all updates are bounded:
    the symbols that nobody has written, touched or read for the longest time give way.

    Args:
        clock: what the expiry of current values goes by.
        max_symbols: most symbols that are held.
        max_updates: most updates that are held of all symbols together; one takes about 360 bytes.
    """

    def __init__(
        self, clock: Clock, *, max_symbols: int = 10_000, max_updates: int = 500_000
    ) -> None:
        self._clock = clock
        self._max_symbols = max_symbols
        self._max_updates = max_updates
        # The least recently used symbol first.
        self._series: OrderedDict[Symbol, _Series] = OrderedDict()
        self._held = 0
        #: Symbols that were forgotten because there were too many symbols or updates.
        self.evicted_symbols = 0
        #: Updates that were forgotten for the same reason, those of forgotten symbols included.
        self.evicted_updates = 0

    @property
    def symbols(self) -> int:
        """How many symbols are held."""
        return len(self._series)

    @property
    def updates(self) -> int:
        """How many updates are held, of all symbols together."""
        return self._held

    async def append(self, updates: Sequence[StockUpdate]) -> None:
        """See :meth:`stockstream.ports.QuoteStore.append`."""
        fresh_until = self._clock.monotonic() + VALUE_TTL
        for update in updates:
            self._append(as_stored(update), fresh_until)

    async def touch(self, symbols: Sequence[Symbol]) -> None:
        """See :meth:`stockstream.ports.QuoteCache.touch`."""
        now = self._clock.monotonic()
        for symbol in symbols:
            series = self._used(symbol)
            if series is not None and series.fresh_until > now:
                series.fresh_until = now + VALUE_TTL

    async def get(self, symbol: Symbol) -> StockUpdate | None:
        """See :meth:`stockstream.ports.QuoteCache.get`."""
        series = self._used(symbol)
        if series is None or series.fresh_until <= self._clock.monotonic():
            return None
        return series.updates[-1]

    async def newest(self, symbol: Symbol, limit: int) -> Sequence[StockUpdate]:
        """See :meth:`stockstream.ports.QuoteHistory.newest`."""
        series = self._used(symbol)
        return list(islice(reversed(series.updates), max(limit, 0))) if series else []

    async def since(self, symbol: Symbol, position: Position) -> Sequence[StockUpdate] | None:
        """See :meth:`stockstream.ports.QuoteHistory.since`."""
        series = self._used(symbol)
        return updates_after(reversed(series.updates), position) if series else None

    async def after(self, symbol: Symbol, offset: int) -> Sequence[StockUpdate] | None:
        """See :meth:`stockstream.ports.QuoteHistory.after`."""
        series = self._used(symbol)
        return updates_beyond(reversed(series.updates), offset) if series else None

    async def ping(self) -> None:
        """Return at once: memory is always there."""

    async def aclose(self) -> None:
        """Forget everything."""
        self._series.clear()
        self._held = 0

    def _used(self, symbol: Symbol) -> _Series | None:
        series = self._series.get(symbol)
        if series is not None:
            self._series.move_to_end(symbol)
        return series

    def _append(self, update: StockUpdate, fresh_until: float) -> None:
        series = self._used(update.symbol)
        if series is None:
            series = self._series[update.symbol] = _Series()
        if series.holds(update):
            return
        before = len(series.updates)
        series.append(update)
        if len(series.updates) > HISTORY_LIMIT:
            series.updates.popleft()
        series.fresh_until = fresh_until
        self._held += len(series.updates) - before
        self._make_room()

    def _make_room(self) -> None:
        while len(self._series) > self._max_symbols:
            _, series = self._series.popitem(last=False)
            self.evicted_symbols += 1
            self._forget(len(series.updates))
        # Bit by bit, so that under even load each symbol keeps its share; a symbol is forgotten
        # with its last update.
        while self._held > self._max_updates:
            symbol, series = next(iter(self._series.items()))
            series.updates.popleft()
            self._forget(1)
            if not series.updates:
                del self._series[symbol]
                self.evicted_symbols += 1

    def _forget(self, updates: int) -> None:
        self._held -= updates
        self.evicted_updates += updates
