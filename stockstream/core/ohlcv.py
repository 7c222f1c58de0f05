"""The tumbling window that bars are made of: first, highest, lowest and last price, and volume."""

from collections.abc import Callable
from typing import Final

from stockstream.model import Bar, Timeframe

#: Start and end of the window that a time (ms since the epoch) falls into; the end is not in it.
Bounds = Callable[[int], tuple[int, int]]

#: Before any time that a quote can have.
NEVER: Final = -(2**62)


def bounds_of(timeframe: Timeframe) -> Bounds:
    """Return the windows that the bars of a timeframe are."""
    floor, length = timeframe.floor, timeframe.duration_ms

    def bounds(timestamp: int) -> tuple[int, int]:
        start = floor(timestamp)
        return start, start + length

    return bounds


class OhlcvWindow:
    """One window after the other, each as long as ``bounds`` says; a sample costs O(1).

    A window without samples is left out. Samples come in order of time, as far as windows go: one
    of a window that has ended is passed over and counted in ``late``; within the window of now
    their order decides which price is the first and which the last.
    """

    __slots__ = (
        "_bounds",
        "_close",
        "_end",
        "_high",
        "_low",
        "_open",
        "_volume",
        "late",
        "start",
    )

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        #: Start of the window of now, in ms since the epoch; before any time while there is none.
        self.start = NEVER
        #: Number of samples passed over because their window had ended.
        self.late = 0
        self._end = NEVER
        self._open = self._high = self._low = self._close = self._volume = 0.0

    @property
    def volume(self) -> float:
        """Volume within the window of now so far."""
        return self._volume

    @property
    def forming(self) -> Bar | None:
        """The window of now, None before the first sample."""
        if self._end == NEVER:
            return None
        return Bar(
            timestamp=self.start,
            open=self._open,
            high=self._high,
            low=self._low,
            close=self._close,
            volume=self._volume,
        )

    def add(self, price: float, timestamp: int, volume: float) -> Bar | None:
        """Take in a price; returns the window that it ended, if it did.

        Args:
            price: the sample.
            timestamp: its time in ms since the epoch.
            volume: what was traded at it.
        """
        if timestamp >= self._end:
            ended = self.forming
            self.start, self._end = self._bounds(timestamp)
            self._open = self._high = self._low = self._close = price
            self._volume = volume
            return ended
        if timestamp < self.start:
            self.late += 1
            return None
        if price > self._high:
            self._high = price
        elif price < self._low:
            self._low = price
        self._close = price
        self._volume += volume
        return None

    def add_earlier(self, price: float, volume: float, *, first: bool) -> None:
        """Take in a price of the window of now that was made before its last one.

        Args:
            price: the sample.
            volume: what was traded at it.
            first: whether it was made before all others of the window.
        """
        self._high = max(self._high, price)
        self._low = min(self._low, price)
        self._volume += volume
        if first:
            self._open = price

    def resume(self, bar: Bar) -> None:
        """Go on from a bar that is, or is now known to be, the window so far."""
        self.start, self._end = self._bounds(bar.timestamp)
        self._open, self._high, self._low, self._close = bar.open, bar.high, bar.low, bar.close
        self._volume = bar.volume
