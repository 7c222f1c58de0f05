"""Stamps that order changes by when they were received, whichever node received them.

A hybrid logical clock (Kulkarni et al., 2014): the wall clock's milliseconds, and a count of what
happened within one. A stamp is never below one that was seen before, so what follows from another
change comes after it even where the clocks of two nodes differ.
"""

from typing import Final

#: Bits of a stamp that count what happened within one millisecond.
_COUNT_BITS: Final = 16


class HybridClock:
    """Gives stamps; each is greater than all before it."""

    def __init__(self) -> None:
        self._last = 0

    def stamp(self, now_ms: int) -> int:
        """Return the stamp of something that happens now.

        Args:
            now_ms: wall clock in ms since the epoch; it may jump.
        """
        self._last = max(self._last + 1, now_ms << _COUNT_BITS)
        return self._last

    def observe(self, stamp: int) -> None:
        """Take note of a stamp of another node: what happens from now on comes after it."""
        self._last = max(self._last, stamp)


def milliseconds(stamp: int) -> int:
    """Return the ms since the epoch that a stamp stands for."""
    return stamp >> _COUNT_BITS


def stamp_of(ms: int) -> int:
    """Return the first stamp of a millisecond since the epoch."""
    return ms << _COUNT_BITS
