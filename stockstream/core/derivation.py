"""Makes the price of a derived symbol out of the updates of its inputs, by operators."""

from collections.abc import Callable, Mapping
from functools import partial
from math import floor, isfinite, log10
from typing import Final, NamedTuple

from stockstream.core.asof import AsOfJoin, Joined, Tick
from stockstream.core.ohlcv import bounds_of
from stockstream.core.operators import Operator, keep, pipe
from stockstream.core.quote_rules import LARGEST
from stockstream.core.window_statistics import (
    Deviation,
    Extreme,
    GrowingExtreme,
    GrowingRateOfChange,
    Mean,
    RateOfChange,
    Vwap,
)
from stockstream.core.windows import Growing, Sample, SlidingWindow, Statistic, TumblingWindow
from stockstream.model import Position, Quote, StockUpdate, Symbol, derived
from stockstream.model.derived import Basket, Convert, Derived, Ratio, Rolling

# Of what a computed price is made of; takes the noise of binary fractions off it.
_DIGITS: Final = 12


#: Why updates may count for less than they should.
REASONS: Final = ("late", "stale", "overflowed")


class Point(NamedTuple):
    """A computed price, not yet checked."""

    price: float
    #: In ms since the epoch.
    timestamp: int
    #: Size of what it was computed of: no digit that is smaller than noise of that means anything.
    scale: float


class Traded:
    """An operator: an update in, what was traded since the update before out."""

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen: float | None = None

    def __call__(self, update: StockUpdate) -> float:
        """Return the volume since the update before, 0 for the first one."""
        seen, self._seen = self._seen, update.volume
        if seen is None:
            return 0.0
        # Where the day's volume is less than before, a new day has begun.
        return update.volume - seen if update.volume >= seen else update.volume


class Fresh:
    """An operator: lets each update on once; a snapshot may repeat what was seen already."""

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen: dict[Symbol, Position] = {}

    def __call__(self, update: StockUpdate) -> StockUpdate | None:
        """Return the update, None where it, or a later one of its sequence, came before."""
        seen = self._seen.get(update.symbol)
        if seen is not None and seen.epoch == update.epoch and update.seq <= seen.seq:
            return None
        self._seen[update.symbol] = update.position
        return update


class Derivation:
    """One derived symbol while it is wanted: updates of its inputs in, its quotes out."""

    def __init__(self, symbol: Symbol, definition: Derived) -> None:
        self.inputs = definition.inputs
        self._symbol = symbol
        self._memory: AsOfJoin[Symbol] | SlidingWindow | TumblingWindow
        if isinstance(definition, Rolling):
            self._memory = window = _window(definition)
            computed = _rolling(window)
        else:
            self._memory = join = AsOfJoin(self.inputs, round(definition.max_age * 1000))
            computed = pipe(pipe(_tick, join), _formula(definition))
        believable = pipe(computed, keep(_is_believable))
        self._quotes = pipe(pipe(Fresh(), believable), self._quote)

    def __call__(self, update: StockUpdate) -> Quote | None:
        """Take in an update of an input; returns the price that follows from it, if one does."""
        return self._quotes(update)

    @property
    def unused(self) -> dict[str, int]:
        """Updates that counted for less than they should, by reason.

        ``late``: older than the one before; ``stale``: another input was too old; ``overflowed``:
        they left the window before their time because it was full.
        """
        return {reason: getattr(self._memory, reason, 0) for reason in REASONS}

    def _quote(self, point: Point) -> Quote:
        return Quote(
            symbol=self._symbol, price=_rounded(point), timestamp=point.timestamp, computed=True
        )


def _tick(update: StockUpdate) -> Tick[Symbol]:
    return Tick(update.symbol, update.price, update.timestamp)


def _is_believable(point: Point) -> bool:
    return isfinite(point.price) and abs(point.price) <= LARGEST


def _rounded(point: Point) -> float:
    if not point.scale:
        return point.price
    return round(point.price, _DIGITS - 1 - floor(log10(point.scale)))


# --- joins --------------------------------------------------------------------------------------


def _formula(definition: Derived) -> Operator[Joined, Point]:
    if isinstance(definition, Basket):
        return _sum(tuple(definition.weights.values()))
    if isinstance(definition, Ratio) or (isinstance(definition, Convert) and definition.inverse):
        return _divided
    return _product if isinstance(definition, Convert) else _sum((1.0, -1.0))


def _sum(weights: tuple[float, ...]) -> Operator[Joined, Point]:
    def summed(joined: Joined) -> Point:
        parts = [price * weight for price, weight in zip(joined.prices, weights, strict=True)]
        return Point(sum(parts), joined.timestamp, max(map(abs, parts)))

    return summed


def _product(joined: Joined) -> Point:
    price, rate = joined.prices
    product = price * rate
    return Point(product, joined.timestamp, abs(product))


def _divided(joined: Joined) -> Point | None:
    price, rate = joined.prices
    # An input that is computed itself may be 0.
    if not rate:
        return None
    quotient = price / rate
    return Point(quotient, joined.timestamp, abs(quotient))


# --- windows ------------------------------------------------------------------------------------

_SLIDING: Final[Mapping[type[Rolling], Callable[[], Statistic]]] = {
    derived.High: partial(Extreme, highest=True),
    derived.Low: partial(Extreme, highest=False),
    derived.Mean: Mean,
    derived.Deviation: Deviation,
    derived.Vwap: Vwap,
    derived.RateOfChange: RateOfChange,
}
_TUMBLING: Final[Mapping[type[Rolling], Callable[[], Growing]]] = {
    **_SLIDING,
    derived.High: partial(GrowingExtreme, highest=True),
    derived.Low: partial(GrowingExtreme, highest=False),
    derived.RateOfChange: GrowingRateOfChange,
}


def _window(definition: Rolling) -> SlidingWindow | TumblingWindow:
    if definition.timeframe is not None:
        return TumblingWindow(_TUMBLING[type(definition)], bounds_of(definition.timeframe))
    duration_ms = None if definition.window is None else max(1, round(definition.window * 1000))
    statistic = _SLIDING[type(definition)]()
    return SlidingWindow(statistic, duration_ms=duration_ms, count=definition.count)


def _rolling(window: Operator[Sample, float]) -> Operator[StockUpdate, Point]:
    traded = Traded()

    def rolled(update: StockUpdate) -> Point | None:
        value = window(Sample(update.price, update.timestamp, traded(update)))
        return None if value is None else Point(value, update.timestamp, abs(value))

    return rolled
