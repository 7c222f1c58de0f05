"""The simulated market."""

import asyncio
import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stockstream.errors import ConfigError
from stockstream.model import Quote, Symbol, Timeframe
from stockstream.providers.simulated import SimulatedProvider
from tests.providers.contract import BarsContract, PollerContract, ProviderContract, Subject
from tests.support.clock import ManualClock

AAPL = Symbol("AAPL")
MSFT = Symbol("MSFT")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def subject(clock: ManualClock) -> Subject:
    return Subject(provider=SimulatedProvider(clock), clock=clock, symbols=(AAPL, MSFT))


class TestSimulatedContract(ProviderContract, PollerContract, BarsContract):
    """The contracts that apply to it."""


async def quote_of(provider: SimulatedProvider, symbol: Symbol = AAPL) -> Quote:
    return (await provider.fetch_quotes([symbol])).quotes[0]


async def each_second(provider: SimulatedProvider, clock: ManualClock, seconds: int) -> list[Quote]:
    quotes = []
    for _ in range(seconds):
        quotes.append(await quote_of(provider))
        await clock.advance(1)
    return quotes


async def test_quote_depends_neither_on_other_symbols_nor_on_what_was_asked_before(
    clock: ManualClock,
) -> None:
    one, other = SimulatedProvider(clock), SimulatedProvider(clock)
    for _ in range(200):
        await one.fetch_quotes([MSFT, AAPL, Symbol("^GSPC")])
        await clock.advance(random.choice([1, 1, 1, 40, 3000]))
    assert await quote_of(one) == await quote_of(other)


async def test_quotes_are_the_same_in_each_release() -> None:
    quote = await quote_of(SimulatedProvider(ManualClock(1_709_649_000_000)))
    assert (quote.price, quote.bid, quote.ask) == (825.69, 825.67, 825.71)
    assert (quote.open, quote.previous_close) == (822.02, 822.02)


async def test_wall_clock_set_back_gives_the_quotes_of_that_time() -> None:
    # Early in a day, so that its extremes are other ones later.
    clock = ManualClock(Timeframe.D1.floor(ManualClock().time_ms()) + 60_000)
    provider = SimulatedProvider(clock)
    before = await quote_of(provider)
    await clock.advance(5000)
    later = await quote_of(provider)
    assert (later.day_low, later.day_high) != (before.day_low, before.day_high)
    clock.jump(-5000)
    assert await quote_of(provider) == before


async def test_another_seed_is_another_market(clock: ManualClock) -> None:
    one, other = SimulatedProvider(clock, seed=1), SimulatedProvider(clock, seed=2)
    assert (await quote_of(one)).price != (await quote_of(other)).price


async def test_symbols_differ_in_level(clock: ManualClock) -> None:
    symbols = [Symbol(f"S{number}") for number in range(500)]
    batch = await SimulatedProvider(clock).fetch_quotes(symbols)
    prices = [quote.price for quote in batch.quotes]
    assert len(set(prices)) > 490
    assert min(prices) < 200
    assert max(prices) > 700


@pytest.mark.parametrize(("probability", "changes"), [(0, 0), (0.1, 50), (0.5, 250), (1, 500)])
async def test_share_of_ticks_that_change_the_price_is_kept(
    clock: ManualClock, probability: float, changes: int
) -> None:
    provider = SimulatedProvider(clock, change_probability=probability)
    prices = [quote.price for quote in await each_second(provider, clock, 501)]
    changed = sum(before != after for before, after in itertools.pairwise(prices))
    # One stretch may be cut off at either end.
    assert abs(changed - changes) <= (1 if 0 < probability < 1 else 0)


async def test_changes_are_not_regular(clock: ManualClock) -> None:
    quotes = await each_second(SimulatedProvider(clock), clock, 200)
    changed = [one.price != next_.price for one, next_ in itertools.pairwise(quotes)]
    assert len(set(zip(changed, changed[1:], changed[2:], strict=False))) >= 5


async def test_price_holds_between_ticks(clock: ManualClock) -> None:
    provider = SimulatedProvider(clock, change_probability=1.0)
    at_tick = await quote_of(provider)
    await clock.advance(0.999)
    assert await quote_of(provider) == at_tick
    await clock.advance(0.001)
    assert (await quote_of(provider)).price != at_tick.price


async def test_volume_grows_over_the_day_and_starts_anew(clock: ManualClock) -> None:
    quotes = await each_second(SimulatedProvider(clock), clock, 300)
    volumes = [quote.volume or 0 for quote in quotes]
    assert volumes == sorted(volumes)
    assert volumes[0] > 0
    assert volumes[-1] > volumes[0]
    midnight = ManualClock(Timeframe.D1.floor(clock.time_ms()))
    assert ((await quote_of(SimulatedProvider(midnight))).volume or 0) < volumes[0] / 100


async def test_day_begins_with_its_open_and_the_close_before_it() -> None:
    midnight = Timeframe.D1.floor(ManualClock().time_ms())
    clock = ManualClock(midnight - 1000)
    provider = SimulatedProvider(clock, change_probability=1.0)
    close = (await quote_of(provider)).price
    await clock.advance(1)
    first = await quote_of(provider)
    assert (first.open, first.previous_close) == (first.price, close)
    assert (first.day_low, first.day_high) == (first.price, first.price)
    await clock.advance(5000)
    later = await quote_of(provider)
    assert (later.open, later.previous_close) == (first.open, close)


async def test_day_extremes_are_those_of_the_prices_shown() -> None:
    clock = ManualClock(Timeframe.D1.floor(ManualClock().time_ms()))
    provider = SimulatedProvider(clock)
    quotes = await each_second(provider, clock, 2000)
    prices = [quote.price for quote in quotes]
    for count in range(1, 2000, 37):
        assert quotes[count].day_high == max(prices[: count + 1])
        assert quotes[count].day_low == min(prices[: count + 1])
    # One who asks for the first time sees the same.
    assert await quote_of(SimulatedProvider(clock)) == await quote_of(provider)


@pytest.mark.parametrize("timeframe", [Timeframe.M1, Timeframe.M5, Timeframe.M15])
async def test_bars_are_made_of_the_prices_that_were_shown(
    clock: ManualClock, timeframe: Timeframe
) -> None:
    provider = SimulatedProvider(clock)
    clock.jump((timeframe.floor(clock.time_ms()) - clock.time_ms()) / 1000)
    before = (await quote_of(provider)).volume or 0
    start = clock.time_ms()
    quotes = await each_second(provider, clock, timeframe.duration_ms // 1000)
    prices = [quote.price for quote in quotes]
    end = clock.time_ms()
    (bar,) = await provider.fetch_bars(AAPL, timeframe, end_ms=end, limit=1)
    assert bar.timestamp == start
    assert (bar.open, bar.close) == (prices[0], prices[-1])
    assert (bar.high, bar.low) == (max(prices), min(prices))
    assert bar.volume > (quotes[-1].volume or 0) - before


async def test_bar_that_forms_ends_with_the_present_price(clock: ManualClock) -> None:
    provider = SimulatedProvider(clock)
    await clock.advance(17)
    quote = await quote_of(provider)
    for timeframe in Timeframe:
        bars = await provider.fetch_bars(AAPL, timeframe, end_ms=clock.time_ms() + 10**12, limit=2)
        assert bars[-1].close == quote.price
        assert bars[-1].timestamp == timeframe.floor(clock.time_ms())


async def test_bar_of_the_day_agrees_with_the_quote(clock: ManualClock) -> None:
    provider = SimulatedProvider(clock)
    quote = await quote_of(provider)
    yesterday, today = await provider.fetch_bars(
        AAPL, Timeframe.D1, end_ms=clock.time_ms(), limit=2
    )
    assert (today.open, today.high, today.low) == (quote.open, quote.day_high, quote.day_low)
    assert today.volume == quote.volume
    assert yesterday.close == quote.previous_close


async def test_volumes_of_bars_add_up(clock: ManualClock) -> None:
    provider = SimulatedProvider(clock)
    end = Timeframe.H1.floor(clock.time_ms())
    (hour,) = await provider.fetch_bars(AAPL, Timeframe.H1, end_ms=end, limit=1)
    minutes = await provider.fetch_bars(AAPL, Timeframe.M1, end_ms=end, limit=60)
    assert sum(bar.volume for bar in minutes) == hour.volume


async def test_ticks_rarer_than_bars_leave_bars_out(clock: ManualClock) -> None:
    provider = SimulatedProvider(clock, interval=180)
    bars = await provider.fetch_bars(AAPL, Timeframe.M1, end_ms=clock.time_ms(), limit=10)
    starts = [bar.timestamp for bar in bars]
    assert [after - before for before, after in itertools.pairwise(starts)] == [180_000] * 9


async def test_history_ends_at_the_epoch() -> None:
    provider = SimulatedProvider(ManualClock(200_000))
    bars = await provider.fetch_bars(AAPL, Timeframe.M1, end_ms=200_000, limit=100)
    assert [bar.timestamp for bar in bars] == [0, 60_000, 120_000, 180_000]
    assert (await quote_of(provider)).price > 0


@given(
    symbol=st.from_regex(r"[A-Z0-9^][A-Z0-9.\-=^&_]{0,31}", fullmatch=True).map(Symbol),
    seed=st.integers(),
    seconds=st.integers(min_value=0, max_value=4_000_000_000),
    interval=st.sampled_from([0.001, 0.25, 1, 7, 86_400]),
    probability=st.floats(min_value=0, max_value=1),
)
def test_any_symbol_has_a_sensible_price_at_any_time(
    symbol: Symbol, seed: int, seconds: int, interval: float, probability: float
) -> None:
    clock = ManualClock(seconds * 1000)
    provider = SimulatedProvider(
        clock, seed=seed, interval=interval, change_probability=probability
    )
    quote = asyncio.run(quote_of(provider, symbol))
    assert 100 <= quote.price <= 1000
    assert quote.timestamp is not None
    assert 0 <= clock.time_ms() - quote.timestamp < interval * 1000
    assert quote.bid is not None
    assert quote.ask is not None
    assert quote.bid < quote.price < quote.ask
    assert quote.day_low is not None
    assert quote.day_high is not None
    assert quote.day_low <= quote.price <= quote.day_high
    assert quote.volume is not None
    assert quote.volume >= 0


@pytest.mark.parametrize(
    ("interval", "probability", "name"),
    [
        (1.0, 1.5, "SIMULATED_CHANGE_PROBABILITY"),
        (1.0, -0.1, "SIMULATED_CHANGE_PROBABILITY"),
        (1.0, float("nan"), "SIMULATED_CHANGE_PROBABILITY"),
        (0.0, 0.5, "UPDATE_INTERVAL"),
        (float("inf"), 0.5, "UPDATE_INTERVAL"),
    ],
)
def test_wrong_setting_is_refused_by_name(
    clock: ManualClock, interval: float, probability: float, name: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        SimulatedProvider(clock, interval=interval, change_probability=probability)
    assert refused.value.name == name
