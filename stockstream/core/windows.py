"""What holds for the samples in a window.

A window slides (the last so many samples, or those of the last so many ms), or tumbles: it begins
anew when its time is over, as the day's volume-weighted price does.

A sample costs O(1), amortized, whatever the length of the window, and a window that runs for years
is as right as one that was just begun: nothing is ever taken away from a rounded sum.
"""

from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from stockstream.core.ohlcv import NEVER, Bounds

#: Most samples that a window holds, whatever its length in time.
MAX_SAMPLES: Final = 100_000


# A struct because one is made for every update: a frozen dataclass costs five times as much.
class Sample(msgspec.Struct, frozen=True, gc=False):
    """A price at a time."""

    price: float
    #: In ms since the epoch.
    timestamp: int
    #: What was traded at it, in units of the instrument; 0 where unknown.
    volume: float = 0.0


class Growing(Protocol):
    """What is told of all samples so far; it holds none of them.

    Prices and volumes are finite, and below 1e100 in size.
    """

    def add(self, price: float, volume: float) -> None:
        """Take in a sample."""
        ...

    def value(self) -> float | None:
        """Return what holds for the samples in the window, None where that can't be told."""
        ...


class Statistic(Growing, Protocol):
    """What is told of the samples in a window; they leave it in the order in which they came."""

    def remove(self, price: float, volume: float) -> None:
        """Let go of the oldest sample."""
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


class TumblingWindow:
    """An operator: a sample in, what the statistic says of the window so far that it falls into.

    One window after the other, each as long as ``bounds`` says. Samples come in order of time, as
    far as windows go: one of a window that has ended is passed over and counted in ``late``.
    """

    __slots__ = ("_bounds", "_end", "_make", "_start", "_statistic", "late")

    def __init__(self, make: Callable[[], Growing], bounds: Bounds) -> None:
        """Begin before the first window.

        Args:
            make: returns the statistic of a new window.
            bounds: start and end of the window that a time falls into.
        """
        self._make = make
        self._bounds = bounds
        self._statistic = make()
        self._start = self._end = NEVER
        #: Samples passed over because their window had ended.
        self.late = 0

    def __call__(self, sample: Sample) -> float | None:
        """Take in a sample; returns what is told of its window up to it."""
        if sample.timestamp >= self._end:
            self._start, self._end = self._bounds(sample.timestamp)
            self._statistic = self._make()
        elif sample.timestamp < self._start:
            self.late += 1
            return None
        self._statistic.add(sample.price, sample.volume)
        return self._statistic.value()
