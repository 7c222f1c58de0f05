"""Quotes and bars as hypothesis makes them up."""

from collections.abc import Sequence
from math import inf

from hypothesis import strategies as st

from stockstream.core.bars import MinuteBars
from stockstream.model import Bar, Timeframe

Tick = tuple[float, int, float]
MINUTE = 60_000
NOON = 1_709_640_000_000
# Whole units of volume add up exactly, in whatever order.
_prices = st.integers(1, 1_000).map(float)
_gaps = st.one_of(st.integers(0, 5_000), st.integers(0, 30 * MINUTE))
volumes = st.integers(0, 50).map(float)


@st.composite
def ticks(draw: st.DrawFn) -> list[Tick]:
    """Quotes in order of time with the day's volume, which starts anew now and then."""
    steps = st.tuples(_prices, _gaps, volumes, st.integers(0, 19))
    timestamp, volume, result = draw(st.integers(0, NOON)), 0.0, []
    for price, gap, traded, reset in draw(st.lists(steps, max_size=60)):
        timestamp += gap
        volume = traded if reset == 0 else volume + traded
        result.append((price, timestamp, volume))
    return result


@st.composite
def bars(draw: st.DrawFn) -> list[Bar]:
    """Bars of a minute in order of time, with holes."""
    starts = draw(st.sets(st.integers(0, 40)))
    return [draw(_bar(NOON + start * MINUTE)) for start in sorted(starts)]


def _bar(timestamp: int) -> st.SearchStrategy[Bar]:
    four = st.lists(_prices, min_size=4, max_size=4)
    return st.builds(
        lambda prices, volume: Bar(
            timestamp=timestamp,
            open=prices[0],
            high=max(prices),
            low=min(prices),
            close=prices[3],
            volume=volume,
        ),
        four,
        volumes,
    )


def built(quotes: Sequence[Tick], keep: int = 10**6) -> MinuteBars:
    minutes = MinuteBars(keep)
    for price, timestamp, volume in quotes:
        minutes.add(price, timestamp, volume)
    return minutes


def flat(timestamp: int, price: float = 10.0, volume: float = 0.0) -> Bar:
    return Bar(timestamp=timestamp, open=price, high=price, low=price, close=price, volume=volume)


def recomputed(quotes: Sequence[Tick], timeframe: Timeframe) -> list[Bar]:
    """The bars as one would make them with all quotes on the table."""
    groups: dict[int, list[float]] = {}
    volumes: dict[int, float] = {}
    before = inf
    for price, timestamp, volume in quotes:
        start = timeframe.floor(timestamp)
        groups.setdefault(start, []).append(price)
        volumes[start] = volumes.get(start, 0.0) + max(volume - before, 0.0)
        before = volume
    return [
        Bar(
            timestamp=start,
            open=prices[0],
            high=max(prices),
            low=min(prices),
            close=prices[-1],
            volume=volumes[start],
        )
        for start, prices in groups.items()
    ]
