"""Sliding windows: what holds for the last so many samples, or for those of the last so many ms.

A sample costs O(1), amortized, whatever the length of the window, and a window that runs for years
is as right as one that was just begun: nothing is ever taken away from a rounded sum.
"""

from collections import deque
from math import sqrt
from typing import Final, Protocol

import msgspec

#: Most samples that a window holds, whatever its length in time.
MAX_SAMPLES: Final = 100_000
# Sums are whole numbers of units of 2^-92: adding and taking away is exact. Any price from 1e-12
# on, the least that a market has, is a whole number of them; what is smaller is rounded to one, to
# the same when it comes and when it goes.
_SCALE: Final = 2.0**92
_UNIT: Final = 1 << 92


# A struct because one is made for every update: a frozen dataclass costs five times as much.
class Sample(msgspec.Struct, frozen=True, gc=False):
    """A price at a time."""

    price: float
    #: In ms since the epoch.
    timestamp: int
    #: What was traded at it, in units of the instrument; 0 where unknown.
    volume: float = 0.0


class Statistic(Protocol):
    """What is told of the samples in a window; they leave it in the order in which they came.

    Prices and volumes are finite, and below 1e100 in size.
    """

    def add(self, price: float, volume: float) -> None:
        """Take in a sample."""
        ...

    def remove(self, price: float, volume: float) -> None:
        """Let go of the oldest sample."""
        ...

    def value(self) -> float | None:
        """Return what holds for the samples in the window, None where that can't be told."""
        ...


class SlidingWindow:
    """An operator: a sample in, what the statistic says of the window that ends with it out.

    The window holds the newest ``count`` samples, those younger than ``duration_ms`` against the
    newest, or what is within both; while fewer came there are fewer. Samples come in order of
    time: one that is older than the newest is passed over and counted in ``late``.
    """

    __slots__ = ("_count", "_duration_ms", "_samples", "_statistic", "late", "overflowed")

    def __init__(
        self,
        statistic: Statistic,
        *,
        duration_ms: int | None = None,
        count: int | None = None,
    ) -> None:
        """Begin with an empty window.

        Args:
            statistic: what is to be told; it belongs to this window alone.
            duration_ms: length in time; None: any.
            count: samples in it, at most; None: as many as a window may ever hold.
        """
        self._statistic = statistic
        self._duration_ms = duration_ms
        self._count = MAX_SAMPLES if count is None else min(count, MAX_SAMPLES)
        self._samples: deque[Sample] = deque()
        #: Samples passed over because they were older than the one before.
        self.late = 0
        #: Samples that left before their time because the window was full.
        self.overflowed = 0

    def __len__(self) -> int:
        return len(self._samples)

    def __call__(self, sample: Sample) -> float | None:
        """Take in a sample; returns what is told of the window that ends with it."""
        samples, statistic = self._samples, self._statistic
        if samples and sample.timestamp < samples[-1].timestamp:
            self.late += 1
            return None
        samples.append(sample)
        statistic.add(sample.price, sample.volume)
        if self._duration_ms is not None:
            begin = sample.timestamp - self._duration_ms
            while samples[0].timestamp <= begin:
                self._let_go()
        if len(samples) > self._count:
            self.overflowed += self._duration_ms is not None
            self._let_go()
        return statistic.value()

    def _let_go(self) -> None:
        oldest = self._samples.popleft()
        self._statistic.remove(oldest.price, oldest.volume)


class Extreme:
    """The highest or the lowest price."""

    __slots__ = ("_candidates", "_sign")

    def __init__(self, *, highest: bool) -> None:
        self._sign = 1.0 if highest else -1.0
        # Those that no later sample beats, the best of them first.
        self._candidates: deque[float] = deque()

    def add(self, price: float, volume: float) -> None:
        """See :class:`Statistic`."""
        candidates, price = self._candidates, price * self._sign
        # One that equals it stays: each of them leaves by itself.
        while candidates and candidates[-1] < price:
            candidates.pop()
        candidates.append(price)

    def remove(self, price: float, volume: float) -> None:
        """See :class:`Statistic`."""
        if self._candidates[0] == price * self._sign:
            self._candidates.popleft()

    def value(self) -> float | None:
        """See :class:`Statistic`."""
        return self._candidates[0] * self._sign if self._candidates else None


class Mean:
    """The mean of the prices, each counting the same; correctly rounded."""

    __slots__ = ("_count", "_sum")

    def __init__(self) -> None:
        self._count = 0
        self._sum = 0

    def add(self, price: float, volume: float) -> None:
        """See :class:`Statistic`."""
        self._count += 1
        self._sum += int(price * _SCALE)

    def remove(self, price: float, volume: float) -> None:
        """See :class:`Statistic`."""
        self._count -= 1
        self._sum -= int(price * _SCALE)

    def value(self) -> float | None:
        """See :class:`Statistic`."""
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
        """See :class:`Statistic`."""
        units = int(price * _SCALE)
        self._count += 1
        self._sum += units
        self._squares += units * units

    def remove(self, price: float, volume: float) -> None:
        """See :class:`Statistic`."""
        units = int(price * _SCALE)
        self._count -= 1
        self._sum -= units
        self._squares -= units * units

    def value(self) -> float | None:
        """See :class:`Statistic`."""
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
        """See :class:`Statistic`."""
        units = int(volume * _SCALE)
        self._volume += units
        self._traded += int(price * _SCALE) * units

    def remove(self, price: float, volume: float) -> None:
        """See :class:`Statistic`."""
        units = int(volume * _SCALE)
        self._volume -= units
        self._traded -= int(price * _SCALE) * units

    def value(self) -> float | None:
        """See :class:`Statistic`."""
        return self._traded / (self._volume * _UNIT) if self._volume else None


class RateOfChange:
    """The way from the oldest price to the newest in percent of it; None where it is 0."""

    __slots__ = ("_prices",)

    def __init__(self) -> None:
        self._prices: deque[float] = deque()

    def add(self, price: float, volume: float) -> None:
        """See :class:`Statistic`."""
        self._prices.append(price)

    def remove(self, price: float, volume: float) -> None:
        """See :class:`Statistic`."""
        self._prices.popleft()

    def value(self) -> float | None:
        """See :class:`Statistic`."""
        if not self._prices or not self._prices[0]:
            return None
        oldest = self._prices[0]
        return (self._prices[-1] - oldest) / abs(oldest) * 100.0
