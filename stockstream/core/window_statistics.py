"""What can be told of the samples in a window, at O(1) for each that comes or goes."""

from collections import deque
from collections.abc import Callable
from math import sqrt
from typing import Final

# Sums are whole numbers of units of 2^-92: adding and taking away is exact. Any price from 1e-12
# on, the least that a market has, is a whole number of them; what is smaller is rounded to one, to
# the same when it comes and when it goes.
_SCALE: Final = 2.0**92
_UNIT: Final = 1 << 92


class Extreme:
    """The highest or the lowest price."""

    __slots__ = ("_candidates", "_sign")

    def __init__(self, *, highest: bool) -> None:
        self._sign = 1.0 if highest else -1.0
        # Those that no later sample beats, the best of them first.
        self._candidates: deque[float] = deque()

    def add(self, price: float, volume: float) -> None:
        """See :class:`stockstream.core.windows.Statistic`."""
        candidates, price = self._candidates, price * self._sign
        # One that equals it stays: each of them leaves by itself.
        while candidates and candidates[-1] < price:
            candidates.pop()
        candidates.append(price)

    def remove(self, price: float, volume: float) -> None:
        """See :class:`stockstream.core.windows.Statistic`."""
        if self._candidates[0] == price * self._sign:
            self._candidates.popleft()

    def value(self) -> float | None:
        """See :class:`stockstream.core.windows.Statistic`."""
        return self._candidates[0] * self._sign if self._candidates else None


class GrowingExtreme:
    """The highest or the lowest price of all: one number, where nothing leaves the window."""

    __slots__ = ("_best", "_better")

    def __init__(self, *, highest: bool) -> None:
        self._better: Callable[[float, float], float] = max if highest else min
        self._best: float | None = None

    def add(self, price: float, volume: float) -> None:
        """See :class:`stockstream.core.windows.Growing`."""
        self._best = price if self._best is None else self._better(self._best, price)

    def value(self) -> float | None:
        """See :class:`stockstream.core.windows.Growing`."""
        return self._best


class Mean:
    """The mean of the prices, each counting the same; correctly rounded."""

    __slots__ = ("_count", "_sum")

    def __init__(self) -> None:
        self._count = 0
        self._sum = 0

    def add(self, price: float, volume: float) -> None:
        """See :class:`stockstream.core.windows.Statistic`."""
        self._count += 1
        self._sum += int(price * _SCALE)

    def remove(self, price: float, volume: float) -> None:
        """See :class:`stockstream.core.windows.Statistic`."""
        self._count -= 1
        self._sum -= int(price * _SCALE)

    def value(self) -> float | None:
        """See :class:`stockstream.core.windows.Statistic`."""
        return self._sum / (self._count * _UNIT) if self._count else None


class Deviation:
    """The standard deviation of the prices, of a sample (n - 1), None for a single one.

    As the difference of two large sums it would be nothing but noise were those rounded.
    """

    __slots__ = ("_count", "_squares", "_sum")

    def __init__(self) -> None:
        self._count = 0
        self._sum = 0
        self._squares = 0

    def add(self, price: float, volume: float) -> None:
        """See :class:`stockstream.core.windows.Statistic`."""
        units = int(price * _SCALE)
        self._count += 1
        self._sum += units
        self._squares += units * units

    def remove(self, price: float, volume: float) -> None:
        """See :class:`stockstream.core.windows.Statistic`."""
        units = int(price * _SCALE)
        self._count -= 1
        self._sum -= units
        self._squares -= units * units

    def value(self) -> float | None:
        """See :class:`stockstream.core.windows.Statistic`."""
        count = self._count
        if count < 2:
            return None
        spread = count * self._squares - self._sum * self._sum
        return sqrt(spread / (count * (count - 1) * _UNIT * _UNIT))


class Vwap:
    """The mean of the prices by the volume traded at each; None where nothing was traded."""

    __slots__ = ("_traded", "_volume")

    def __init__(self) -> None:
        self._traded = 0
        self._volume = 0

    def add(self, price: float, volume: float) -> None:
        """See :class:`stockstream.core.windows.Statistic`."""
        units = int(volume * _SCALE)
        self._volume += units
        self._traded += int(price * _SCALE) * units

    def remove(self, price: float, volume: float) -> None:
        """See :class:`stockstream.core.windows.Statistic`."""
        units = int(volume * _SCALE)
        self._volume -= units
        self._traded -= int(price * _SCALE) * units

    def value(self) -> float | None:
        """See :class:`stockstream.core.windows.Statistic`."""
        return self._traded / (self._volume * _UNIT) if self._volume else None


class RateOfChange:
    """The way from the oldest price to the newest in percent of it; None where it is 0."""

    __slots__ = ("_prices",)

    def __init__(self) -> None:
        self._prices: deque[float] = deque()

    def add(self, price: float, volume: float) -> None:
        """See :class:`stockstream.core.windows.Statistic`."""
        self._prices.append(price)

    def remove(self, price: float, volume: float) -> None:
        """See :class:`stockstream.core.windows.Statistic`."""
        self._prices.popleft()

    def value(self) -> float | None:
        """See :class:`stockstream.core.windows.Statistic`."""
        return _rate_of_change(self._prices[0], self._prices[-1]) if self._prices else None


class GrowingRateOfChange:
    """The same from the first price of all: two numbers, where nothing leaves the window."""

    __slots__ = ("_first", "_last")

    def __init__(self) -> None:
        self._first: float | None = None
        self._last = 0.0

    def add(self, price: float, volume: float) -> None:
        """See :class:`stockstream.core.windows.Growing`."""
        if self._first is None:
            self._first = price
        self._last = price

    def value(self) -> float | None:
        """See :class:`stockstream.core.windows.Growing`."""
        return None if self._first is None else _rate_of_change(self._first, self._last)


def _rate_of_change(first: float, last: float) -> float | None:
    return (last - first) / abs(first) * 100.0 if first else None
