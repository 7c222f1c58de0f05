"""Numbers, times and foreign words as a person reads them."""

from datetime import datetime
from typing import Final

#: Stands where nothing is known.
UNKNOWN: Final = "–"


def price(value: float | None, digits: int) -> str:
    """Return a price with a fixed number of decimals."""
    return UNKNOWN if value is None else f"{value:,.{digits}f}"


def signed(value: float, digits: int) -> str:
    """Return a difference with its sign; what rounds to nothing has none."""
    text = f"{value:+,.{digits}f}"
    return text if any(digit in text for digit in "123456789") else text[1:]


def volume(value: float) -> str:
    """Return a volume; small ones, of coins, with the decimals they have."""
    return f"{value:,.0f}" if value >= 1_000 or value == int(value) else f"{value:,.4g}"


def clock_time(timestamp: int, now: datetime) -> str:
    """Return ``timestamp`` (ms since the epoch) in the time zone of ``now``.

    With its date where that is another than today's.
    """
    moment = datetime.fromtimestamp(timestamp / 1_000, now.tzinfo)
    return moment.strftime("%H:%M:%S" if moment.date() == now.date() else "%Y-%m-%d %H:%M:%S")


def age(seconds: float) -> str:
    """Return a duration in its largest unit: 12s, 3m, 5h, 2d."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= length:
            return f"{int(seconds // length)}{unit}"
    return f"{int(max(seconds, 0))}s"


def plain(text: str) -> str:
    """Return one line without anything that a terminal would obey.

    Messages come from a server that may be anybody's.
    """
    return "".join(char if char.isprintable() else " " for char in text).strip()
