"""How long to wait before trying again, so that many who failed together don't return together."""

from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Waiting times that grow by a factor up to a maximum, each shortened by chance.

    It remembers nothing: the caller counts failures, and starts again at 1 after a success.
    """

    #: Longest wait in seconds after the first failure.
    initial: float
    #: Longest wait in seconds after any number of failures.
    maximum: float
    #: How much longer each wait is than the one before it.
    factor: float = 2.0
    #: How much of a wait is left to chance: 0 nothing, 1 all of it.
    jitter: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.initial <= self.maximum:
            raise ValueError(f"initial {self.initial} is not within 0 to maximum {self.maximum}")
        if self.factor < 1 or not 0 <= self.jitter <= 1:
            raise ValueError(f"factor {self.factor} is below 1 or jitter {self.jitter} not 0 to 1")

    def delay(self, failures: int, random: Random) -> float:
        """Return the seconds to wait after ``failures`` failures in a row.

        Args:
            failures: 1 after the first failure.
            random: where chance comes from.

        Returns:
            Between ``1 - jitter`` and 1 times the wait that is due, hence never over ``maximum``.
        """
        longest = self.initial
        # Not ``factor ** failures``: an outage of days would overflow a float.
        for _ in range(failures - 1):
            longest *= self.factor
            if longest >= self.maximum or self.factor == 1:
                break
        return min(longest, self.maximum) * (1 - self.jitter * random.random())
