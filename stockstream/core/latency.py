"""How long things take: a distribution in bounded memory, with a known error."""

from bisect import bisect_left
from dataclasses import dataclass, field
from itertools import accumulate
from math import ceil, log
from operator import add, sub
from typing import Final

# Smallest and largest value that is told apart, in ms: a microsecond and a thousand seconds.
_MIN: Final = 1e-3
_MAX: Final = 1e6
# Each bucket's upper bound is this many times its lower one. A bucket's estimate is off by at most
# (growth - 1) / (growth + 1) = 1 % of any value in it.
_GROWTH: Final = 1.01 / 0.99
_LOG_GROWTH: Final = log(_GROWTH)
_FIRST: Final = ceil(log(_MIN) / _LOG_GROWTH)
_BUCKETS: Final = ceil(log(_MAX) / _LOG_GROWTH) - _FIRST + 1
# Of a bucket's upper bound, the estimate that is equally far (relatively) from both of its bounds.
_MIDDLE: Final = 2 / (1 + _GROWTH)


@dataclass(slots=True, kw_only=True)
class LatencyHistogram:
    """Counts durations in buckets whose bounds grow by a factor.

    It only ever grows, as a counter does: each reader keeps a ``copy`` and asks what came
    ``since``, so several of them don't disturb each other.

    The mean is exact; a quantile is at most 1 % off the true one, for durations of 0.001 ms to
    1,000 s (what lies beyond counts as the nearest of these). Memory is constant: about 8 kB.

    After DDSketch (Masson, Rim, Lee: "DDSketch: A Fast and Fully-Mergeable Quantile Sketch with
    Relative-Error Guarantees", VLDB 2019), with a fixed range instead of collapsing buckets.
    """

    #: How many durations were recorded, each as often as it weighs.
    count: int = 0
    #: All durations together, in ms.
    sum: float = 0.0
    #: How many fell into each bucket, the shortest first.
    buckets: list[int] = field(default_factory=lambda: [0] * _BUCKETS, repr=False)

    @property
    def mean(self) -> float:
        """Mean in ms; 0 where nothing was recorded."""
        return self.sum / self.count if self.count else 0.0

    @property
    def p50(self) -> float:
        """Median in ms; 0 where nothing was recorded."""
        return self.quantile(0.5)

    @property
    def p99(self) -> float:
        """What 99 % did not exceed, in ms; 0 where nothing was recorded."""
        return self.quantile(0.99)

    def record(self, value_ms: float, weight: int = 1) -> None:
        """Record a duration, in constant time.

        Args:
            value_ms: milliseconds; below 0 and NaN, which no duration is, count as 0.
            weight: how many took that long, 0 or more.
        """
        # Written so that NaN, which would spoil the sum for good, becomes 0.
        value_ms = min(value_ms, _MAX) if value_ms > 0 else 0.0
        self.buckets[_bucket(value_ms)] += weight
        self.count += weight
        self.sum += value_ms * weight

    def quantile(self, q: float) -> float:
        """Return the duration in ms that a part ``q`` (0 to 1) of all did not exceed, within 1 %.

        Returns 0 where nothing was recorded.
        """
        if not self.count:
            return 0.0
        rank = min(max(ceil(q * self.count), 1), self.count)
        bucket = bisect_left(list(accumulate(self.buckets)), rank)
        return float(_GROWTH ** (bucket + _FIRST) * _MIDDLE)

    def count_up_to(self, bound_ms: float) -> int:
        """Return how many took at most ``bound_ms``, give or take those within 2 % of it."""
        return sum(self.buckets[: _bucket(bound_ms) + 1])

    def copy(self) -> "LatencyHistogram":
        """Return another one that holds the same."""
        return self.plus(LatencyHistogram())

    def plus(self, other: "LatencyHistogram") -> "LatencyHistogram":
        """Return what both recorded, as if one had recorded it."""
        return LatencyHistogram(
            count=self.count + other.count,
            sum=self.sum + other.sum,
            buckets=list(map(add, self.buckets, other.buckets)),
        )

    def since(self, earlier: "LatencyHistogram") -> "LatencyHistogram":
        """Return what was recorded after ``earlier``, a copy of this one, was made."""
        return LatencyHistogram(
            count=self.count - earlier.count,
            sum=self.sum - earlier.sum,
            buckets=list(map(sub, self.buckets, earlier.buckets)),
        )


def _bucket(value_ms: float) -> int:
    if value_ms > _MIN:
        return ceil(log(min(value_ms, _MAX)) / _LOG_GROWTH) - _FIRST
    return 0
