"""What a derived symbol is made of, as the settings say it: a table of its own for each kind."""

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from stockstream.model.bar import Timeframe
from stockstream.model.symbol import Symbol

_Seconds = Annotated[float, Meta(gt=0, le=604_800)]
_Count = Annotated[int, Meta(ge=2, le=100_000)]

_DAY: Final = 86_400.0


class _Definition(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind"):
    """The part of the table that says what it is."""


class _Pair(_Definition, frozen=True, kw_only=True):
    of: Symbol
    by: Symbol
    #: Seconds by which one of them may be older than the other for the two to make a price.
    max_age: _Seconds = _DAY

    @property
    def inputs(self) -> tuple[Symbol, ...]:
        """The symbols that it is made of, each once."""
        return (self.of, self.by)


class Spread(_Pair, frozen=True, tag="spread"):
    """The price of one symbol less that of another."""


class Ratio(_Pair, frozen=True, tag="ratio"):
    """The price of one symbol divided by that of another."""


class Convert(_Pair, frozen=True, kw_only=True, tag="convert"):
    """The price of one symbol in another currency, by a rate."""

    #: Whether the rate says what one of the other currency is worth, so that it divides.
    inverse: bool = False


class Basket(_Definition, frozen=True, kw_only=True, tag="basket"):
    """The sum of several prices, each times its weight."""

    weights: Annotated[dict[Symbol, float], Meta(min_length=1, max_length=100)]
    #: Seconds by which one of them may be older than another for all to make a price.
    max_age: _Seconds = _DAY

    @property
    def inputs(self) -> tuple[Symbol, ...]:
        """The symbols that it is made of, each once."""
        return tuple(self.weights)


class Rolling(_Definition, frozen=True, kw_only=True):
    """What holds for the last updates of one symbol; the kind says what."""

    of: Symbol
    #: Length of a sliding window in seconds, in updates, or both.
    window: _Seconds | None = None
    count: _Count | None = None
    #: Instead: the window begins anew with each bar of this timeframe.
    timeframe: Timeframe | None = None

    def __post_init__(self) -> None:
        slides = self.window is not None or self.count is not None
        if slides is (self.timeframe is not None):
            raise ValueError("needs either window (seconds) and/or count (updates), or timeframe")

    @property
    def inputs(self) -> tuple[Symbol, ...]:
        """The symbol that it is made of."""
        return (self.of,)


class High(Rolling, frozen=True, tag="high"):
    """The highest price."""


class Low(Rolling, frozen=True, tag="low"):
    """The lowest price."""


class Mean(Rolling, frozen=True, tag="mean"):
    """The mean of the prices, each counting the same."""


class Deviation(Rolling, frozen=True, tag="deviation"):
    """The standard deviation of the prices, of a sample."""


class Vwap(Rolling, frozen=True, tag="vwap"):
    """The mean of the prices by the volume traded at each."""


class RateOfChange(Rolling, frozen=True, tag="rate_of_change"):
    """The way from the oldest price to the newest, in percent."""


Derived = Spread | Ratio | Convert | Basket | High | Low | Mean | Deviation | Vwap | RateOfChange
