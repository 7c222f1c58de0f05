"""One symbol of the simulated market: its price, volume and bars at any tick.

Everything is a pure function of the seed, the symbol and the market's settings; what is remembered
only saves work.
"""

from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from stockstream.model import Bar, Quote, Symbol, Timeframe
from stockstream.providers.walk import SPAN, Walk, scramble

_DAY_MS: Final = Timeframe.D1.duration_ms
# Fractions of this many parts are kept exactly; floats would drift over a billion ticks.
_WHOLE: Final = 1 << 20
# Numbers for `scramble`, beside those that the walk draws.
_CHANGE: Final = 14
_TRADED: Final = 15
_BUSY: Final = 13


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """What all symbols of a simulated market have in common."""

    #: Chooses one of many markets.
    seed: int
    #: Milliseconds from one tick to the next; ticks fall on whole multiples since the epoch.
    interval_ms: int
    #: The share of ticks, 0 to 1, at which a price differs from the one before.
    change_probability: float


@dataclass(slots=True, kw_only=True)
class _Day:
    """What is remembered of the day that was asked for last."""

    #: First tick and the walk's step there.
    first: int
    first_step: int
    #: Price at the first tick and at the one before it, and the shares traded before.
    open: float
    previous_close: float
    traded: int
    #: The step reached, and the walk's extremes up to it.
    step: int
    low: int
    high: int


class Listing:
    """A symbol's price path: one cent or more up or down at each tick that changes it."""

    __slots__ = (
        "_base",
        "_busy",
        "_day",
        "_key",
        "_lot",
        "_market",
        "_phase",
        "_share",
        "_spread",
        "_walk",
    )

    def __init__(self, symbol: Symbol, market: Market) -> None:
        digest = blake2b(f"{market.seed} {symbol}".encode(), digest_size=32).digest()
        level, self._phase, lot, self._key = (
            int.from_bytes(digest[start : start + 8], "big") for start in range(0, 32, 8)
        )
        self._market = market
        self._share = round(market.change_probability * _WHOLE)
        # Cents: 100 to 700 at the foot of a walk that reaches 1.4 times as high. From 100 on, one
        # ten-thousandth is at least a cent, so that each step of the walk shows.
        self._base = 10_000 + level % 60_000
        self._spread = 1 + level // 60_000 % 3
        # Room below, for a clock that says 1970.
        self._phase = SPAN + self._phase % (2 * SPAN)
        # Shares a tick, such that a day has one million to a hundred million of them.
        daily = 1_000_000 * 10 ** (lot / 2**63)
        self._lot = max(1, round(daily * market.interval_ms / _DAY_MS))
        self._walk = Walk(self._key)
        self._day: _Day | None = None
        # Number of the 64 ticks asked for last, shares traded before and within them.
        self._busy = (-2, 0, 0)

    def quote(self, symbol: Symbol, now_ms: int) -> Quote:
        """Return what the market says at the last tick before or at ``now_ms``."""
        interval = self._market.interval_ms
        tick = now_ms // interval
        day = self._day_of(tick, Timeframe.D1.floor(now_ms))
        step = self._step(tick)
        self._extend(day, step)
        cents = self._cents(self._walk.at(step))
        return Quote(
            symbol=symbol,
            price=cents / 100,
            timestamp=tick * interval,
            volume=float(self._traded(tick) - day.traded),
            bid=(cents - self._spread) / 100,
            ask=(cents + self._spread) / 100,
            day_high=self._cents(day.high) / 100,
            day_low=self._cents(day.low) / 100,
            open=day.open,
            previous_close=day.previous_close,
        )

    def bar(self, timeframe: Timeframe, moment: int) -> Bar:
        """Return the bar of the last tick before or at ``moment`` (ms), as it is at that tick."""
        interval = self._market.interval_ms
        last = moment // interval
        start = timeframe.floor(last * interval)
        first = -(-start // interval)
        low, high = self._walk.extremes(self._step(first), self._step(last))
        return Bar(
            timestamp=start,
            open=self._price(first),
            high=self._cents(high) / 100,
            low=self._cents(low) / 100,
            close=self._price(last),
            volume=float(self._traded(last) - self._traded(first - 1)),
        )

    def _price(self, tick: int) -> float:
        return self._cents(self._walk.at(self._step(tick))) / 100

    def _cents(self, height: int) -> int:
        return self._base + self._base * height // 10_000

    def _step(self, tick: int) -> int:
        """Return the walk's step at ``tick``: as many as there were changes until then.

        Time is cut into stretches of, on average, one over the probability ticks; one tick of each
        stretch, any of them, changes the price. So the share is kept exactly, and the number of
        changes up to any tick is known without counting.
        """
        if not self._share:
            return self._phase
        stretch = tick * self._share // _WHOLE
        start = -(-stretch * _WHOLE // self._share)
        end = -(-(stretch + 1) * _WHOLE // self._share)
        changed = start + scramble(self._key, stretch << 4 | _CHANGE) % (end - start)
        return self._phase + stretch + (tick >= changed)

    def _traded(self, tick: int) -> int:
        """Return the shares traded since the epoch: more at each tick, in busy and idle hours.

        Every 64 ticks the sum is somewhere within the 64 average ticks that follow; between these
        places it goes straight on, by an uneven share for each tick.
        """
        block = tick >> 6
        if self._busy[0] != block:
            start, end = (
                64 * number + scramble(self._key, number << 4 | _BUSY) % 64
                for number in (block, block + 1)
            )
            self._busy = (block, self._lot * start, self._lot * (end - start))
        uneven = scramble(self._key, tick << 4 | _TRADED) & 255
        _, start, traded = self._busy
        return start + (traded * ((tick & 63) << 8 | uneven) >> 14)

    def _day_of(self, tick: int, start_ms: int) -> _Day:
        first = min(tick, -(-start_ms // self._market.interval_ms))
        if self._day is None or self._day.first != first:
            step = self._step(first)
            height = self._walk.at(step)
            self._day = _Day(
                first=first,
                open=self._cents(height) / 100,
                previous_close=self._price(first - 1),
                traded=self._traded(first - 1),
                first_step=step,
                step=step,
                low=height,
                high=height,
            )
        return self._day

    def _extend(self, day: _Day, step: int) -> None:
        """Make ``day`` have the extremes of its first tick to ``step``."""
        if step < day.step:
            # The wall clock went back.
            day.low, day.high = self._walk.extremes(day.first_step, step)
        elif step > day.step:
            low, high = self._walk.extremes(day.step, step)
            day.low, day.high = min(day.low, low), max(day.high, high)
        day.step = step
