"""A price on its way: as a provider says it, and as clients get it."""

import msgspec

from stockstream.model.symbol import Symbol


class Quote(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a provider says about a symbol at one moment; nothing of it is trusted yet."""

    symbol: Symbol
    #: Last price, in the instrument's currency.
    price: float
    #: When the price was made, in ms since the epoch; None where the provider does not say.
    timestamp: int | None = None
    #: Volume of the day so far, in units of the instrument.
    volume: float | None = None
    #: Size of this trade alone; the day's volume is summed up from it where ``volume`` is None.
    size: float | None = None
    #: Best bid and ask.
    bid: float | None = None
    ask: float | None = None
    #: Extremes and first price of the day so far.
    day_high: float | None = None
    day_low: float | None = None
    open: float | None = None
    #: Last price of the trading day before.
    previous_close: float | None = None
    #: Whether the price was computed here, out of prices that are believed: it may be zero,
    #: negative (a spread), and jump.
    computed: bool = False


class Position(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A place in the sequence of a symbol's updates."""

    #: Changes whenever the sequence starts anew.
    epoch: str
    #: Number of the update, +1 for each, without gaps within an epoch.
    seq: int


# Encodes as the documented payload by itself (section 4.1): camelCase, and what is unknown is left
# out. One definition serves clients, the Redis keys that other programs read, and the Python API.
class StockUpdate(
    msgspec.Struct, frozen=True, kw_only=True, gc=False, rename="camel", omit_defaults=True
):
    """One emitted price change of a symbol (documented, section 4.1)."""

    symbol: Symbol
    #: Last price, in the instrument's currency; finite, and above zero unless it was computed.
    price: float
    #: ``price`` less the previous close (less the day's first price where that is unknown).
    change: float
    #: ``change`` in percent of what it is measured against.
    change_percent: float
    #: Volume of the day so far.
    volume: float
    #: The quote's own time in ms since the epoch; the time of receipt where the provider has none.
    timestamp: int
    #: Number of this update within ``epoch``: +1 for each emitted update of the symbol, no gaps.
    seq: int
    #: Changes whenever the sequence starts anew.
    epoch: str
    #: Place in the one order in which the updates of all symbols are sent; 0 where there is none.
    offset: int = 0
    bid: float | None = None
    ask: float | None = None
    day_high: float | None = None
    day_low: float | None = None
    open: float | None = None
    previous_close: float | None = None
    #: Reference data, where the settings have any of the symbol.
    name: str | None = None
    currency: str | None = None
    exchange: str | None = None
    #: True on the first update after a subscription: the state at that moment, not a change.
    snapshot: bool = False

    @property
    def position(self) -> Position:
        """Where in the symbol's sequence this update stands."""
        return Position(epoch=self.epoch, seq=self.seq)
