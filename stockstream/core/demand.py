"""Which symbols somebody wants, and for how long after the last one left."""

from collections import OrderedDict
from collections.abc import Mapping

from stockstream.errors import SubscriptionLimitError
from stockstream.model import Symbol


class Demand:
    """Counts who wants each symbol; one that nobody wants any more stays for ``linger`` seconds.

    Of ``limit`` symbols at most, those that nobody wants make room for others. Times are seconds
    on any clock that does not go back.
    """

    def __init__(self, linger: float, limit: int) -> None:
        self._linger = linger
        self._limit = limit
        self._counts: dict[Symbol, int] = {}
        #: When each symbol that nobody wants is given up. The linger is the same for all, so the
        #: order of leaving is the order of ending.
        self._ends: OrderedDict[Symbol, float] = OrderedDict()

    @property
    def counts(self) -> Mapping[Symbol, int]:
        """How many want each symbol; 0 for those that linger."""
        return self._counts

    def acquire(self, symbol: Symbol) -> bool:
        """Want ``symbol``; returns True for the first one, with whom its stream begins.

        Raises:
            SubscriptionLimitError: it would be one symbol too many; nothing has changed.
        """
        first = symbol not in self._counts
        if first and len(self._counts) - len(self._ends) >= self._limit:
            raise SubscriptionLimitError(
                f"at most {self._limit} symbols stream at once", symbol=symbol
            )
        self._counts[symbol] = self._counts.get(symbol, 0) + 1
        self._ends.pop(symbol, None)
        return first

    def release(self, symbol: Symbol, now: float) -> None:
        """Want it no more; pairs with one :meth:`acquire`."""
        self._counts[symbol] -= 1
        if not self._counts[symbol]:
            self._ends[symbol] = now + self._linger

    def expire(self, now: float) -> list[Symbol]:
        """Give up and return the symbols whose time is over."""
        expired = []
        while self._ends:
            symbol, end = next(iter(self._ends.items()))
            if end > now:
                break
            del self._ends[symbol], self._counts[symbol]
            expired.append(symbol)
        return expired

    def make_room(self) -> list[Symbol]:
        """Give up and return the symbols that linger beyond the limit, those left first."""
        given_up = []
        while len(self._counts) > self._limit:
            symbol, _ = self._ends.popitem(last=False)
            del self._counts[symbol]
            given_up.append(symbol)
        return given_up

    def next_end(self) -> float | None:
        """Return when the next symbol is given up, or None where all are wanted."""
        return next(iter(self._ends.values()), None)
