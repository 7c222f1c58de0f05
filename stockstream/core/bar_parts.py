"""Minutes as they are stored: parts, which put together make the bar whoever counted them.

A node that starts anew in the middle of a minute counts a part of its own; so does another node
that takes over. Each part knows when its first and last quotes were made, which is all that it
takes to join them, in whatever order they were stored.
"""

from collections.abc import Iterable
from operator import attrgetter

import msgspec

from stockstream.model import Bar


class BarPart(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What one counting of quotes saw of a minute."""

    #: Start of the minute, in ms since the epoch (UTC).
    timestamp: int
    open: float
    high: float
    low: float
    close: float
    #: Volume traded within the part, in units of the instrument.
    volume: float
    #: When its first and its last quote were made, in ms since the epoch.
    opened: int
    closed: int

    def bar(self) -> Bar:
        """Return it as the bar of its minute."""
        return Bar(
            timestamp=self.timestamp,
            open=self.open,
            high=self.high,
            low=self.low,
            close=self.close,
            volume=self.volume,
        )


_in_order = attrgetter("timestamp", "opened", "closed")


def combine(parts: Iterable[BarPart]) -> list[BarPart]:
    """Return one part for each minute, in order of time.

    Parts that follow each other in time are two halves: their volumes add up. Parts whose times
    overlap were counted from the same quotes, by two nodes or in a recording that was played
    again: the larger volume is the truer one.
    """
    result: list[BarPart] = []
    for part in sorted(parts, key=_in_order):
        if result and result[-1].timestamp == part.timestamp:
            result[-1] = _joined(result[-1], part)
        else:
            result.append(part)
    return result


def _joined(first: BarPart, second: BarPart) -> BarPart:
    """Join two parts of a minute, of which ``first`` was opened first."""
    same = second.opened < first.closed or second.opened == first.opened
    ends_later = second.closed >= first.closed
    return BarPart(
        first.timestamp,
        first.open,
        max(first.high, second.high),
        min(first.low, second.low),
        second.close if ends_later else first.close,
        max(first.volume, second.volume) if same else first.volume + second.volume,
        first.opened,
        max(first.closed, second.closed),
    )
