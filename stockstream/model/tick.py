"""A believed quote, as it is kept."""

import msgspec

from stockstream.model.symbol import Symbol


class Tick(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One quote of one symbol, whether its price had changed or not.

    ``(symbol, timestamp, number)`` names it, also when two nodes saw it or a recording is played
    again: written twice, it is there once.
    """

    symbol: Symbol
    #: When the price was made, in ms since the epoch.
    timestamp: int
    #: Its place among the symbol's quotes of that millisecond, from 0 in the order of receipt;
    #: those that came late have numbers from 1,000 on.
    number: int
    price: float
    #: Volume that it added, in units of the instrument.
    volume: float
    bid: float | None = None
    ask: float | None = None
