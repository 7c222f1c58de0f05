"""When to gather updates instead of sending each at once."""

from typing import Final

#: Longest time in seconds for which updates are gathered.
LONGEST: Final = 0.005
#: Most sendings that go by before gathering is tried again after it was of no use.
_MOST_SKIPPED: Final = 64


class Pressure:
    """Notes how long sending takes, and says when it takes most of the time there is.

    A lone update leaves at once: to delay it gains nothing. But where the next one comes before the
    last one has taken as long again as it took to send, one write for each recipient and update is
    more than there is time for, and everything would wait for everything. Then updates are
    gathered for as long as the last sending took, so that several leave in one write. Where
    nothing more came in that time, it was of no use, and is tried less and less often.

    Times are seconds on any clock that does not go back.
    """

    __slots__ = ("_cost", "_end", "_skip", "_skipped")

    def __init__(self) -> None:
        #: How long the last sending took, and when it ended.
        self._cost = 0.0
        self._end = float("-inf")
        #: How many sendings go by before gathering is tried again, and how many have.
        self._skip = 0
        self._skipped = 0

    def sent(self, start: float, end: float) -> None:
        """Note that something was sent at once."""
        self._cost = end - start
        self._end = end

    def gathered(self, start: float, end: float, count: int) -> None:
        """Note that so many updates were gathered, and sent together."""
        self.sent(start, end)
        self._skipped = 0
        self._skip = 0 if count > 1 else min(2 * self._skip + 1, _MOST_SKIPPED)

    def delay(self, now: float) -> float:
        """Return for how long to gather what is to be sent now; 0: not at all."""
        if now - self._end >= self._cost:
            return 0.0
        if self._skipped < self._skip:
            self._skipped += 1
            return 0.0
        return min(self._cost, LONGEST)
