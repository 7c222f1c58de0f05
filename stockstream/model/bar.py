"""OHLCV bars and the timeframes that they come in."""

from enum import StrEnum
from typing import Final

import msgspec

from stockstream.errors import UnknownTimeframeError

_MINUTE_MS: Final = 60_000
_DAY_MS: Final = 86_400_000
# The epoch was a Thursday; weeks start on the Monday before it.
_WEEK_OFFSET_MS: Final = 3 * _DAY_MS


class Timeframe(StrEnum):
    """The length of a bar (contract, section 1)."""

    M1 = "1m"
    M5 = "5m"
    M15 = "15m"
    M30 = "30m"
    H1 = "1h"
    H4 = "4h"
    D1 = "1d"
    W1 = "1w"

    @property
    def duration_ms(self) -> int:
        """Length in milliseconds."""
        return _DURATION_MS[self]

    def floor(self, timestamp: int) -> int:
        """Return the start of the bar that ``timestamp`` (ms, UTC) falls into.

        Days start at midnight UTC and weeks on Monday; those of an exchange are in ``core/spans``.
        """
        offset = _WEEK_OFFSET_MS if self is Timeframe.W1 else 0
        return timestamp - (timestamp + offset) % _DURATION_MS[self]

    def bounds(self, start: int) -> tuple[int, int]:
        """Return where the bar that starts there starts and ends, in ms; its end is not in it."""
        return start, start + _DURATION_MS[self]


_DURATION_MS: Final = {
    Timeframe.M1: _MINUTE_MS,
    Timeframe.M5: 5 * _MINUTE_MS,
    Timeframe.M15: 15 * _MINUTE_MS,
    Timeframe.M30: 30 * _MINUTE_MS,
    Timeframe.H1: 60 * _MINUTE_MS,
    Timeframe.H4: 240 * _MINUTE_MS,
    Timeframe.D1: _DAY_MS,
    Timeframe.W1: 7 * _DAY_MS,
}


def parse_timeframe(text: str) -> Timeframe:
    """Return the timeframe of that name.

    Raises:
        UnknownTimeframeError: there is none; the message lists those that there are.
    """
    try:
        return Timeframe(text)
    except ValueError:
        known = ", ".join(Timeframe)
        raise UnknownTimeframeError(f"{text[:16]!r} is not a timeframe: {known}") from None


# Not by keyword alone: years of bars are made out of columns.
class Bar(msgspec.Struct, frozen=True, gc=False):
    """First, highest, lowest and last price of a stretch of time, and its volume."""

    #: Start of the bar, in ms since the epoch (UTC).
    timestamp: int
    open: float
    high: float
    low: float
    close: float
    #: Volume traded within the bar, in units of the instrument.
    volume: float = 0.0
