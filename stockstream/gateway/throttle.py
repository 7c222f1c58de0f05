"""How often an address may ask for something."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from stockstream.engine.core.admission import TokenBucket, network_of

#: Addresses that are remembered; those that asked longest ago give way, their buckets full by then.
_REMEMBERED: Final = 10_000


class Throttle:
    """A bucket of tokens for each address (an IPv6 client counts by its /64)."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float]) -> None:
        """Begin with full buckets.

        Args:
            rate: tokens a second.
            burst: tokens that gather in a quiet while.
            clock: seconds that only grow.
        """
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def take(self, address: str, count: int = 1) -> float:
        """Take so many tokens; returns 0, or takes none, and returns the seconds until it may."""
        network = network_of(address)
        bucket = self._buckets.get(network)
        if bucket is None:
            bucket = self._buckets[network] = TokenBucket(self._rate, self._burst)
            if len(self._buckets) > _REMEMBERED:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(network)
        return bucket.take(self._clock(), count)
