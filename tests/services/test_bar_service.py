from collections.abc import Sequence

import pytest
from structlog.testing import capture_logs

from stockstream.errors import (
    InvalidPayloadError,
)
from stockstream.model import Bar, Symbol, Timeframe
from stockstream.providers.simulated import SimulatedProvider
from stockstream.services.bar_history import BarHistoryLimits
from stockstream.services.bars import BarService
from tests.services.bar_sources import AAPL, D1, IBM, M1, M5, MINUTE, MSFT, NOW, Provider, bar
from tests.support.clock import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


async def test_without_a_provider_there_are_own_bars_alone(clock: ManualClock) -> None:
    service = BarService(None, clock)
    assert await service.bars(AAPL, M1, 10) == []
    service.on_quote(AAPL, 10.0, NOW, 100.0)
    service.on_quote(AAPL, 11.0, NOW + MINUTE, 130.0)

    assert await service.bars(AAPL, M1, 10) == [bar(NOW), bar(NOW + MINUTE, 11.0, 30.0)]
    assert await service.bars(AAPL, M1, 1) == [bar(NOW + MINUTE, 11.0, 30.0)]


async def test_own_bars_continue_the_providers(clock: ManualClock) -> None:
    provider = Provider(bar(NOW - 2 * MINUTE, 8.0, 50.0), bar(NOW - MINUTE, 9.0, 60.0))
    service = BarService(provider, clock)
    service.on_quote(AAPL, 10.0, NOW, 100.0)

    bars = await service.bars(AAPL, M1, 10)

    assert bars == [*provider.bars, bar(NOW)]
    assert provider.calls == [(AAPL, M1, NOW + 1, 100)]


async def test_the_bar_in_which_our_counting_began_is_made_of_both_parts(
    clock: ManualClock,
) -> None:
    provider = Provider(Bar(timestamp=NOW, open=5, high=8, low=4, close=6, volume=100))
    service = BarService(provider, clock)
    service.on_quote(AAPL, 6.0, NOW + 20_000, 1_000.0)
    service.on_quote(AAPL, 6.5, NOW + 21_000, 1_010.0)
    # The provider's 100 contain the 10 that were counted here so far.
    await service.bars(AAPL, M1, 10)
    service.on_quote(AAPL, 9.0, NOW + 22_000, 1_030.0)

    assert await service.bars(AAPL, M1, 10) == [
        Bar(timestamp=NOW, open=5, high=9, low=4, close=9, volume=120)
    ]
    assert len(provider.calls) == 1


async def test_the_same_answer_serves_every_limit_up_to_its_depth(clock: ManualClock) -> None:
    provider = Provider(*(bar(NOW - 100 * MINUTE + index * MINUTE) for index in range(100)))
    service = BarService(provider, clock)

    assert len(await service.bars(AAPL, M1, 100)) == 100
    assert await service.bars(AAPL, M1, 1) == [provider.bars[-1]]
    assert len(provider.calls) == 1
    await service.bars(AAPL, M1, 101)
    assert provider.calls[1:] == [(AAPL, M1, NOW + 1, 1_000)]


async def test_an_answer_is_kept_until_its_last_bar_ends(clock: ManualClock) -> None:
    provider = Provider(bar(NOW))
    service = BarService(provider, clock)
    await clock.advance(15)
    await service.bars(AAPL, M1, 100)
    await clock.advance(44)
    await service.bars(AAPL, M1, 100)
    assert len(provider.calls) == 1
    await clock.advance(1)
    await service.bars(AAPL, M1, 100)

    assert len(provider.calls) == 2


async def test_no_answer_is_kept_for_longer_than_some_minutes(clock: ManualClock) -> None:
    provider = Provider(bar(NOW))
    service = BarService(provider, clock)
    await service.bars(AAPL, D1, 100)
    await clock.advance(299)
    await service.bars(AAPL, D1, 100)
    assert len(provider.calls) == 1
    await clock.advance(1)
    await service.bars(AAPL, D1, 100)

    assert len(provider.calls) == 2


async def test_the_answers_used_least_recently_leave_first(clock: ManualClock) -> None:
    provider = Provider(bar(NOW))
    service = BarService(provider, clock, limits=BarHistoryLimits(bars=200))
    for symbol in (AAPL, MSFT, AAPL, IBM):
        await service.bars(symbol, D1, 100)
    assert len(provider.calls) == 3
    await service.bars(AAPL, D1, 100)
    assert len(provider.calls) == 3
    await service.bars(MSFT, D1, 100)

    assert len(provider.calls) == 4


async def test_an_answer_from_before_the_stream_began_is_asked_for_anew(
    clock: ManualClock,
) -> None:
    provider = Provider(bar(NOW, volume=5.0))
    service = BarService(provider, clock)
    await service.bars(AAPL, D1, 100)
    service.on_quote(AAPL, 10.0, NOW, 0.0)
    await service.bars(AAPL, D1, 100)
    service.forget(AAPL)
    await service.bars(AAPL, D1, 100)

    assert len(provider.calls) == 3


@pytest.mark.parametrize("limit", [0, -1, 1_001, 10**18])
async def test_a_limit_out_of_bounds_is_refused_by_its_name(clock: ManualClock, limit: int) -> None:
    provider = Provider()

    with pytest.raises(InvalidPayloadError, match="limit"):
        await BarService(provider, clock).bars(AAPL, M1, limit)

    assert provider.calls == []


async def test_rows_that_cannot_be_true_are_dropped_and_the_rest_put_in_order(
    clock: ManualClock,
) -> None:
    provider = Provider(
        bar(NOW, 10.0),
        bar(NOW - MINUTE, float("nan")),
        bar(NOW - 5 * MINUTE, 8.0, 3.0),
        bar(NOW - 5 * MINUTE, 9.0, 4.0),
    )
    service = BarService(provider, clock)

    with capture_logs() as logs:
        assert await service.bars(AAPL, M5, 10) == [bar(NOW - 5 * MINUTE, 9.0, 4.0), bar(NOW)]

    assert logs[0]["count"] == 1


async def test_bars_labelled_within_their_stretch_are_labelled_by_its_start(
    clock: ManualClock,
) -> None:
    service = BarService(Provider(bar(NOW + 4 * 3_600_000)), clock)

    assert await service.bars(AAPL, D1, 10) == [bar(NOW)]


async def test_bars_outlive_their_stream(clock: ManualClock) -> None:
    service = BarService(None, clock)
    service.on_quote(AAPL, 10.0, NOW, 100.0)
    service.forget(AAPL)
    assert await service.bars(AAPL, M1, 10) == [bar(NOW)]
    service.on_quote(AAPL, 11.0, NOW + MINUTE, 900.0)

    assert await service.bars(AAPL, M1, 10) == [bar(NOW), bar(NOW + MINUTE, 11.0)]


async def test_of_symbols_that_nobody_streams_the_most_recent_are_kept(
    clock: ManualClock,
) -> None:
    service = BarService(None, clock, idle_symbols=2)
    for symbol in (AAPL, MSFT, IBM):
        service.on_quote(symbol, 10.0, NOW, 0.0)
    for symbol in (MSFT, AAPL, IBM):
        service.forget(symbol)
    service.forget(Symbol("NEVER.STREAMED"))

    assert await service.bars(MSFT, M1, 10) == []
    assert await service.bars(AAPL, M1, 10) == [bar(NOW)]
    assert await service.bars(IBM, M1, 10) == [bar(NOW)]


async def test_the_provider_has_the_last_word_once_the_stream_stopped(clock: ManualClock) -> None:
    provider = Provider(bar(NOW, 12.0, 70.0))
    service = BarService(provider, clock)
    service.on_quote(AAPL, 10.0, NOW - MINUTE, 0.0)
    service.on_quote(AAPL, 10.0, NOW, 0.0)
    service.forget(AAPL)

    assert await service.bars(AAPL, M1, 10) == [bar(NOW - MINUTE), bar(NOW, 12.0, 70.0)]


async def test_what_one_asker_does_to_its_list_changes_nobody_elses(clock: ManualClock) -> None:
    service = BarService(Provider(bar(NOW)), clock)
    service.on_quote(AAPL, 10.0, NOW, 0.0)
    mine = await service.bars(AAPL, M1, 10)
    mine.clear()

    assert await service.bars(AAPL, M1, 10) == [bar(NOW)]


@pytest.mark.parametrize("timeframe", [M1, M5, Timeframe.H1, D1, Timeframe.W1])
@pytest.mark.parametrize("ours_begin", [-400, -3, -1, 0])
async def test_the_newest_few_bars_are_those_of_a_longer_answer(
    clock: ManualClock, *, timeframe: Timeframe, ours_begin: int
) -> None:
    provider = Provider(
        *(bar(NOW + index * MINUTE, 10.0 + index % 7, 5.0) for index in range(-9, 1))
    )
    service = BarService(provider, clock)
    for minute in range(ours_begin, 1):
        service.on_quote(AAPL, 20.0 + minute % 5, NOW + minute * MINUTE, 1_000.0 + minute)
    await service.bars(AAPL, timeframe, 1)
    for minute in range(4):
        service.on_quote(AAPL, 30.0 - minute, NOW + minute * MINUTE + 1, 1_001.0 + 3 * minute)

        few = [await service.bars(AAPL, timeframe, limit) for limit in (2, 1)]

        longer = await service.bars(AAPL, timeframe, 10)
        assert few == [longer[-2:], longer[-1:]]


@pytest.mark.parametrize("timeframe", [M1, M5, Timeframe.H1, D1, Timeframe.W1])
@pytest.mark.parametrize("asked_before", [True, False])
async def test_history_continued_by_quotes_is_what_the_market_did(
    clock: ManualClock, *, timeframe: Timeframe, asked_before: bool
) -> None:
    # The simulated market's bars are made of the very ticks that its quotes show.
    market = SimulatedProvider(clock, seed=7)
    service = BarService(market, clock)
    await clock.advance(13)
    if asked_before:
        await service.bars(AAPL, timeframe, 100)
    for second in range(420):
        for quote in (await market.fetch_quotes([AAPL])).quotes:
            assert quote.timestamp is not None
            assert quote.volume is not None
            service.on_quote(AAPL, quote.price, quote.timestamp, quote.volume)
        if second % 59 == 0:
            truth = await market.fetch_bars(AAPL, timeframe, end_ms=clock.time_ms() + 1, limit=100)
            bars = await service.bars(AAPL, timeframe, 100)
            assert _rounded(bars) == _rounded(truth)
        await clock.advance(1)


def _rounded(bars: Sequence[Bar]) -> list[tuple[float, ...]]:
    return [
        (bar.timestamp, bar.open, bar.high, bar.low, bar.close, round(bar.volume, 3))
        for bar in bars
    ]
