"""The names of instruments, as real venues write them."""

import re
from typing import Final, NewType

from stockstream.errors import InvalidSymbolError

#: A symbol in canonical form: upper-case ASCII, 1 to 32 characters.
Symbol = NewType("Symbol", str)

MAX_SYMBOL_LENGTH: Final = 32

# BRK.B, 005930.KS, BTC-USD, ^GSPC, EURUSD=X, M&M.NS, and the SPREAD_A_B of derived streams. No
# colon and no glob character: symbols become parts of Redis keys, and no slash: of URLs.
_SYMBOL = re.compile(rf"[A-Z0-9^][A-Z0-9.\-=^&_]{{0,{MAX_SYMBOL_LENGTH - 1}}}")


def parse_symbol(text: str) -> Symbol:
    """Return ``text`` as a canonical symbol.

    Args:
        text: what a client or a file wrote, in either case.

    Raises:
        InvalidSymbolError: no venue has such a symbol.
    """
    # Only ASCII is folded: "ß".upper() is "SS", and a Turkish dotless i would pass for an I.
    symbol = text.upper() if text.isascii() else text
    if _SYMBOL.fullmatch(symbol) is None:
        shown = text if len(text) <= MAX_SYMBOL_LENGTH else text[:MAX_SYMBOL_LENGTH] + "…"
        raise InvalidSymbolError(
            f"{shown!r} is not a symbol: 1 to {MAX_SYMBOL_LENGTH} of A-Z 0-9 . - = ^ & _",
            symbol=shown,
        )
    return Symbol(symbol)
