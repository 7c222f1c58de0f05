"""Derived symbols: wants their inputs while they are wanted, and computes their quotes.

Whoever produces a derived symbol wants its inputs as a client does, wherever those are produced,
and hears what clients hear of them.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from heapq import heappop, heappush
from itertools import groupby
from typing import Protocol

import structlog

from stockstream.core.derivation import REASONS, Derivation
from stockstream.errors import SubscriptionLimitError
from stockstream.model import Bar, Quote, StockUpdate, Symbol, Timeframe
from stockstream.model.derived import Derived
from stockstream.ports import QuoteSink
from stockstream.provider_ports import BarSource

log = structlog.get_logger(__name__)

OnQuotes = Callable[[Sequence[Quote]], None]


class Streams(Protocol):
    """Where inputs are wanted; the streaming service is one."""

    def acquire(self, symbol: Symbol) -> None:
        """Want a symbol."""
        ...

    def release(self, symbol: Symbol) -> None:
        """Want it no more."""
        ...

    def snapshot(self, symbol: Symbol) -> StockUpdate | None:
        """Return its state, or None where it is not known yet."""
        ...


class _Running:
    """A derived symbol that is wanted."""

    __slots__ = ("acquired", "derivation", "on_quotes", "pending")

    def __init__(self, derivation: Derivation, on_quotes: OnQuotes) -> None:
        self.derivation = derivation
        self.on_quotes = on_quotes
        self.acquired: list[Symbol] = []
        #: Updates of its inputs that it has not taken in yet.
        self.pending: list[StockUpdate] = []


class Derivations:
    """All derived symbols; a :class:`stockstream.ports.QuoteSink` on the way of their inputs.

    Clients get an update before anything is computed of it. Updates of one time that come together
    count as one moment: what is made of several of them has one price then, also where it is made
    of derived symbols itself. Memory: the windows of the derived symbols that are wanted.
    """

    def __init__(self, definitions: Mapping[Symbol, Derived], sink: QuoteSink) -> None:
        """Begin with none that is wanted.

        Args:
            definitions: what is made of others comes after them.
            sink: where updates go on to.
        """
        self._definitions = definitions
        # Inputs first: by the time that a symbol's turn comes, those that it is made of had theirs.
        self._ranks = {symbol: rank for rank, symbol in enumerate(definitions)}
        self._symbols = list(definitions)
        self._sink = sink
        self._streams: Streams
        self._running: dict[Symbol, _Running] = {}
        self._listeners: defaultdict[Symbol, list[Symbol]] = defaultdict(list)
        self._computing = False
        #: Updates that came of what is being computed.
        self._following: list[StockUpdate] = []
        #: Prices computed.
        self.computed = 0
        self._unused = Counter(dict.fromkeys(REASONS, 0))

    def __contains__(self, symbol: object) -> bool:
        return symbol in self._definitions

    @property
    def active(self) -> int:
        """Derived symbols that are computed now."""
        return len(self._running)

    @property
    def unused(self) -> Mapping[str, int]:
        """Updates that counted for less than they should: see :attr:`Derivation.unused`."""
        total = self._unused.copy()
        for running in self._running.values():
            total.update(running.derivation.unused)
        return total

    def attach(self, streams: Streams) -> None:
        """Say where inputs are to be wanted; before anything begins."""
        self._streams = streams

    def begin(self, symbol: Symbol, on_quotes: OnQuotes) -> None:
        """Want the inputs of a derived symbol, and compute its quotes from now on.

        Args:
            symbol: one of the definitions.
            on_quotes: called with each price, also within this call where all inputs are known.
        """
        running = _Running(Derivation(symbol, self._definitions[symbol]), on_quotes)
        self._running[symbol] = running
        self._want_inputs(symbol, running)

    def end(self, symbol: Symbol) -> None:
        """Compute it no more, and want its inputs no more; nothing where it was not begun."""
        running = self._running.pop(symbol, None)
        if running is None:
            return
        self._unused.update(running.derivation.unused)
        for wanted in running.acquired:
            self._listeners[wanted].remove(symbol)
            if not self._listeners[wanted]:
                del self._listeners[wanted]
            self._streams.release(wanted)

    def retry(self) -> None:
        """Want the inputs that could not be had before."""
        for symbol, running in list(self._running.items()):
            if len(running.acquired) < len(running.derivation.inputs):
                self._want_inputs(symbol, running)

    def publish(
        self, updates: Sequence[StockUpdate], received: float, encoded: Sequence[bytes] = ()
    ) -> None:
        """See :meth:`stockstream.ports.QuoteSink.publish`."""
        self._sink.publish(updates, received, encoded)
        self._take(updates)

    def settle(self, update: StockUpdate) -> None:
        """See :meth:`stockstream.ports.QuoteSink.settle`."""
        self._sink.settle(update)
        self._take((update,))

    def renew(self, update: StockUpdate) -> None:
        """See :meth:`stockstream.ports.QuoteSink.renew`."""
        self._sink.renew(update)
        self._take((update,))

    def _want_inputs(self, symbol: Symbol, running: _Running) -> None:
        known: list[StockUpdate] = []
        for wanted in running.derivation.inputs:
            if wanted in running.acquired:
                continue
            try:
                self._streams.acquire(wanted)
            except SubscriptionLimitError as error:
                log.warning("input_not_wanted", symbol=symbol, input=wanted, error=str(error))
                continue
            running.acquired.append(wanted)
            self._listeners[wanted].append(symbol)
            state = self._streams.snapshot(wanted)
            if state is not None:
                known.append(state)
        # Where they stand already, from the oldest on, as they would have come.
        self._take(sorted(known, key=_time))

    # --- computing ----------------------------------------------------------------------------

    def _take(self, updates: Sequence[StockUpdate]) -> None:
        listeners = self._listeners
        heard = [update for update in updates if update.symbol in listeners]
        if not heard:
            return
        # What follows from a moment belongs to it; it does not begin another.
        if self._computing:
            self._following += heard
            return
        self._computing = True
        try:
            for _, moment in groupby(heard, key=_time):
                self._compute_moment(moment)
        finally:
            self._computing = False

    def _compute_moment(self, updates: Iterable[StockUpdate]) -> None:
        """Compute all that follows from updates of one time."""
        turns: list[int] = []
        try:
            self._hand_out(updates, turns)
            while turns:
                self._compute(self._symbols[heappop(turns)])
                following, self._following = self._following, []
                self._hand_out(following, turns)
        finally:
            # Empty, unless something crashed: then nobody must wait for a turn that never comes.
            self._following.clear()
            for rank in turns:
                self._running[self._symbols[rank]].pending.clear()

    def _hand_out(self, updates: Iterable[StockUpdate], turns: list[int]) -> None:
        for update in updates:
            for symbol in self._listeners.get(update.symbol, ()):
                pending = self._running[symbol].pending
                if not pending:
                    heappush(turns, self._ranks[symbol])
                pending.append(update)

    def _compute(self, symbol: Symbol) -> None:
        running = self._running[symbol]
        pending, running.pending = running.pending, []
        last: Quote | None = None
        for update in pending:
            last = running.derivation(update) or last
        if last is not None:
            self.computed += 1
            running.on_quotes((last,))


class BarsOfOthers:
    """The bars of a provider, which has none of derived symbols; a `BarSource` as well."""

    def __init__(self, bars: BarSource, derived: Container[Symbol]) -> None:
        self._bars = bars
        self._derived = derived

    async def fetch_bars(
        self, symbol: Symbol, timeframe: Timeframe, *, end_ms: int, limit: int
    ) -> Sequence[Bar]:
        """See :meth:`stockstream.provider_ports.BarSource.fetch_bars`; none of a derived symbol."""
        if symbol in self._derived:
            return ()
        return await self._bars.fetch_bars(symbol, timeframe, end_ms=end_ms, limit=limit)


def _time(update: StockUpdate) -> int:
    return update.timestamp
