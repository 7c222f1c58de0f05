"""A market that is made up: any valid symbol has a plausible price path, the same each time."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from stockstream.errors import ConfigError
from stockstream.model import Bar, Symbol, Timeframe
from stockstream.ports import Clock
from stockstream.provider_ports import BarSource, PollLimits, QuoteBatch, QuoteFeed, QuotePoller
from stockstream.providers.listing import Listing, Market

# Symbols whose beginnings are remembered; more than these only cost time.
_REMEMBERED: Final = 16_384
# Quotes and bars after which others get a turn: some milliseconds' work if nothing is remembered.
_TURN: Final = 64


class SimulatedProvider:
    """Quotes and bars of a made-up market; implements poller, bar source and provider in one.

    Reproducible: price, volume, bid, ask, open, extremes and previous close of a symbol at a time
    depend on the seed, the symbol, the interval and the change probability, and on nothing else:
    not on the process, nor on which symbols are asked for, how often or in which order. Bars are
    made of the very ticks that quotes show: a bar's close is the price at its last tick, a day's
    bar has the day's extremes, and volumes of bars add up to the day's.

    Args:
        clock: tells which tick is the present one.
        seed: chooses one of many markets.
        interval: seconds from one tick to the next, rounded to a millisecond.
        change_probability: the share of ticks, 0 to 1, at which a price differs from the one
            before. It is kept exactly over time: at 0.5, one of every two ticks changes the
            price, and chance decides which.

    Raises:
        ConfigError: the probability is not within 0 to 1, or the interval not within a day.
    """

    def __init__(
        self, clock: Clock, *, seed: int = 0, interval: float = 1.0, change_probability: float = 0.5
    ) -> None:
        if not 0 <= change_probability <= 1:
            raise ConfigError("SIMULATED_CHANGE_PROBABILITY", change_probability, "from 0 to 1")
        if not 0.001 <= interval <= 86_400:
            raise ConfigError("UPDATE_INTERVAL", interval, "from 0.001 to 86400 seconds")
        self._clock = clock
        market = Market(
            seed=seed, interval_ms=round(interval * 1000), change_probability=change_probability
        )
        self._listing = lru_cache(_REMEMBERED)(lambda symbol: Listing(symbol, market))

    @property
    def name(self) -> str:
        """``simulated``."""
        return "simulated"

    @property
    def poller(self) -> QuotePoller:
        """This provider answers polls."""
        return self

    @property
    def feed(self) -> QuoteFeed | None:
        """None: nothing is pushed."""
        return None

    @property
    def bars(self) -> BarSource:
        """This provider has history."""
        return self

    @property
    def limits(self) -> PollLimits:
        """No limits."""
        return PollLimits()

    async def fetch_quotes(self, symbols: Sequence[Symbol]) -> QuoteBatch:
        """Return a quote of every symbol, all of the same moment; none ever fails.

        Time, price and volume are those of the tick at or before now. Some 10 µs a symbol, and ten
        times that for a symbol's first quote of a day; others get a turn now and then.
        """
        now = self._clock.time_ms()
        quotes = []
        for count, symbol in enumerate(dict.fromkeys(symbols), 1):
            quotes.append(self._listing(symbol).quote(symbol, now))
            if count % _TURN == 0:
                await self._clock.sleep(0)
        return QuoteBatch(quotes=quotes)

    async def fetch_bars(
        self, symbol: Symbol, timeframe: Timeframe, *, end_ms: int, limit: int
    ) -> Sequence[Bar]:
        """Return the newest bars up to now; history goes back to the epoch."""
        listing = self._listing(symbol)
        now = self._clock.time_ms()
        moment = min(now, timeframe.floor(min(now, end_ms - 1)) + timeframe.duration_ms - 1)
        bars: list[Bar] = []
        while len(bars) < limit and moment >= 0:
            bar = listing.bar(timeframe, moment)
            bars.append(bar)
            moment = bar.timestamp - 1
            if len(bars) % _TURN == 0:
                await self._clock.sleep(0)
        bars.reverse()
        return bars

    async def aclose(self) -> None:
        """Do nothing: nothing is held."""
