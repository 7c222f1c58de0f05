"""Which exchange's calendar a symbol goes by."""

from collections.abc import Mapping
from typing import Final

from stockstream.model import Symbol

#: Trades around the clock: its days are those of UTC.
ALWAYS: Final = "24/7"

#: By the end of the symbol, as vendors write it; the empty one is for all others.
BY_SUFFIX: Final = {
    "": "XNYS",
    ".KS": "XKRX",
    ".KQ": "XKRX",
    ".T": "XTKS",
    ".HK": "XHKG",
    ".SS": "XSHG",
    ".SZ": "XSHG",
    ".L": "XLON",
    ".DE": "XETR",
    ".PA": "XPAR",
    "=X": "24/5",
    "-USD": ALWAYS,
    "-EUR": ALWAYS,
    "-KRW": ALWAYS,
}


def calendar_of(symbol: Symbol, by_suffix: Mapping[str, str]) -> str:
    """Return the calendar of the longest suffix that a symbol ends with; else around the clock."""
    found = [suffix for suffix in by_suffix if symbol.endswith(suffix)]
    return by_suffix[max(found, key=len)] if found else ALWAYS
