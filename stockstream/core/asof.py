"""The join of several symbols in time: at each moment, the last price of each."""

from collections.abc import Hashable, Sequence
from typing import Generic, NamedTuple, TypeVar

K = TypeVar("K", bound=Hashable)


class Tick(NamedTuple, Generic[K]):
    """A price of one of the inputs."""

    key: K
    price: float
    #: In ms since the epoch.
    timestamp: int


class Joined(NamedTuple):
    """The prices of all inputs as of one moment."""

    #: In the order of the inputs.
    prices: tuple[float, ...]
    #: The newest of their times, in ms since the epoch.
    timestamp: int


class AsOfJoin(Generic[K]):
    """An operator: a tick of any input in, the last price of each as of that moment out.

    Nothing comes out until a price of each is known, nor while one of them is older than
    ``max_age_ms`` against the newest: that is counted in ``stale``. Ticks of one input come in
    order of time: one that is older than its input's last is passed over and counted in ``late``.
    Between inputs there is no order: what comes late is joined with the newest of the others.
    """

    __slots__ = ("_index", "_max_age_ms", "_prices", "_times", "late", "stale")

    def __init__(self, inputs: Sequence[K], max_age_ms: int | None = None) -> None:
        """Begin without any price.

        Args:
            inputs: the keys of the ticks, in the order in which prices are to come out.
            max_age_ms: by how much an input may lag behind the newest; None: any.
        """
        self._index = {key: position for position, key in enumerate(inputs)}
        self._max_age_ms = max_age_ms
        self._prices: list[float | None] = [None] * len(inputs)
        self._times = [0] * len(inputs)
        #: Ticks that were older than the last one of their input.
        self.late = 0
        #: Ticks that nothing came of because an input was too old.
        self.stale = 0

    def __call__(self, tick: Tick[K]) -> Joined | None:
        """Take in a tick; returns the prices as of it, where all are known and young enough."""
        position = self._index[tick.key]
        prices, times = self._prices, self._times
        if prices[position] is not None and tick.timestamp < times[position]:
            self.late += 1
            return None
        prices[position] = tick.price
        times[position] = tick.timestamp
        known = tuple(price for price in prices if price is not None)
        if len(known) < len(prices):
            return None
        newest = max(times)
        if self._max_age_ms is not None and newest - min(times) > self._max_age_ms:
            self.stale += 1
            return None
        return Joined(known, newest)
