"""When which symbols are asked for next."""

from collections.abc import Collection, Iterable
from heapq import heapify, heappop, heappush
from math import ceil, floor

from stockstream.model import Symbol


class PollSchedule:
    """Hands out symbols that are due, in batches, each at most once at a time.

    A new symbol is due at once. After that symbols come due on a common grid of ``interval``
    seconds, so that those asked for at different moments still share a request. A symbol that was
    taken comes back only through :meth:`done`: an answer that never comes holds back nothing but
    the symbols that were asked for with it.
    """

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._wanted: set[Symbol] = set()
        #: Symbols that are asked for right now.
        self._asked: set[Symbol] = set()
        #: When each waiting symbol is due.
        self._due: dict[Symbol, float] = {}
        #: May hold entries that ``_due`` no longer agrees with; they are passed over.
        self._heap: list[tuple[float, Symbol]] = []

    def __len__(self) -> int:
        return len(self._wanted)

    def __contains__(self, symbol: Symbol) -> bool:
        return symbol in self._wanted

    def add(self, symbol: Symbol, now: float) -> None:
        """Ask for ``symbol`` from ``now`` on; one that is there already keeps its place."""
        if symbol in self._wanted:
            return
        self._wanted.add(symbol)
        if symbol not in self._asked:
            self._push(symbol, now)

    def remove(self, symbol: Symbol) -> None:
        """Ask for ``symbol`` no more."""
        self._wanted.discard(symbol)
        self._due.pop(symbol, None)
        if len(self._heap) > 64 + 2 * len(self._due):
            self._heap = [(due, waiting) for waiting, due in self._due.items()]
            heapify(self._heap)

    def replace(self, symbols: Collection[Symbol], now: float) -> bool:
        """Ask for exactly these symbols; returns whether any of them is new."""
        for symbol in self._wanted.difference(symbols):
            self.remove(symbol)
        new = [symbol for symbol in symbols if symbol not in self._wanted]
        for symbol in new:
            self.add(symbol, now)
        return bool(new)

    def take(self, now: float, limit: int) -> list[Symbol]:
        """Return at most ``limit`` symbols that are due, those that waited longest first."""
        taken: list[Symbol] = []
        heap = self._heap
        while heap and heap[0][0] <= now and len(taken) < limit:
            due, symbol = heappop(heap)
            if self._due.get(symbol) == due:
                del self._due[symbol]
                self._asked.add(symbol)
                taken.append(symbol)
        return taken

    def done(self, symbols: Iterable[Symbol], now: float, *, delay: float = 0.0) -> None:
        """Take back symbols that were asked for.

        Those still wanted come due at the first moment of the grid that is after ``now`` and at
        least ``delay`` seconds away.
        """
        next_tick = floor(now / self._interval) + 1
        due = self._interval * max(next_tick, ceil((now + delay) / self._interval))
        for symbol in symbols:
            self._asked.discard(symbol)
            if symbol in self._wanted:
                self._push(symbol, due)

    def next_due(self) -> float | None:
        """Return when the next symbol is due, or None where none waits."""
        heap = self._heap
        while heap and self._due.get(heap[0][1]) != heap[0][0]:
            heappop(heap)
        return heap[0][0] if heap else None

    def _push(self, symbol: Symbol, due: float) -> None:
        self._due[symbol] = due
        heappush(self._heap, (due, symbol))
