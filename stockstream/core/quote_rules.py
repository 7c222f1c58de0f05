"""Which quotes are believed: the door that provider data comes through."""

from dataclasses import dataclass
from enum import StrEnum
from math import isfinite
from typing import Final

from stockstream.model import Quote


class Rejection(StrEnum):
    """Why a quote is not believed."""

    #: A field is NaN or infinite.
    NOT_FINITE = "not_finite"
    #: The price is zero or negative, or another field is negative.
    NOT_POSITIVE = "not_positive"
    #: A number that no market has: so large, or so small, that reckoning with it overflows.
    OUT_OF_RANGE = "out_of_range"
    #: The price is absurdly far from the last one, and nothing has confirmed it yet.
    PRICE_JUMP = "price_jump"
    #: It is older than the last accepted one.
    OUT_OF_ORDER = "out_of_order"
    #: It claims to come from a time that is still to come.
    FROM_THE_FUTURE = "from_the_future"


@dataclass(frozen=True, slots=True, kw_only=True)
class QuoteLimits:
    """What is still plausible."""

    #: Largest believable move between two quotes, as a fraction of the last price.
    max_jump: float = 0.5
    #: So many quotes in a row near a new level make it true: splits and halts do happen, and a
    #: symbol must not stay frozen for good.
    confirmations: int = 3
    #: How near, as a fraction of the new level.
    confirmation_band: float = 0.05
    #: How far in ms a provider's clock may run ahead of ours. One quote from next year would
    #: otherwise make all that follow it look old.
    max_ahead_ms: int = 300_000


DEFAULT_LIMITS: Final = QuoteLimits()

#: No price is below the one or above the other, nor is a volume above it. Within them neither a
#: percentage nor the volume of a day can overflow.
SMALLEST: Final = 1e-12
LARGEST: Final = 1e15


class QuoteRules:
    """Decides for one symbol which quotes are believed, in the order of their receipt."""

    __slots__ = ("_confirmed", "_last_price", "_last_timestamp", "_level", "_limits")

    def __init__(self, limits: QuoteLimits = DEFAULT_LIMITS) -> None:
        self._limits = limits
        self._last_price: float | None = None
        self._last_timestamp: int | None = None
        self._level: float | None = None
        self._confirmed = 0

    def timestamp_of(self, quote: Quote, now_ms: int) -> int:
        """Return the quote's own time, or where it has none that of its receipt.

        The wall clock may step back; a quote without a time of its own is never older than the
        one before it.
        """
        if quote.timestamp is not None:
            return quote.timestamp
        return max(now_ms, self._last_timestamp or 0)

    def judge(self, quote: Quote, timestamp: int, now_ms: int) -> Rejection | None:
        """Return why the quote is not believed, or None; a believed one becomes the last one."""
        rejection = (
            _judge_numbers(quote)
            or self._judge_time(timestamp, now_ms)
            or (None if quote.computed else self._judge_jump(quote.price))
        )
        if rejection is None:
            self._last_price = quote.price
            self._last_timestamp = timestamp
        return rejection

    def is_plausible(self, price: float) -> bool:
        """Return whether a price is near the last one that was believed."""
        return self._last_price is not None and _near(
            price, self._last_price, self._limits.max_jump
        )

    def _judge_time(self, timestamp: int, now_ms: int) -> Rejection | None:
        if self._last_timestamp is not None and timestamp < self._last_timestamp:
            return Rejection.OUT_OF_ORDER
        if timestamp > now_ms + self._limits.max_ahead_ms:
            return Rejection.FROM_THE_FUTURE
        return None

    def _judge_jump(self, price: float) -> Rejection | None:
        limits = self._limits
        if self._last_price is None or _near(price, self._last_price, limits.max_jump):
            self._level = None
            return None
        if self._level is None or not _near(price, self._level, limits.confirmation_band):
            self._confirmed = 0
        self._level = price
        self._confirmed += 1
        if self._confirmed < limits.confirmations:
            return Rejection.PRICE_JUMP
        self._level = None
        self._confirmed = 0
        return None


def _near(price: float, level: float, fraction: float) -> bool:
    return abs(price - level) <= level * fraction


def _judge_numbers(quote: Quote) -> Rejection | None:
    price = quote.price
    if not isfinite(price):
        return Rejection.NOT_FINITE
    if quote.computed:
        return None if abs(price) <= LARGEST else Rejection.OUT_OF_RANGE
    if price <= 0:
        return Rejection.NOT_POSITIVE
    # What a change is measured against must not be next to nothing either.
    close, opened = quote.previous_close or price, quote.open or price
    if not SMALLEST <= price <= LARGEST or 0 < close < SMALLEST or 0 < opened < SMALLEST:
        return Rejection.OUT_OF_RANGE
    return _judge_optional(quote)


def _judge_optional(quote: Quote) -> Rejection | None:
    for value in (
        quote.bid,
        quote.ask,
        quote.volume,
        quote.size,
        quote.day_high,
        quote.day_low,
        quote.open,
        quote.previous_close,
    ):
        if value is None:
            continue
        if not isfinite(value):
            return Rejection.NOT_FINITE
        if value < 0:
            return Rejection.NOT_POSITIVE
        if value > LARGEST:
            return Rejection.OUT_OF_RANGE
    return None
