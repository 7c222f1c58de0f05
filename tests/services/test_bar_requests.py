"""How the bar service asks its provider: once for many, not too much, and when that fails."""

import asyncio

import pytest
from structlog.testing import capture_logs

from stockstream.errors import (
    InvalidSymbolError,
    TemporaryProviderError,
    UnavailableError,
)
from stockstream.model import Symbol
from stockstream.services.bar_history import BarHistoryLimits
from stockstream.services.bars import BarService
from tests.services.bar_sources import (
    AAPL,
    D1,
    IBM,
    M1,
    MINUTE,
    MSFT,
    NOW,
    PERMANENT,
    TEMPORARY,
    Provider,
    bar,
)
from tests.support.clock import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


async def test_ten_thousand_who_ask_at_once_make_one_request(clock: ManualClock) -> None:
    provider = Provider(bar(NOW))
    provider.open.clear()
    service = BarService(provider, clock)
    asking = [asyncio.create_task(service.bars(AAPL, D1, 100)) for _ in range(10_000)]
    await provider.wait_for_calls(1)
    provider.open.set()

    assert all(bars == [bar(NOW)] for bars in await asyncio.gather(*asking))
    assert len(provider.calls) == 1


async def test_who_gives_up_takes_nothing_from_the_others(clock: ManualClock) -> None:
    provider = Provider(bar(NOW))
    provider.open.clear()
    service = BarService(provider, clock)
    impatient = asyncio.create_task(service.bars(AAPL, D1, 100))
    patient = asyncio.create_task(service.bars(AAPL, D1, 100))
    await provider.wait_for_calls(1)

    impatient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await impatient
    provider.open.set()

    assert await patient == [bar(NOW)]
    assert len(provider.calls) == 1


async def test_while_the_provider_fails_there_are_own_bars(clock: ManualClock) -> None:
    service = BarService(Provider(error=TEMPORARY), clock)
    service.on_quote(AAPL, 10.0, NOW, 0.0)

    with capture_logs() as logs:
        assert await service.bars(AAPL, M1, 10) == [bar(NOW)]

    assert [entry["event"] for entry in logs] == ["bars_unavailable"]
    assert service.history.failed == 1


async def test_while_the_provider_fails_what_it_said_before_is_continued(
    clock: ManualClock,
) -> None:
    provider = Provider(bar(NOW - MINUTE, 9.0, 60.0), bar(NOW, 10.0, 5.0))
    service = BarService(provider, clock)
    service.on_quote(AAPL, 10.0, NOW, 100.0)
    await service.bars(AAPL, M1, 10)
    provider.error = TEMPORARY
    await clock.advance(60)
    service.on_quote(AAPL, 10.0, NOW + 30_000, 102.0)
    service.on_quote(AAPL, 12.0, NOW + MINUTE, 103.0)

    assert await service.bars(AAPL, M1, 10) == [
        bar(NOW - MINUTE, 9.0, 60.0),
        bar(NOW, 10.0, 7.0),
        bar(NOW + MINUTE, 12.0, 1.0),
    ]
    assert len(provider.calls) == 2


async def test_without_own_bars_a_failing_provider_is_told_as_worth_a_retry(
    clock: ManualClock,
) -> None:
    service = BarService(Provider(error=TEMPORARY), clock)

    with pytest.raises(UnavailableError) as caught:
        await service.bars(AAPL, M1, 10)

    assert caught.value.retryable
    assert caught.value.symbol == AAPL


async def test_a_symbol_that_the_provider_does_not_know_is_refused_for_good(
    clock: ManualClock,
) -> None:
    service = BarService(Provider(error=PERMANENT), clock)

    with pytest.raises(InvalidSymbolError) as caught:
        await service.bars(AAPL, M1, 10)

    assert not caught.value.retryable
    assert caught.value.symbol == AAPL


async def test_a_fault_in_the_providers_code_is_logged_and_answered_as_unavailable(
    clock: ManualClock,
) -> None:
    service = BarService(Provider(error=KeyError("close")), clock)

    with capture_logs() as logs, pytest.raises(UnavailableError):
        await service.bars(AAPL, M1, 10)

    assert logs[0]["event"] == "bars_failed"
    assert logs[0]["exc_info"]


@pytest.mark.parametrize(
    ("error", "wait"),
    [
        (TEMPORARY, 5),
        (TemporaryProviderError("test", "slow down", retry_after=40), 40),
        (TemporaryProviderError("test", "slow down", retry_after=1e9), 300),
        (PERMANENT, 60),
    ],
)
async def test_a_failing_provider_is_left_alone_for_a_while(
    clock: ManualClock, error: Exception, wait: float
) -> None:
    provider = Provider(error=error)
    service = BarService(provider, clock)
    service.on_quote(AAPL, 10.0, NOW, 0.0)
    await service.bars(AAPL, D1, 10)
    await clock.advance(wait - 1)
    await service.bars(AAPL, D1, 10)
    assert len(provider.calls) == 1
    await clock.advance(1)
    await service.bars(AAPL, D1, 10)

    assert len(provider.calls) == 2


async def test_a_provider_that_never_answers_is_a_failing_one(clock: ManualClock) -> None:
    provider = Provider()
    provider.open.clear()
    service = BarService(provider, clock, limits=BarHistoryLimits(timeout=0.01))

    with pytest.raises(UnavailableError):
        await service.bars(AAPL, M1, 10)

    assert provider.busy == 0


async def test_only_some_requests_are_under_way_at_once(clock: ManualClock) -> None:
    provider = Provider(bar(NOW))
    provider.open.clear()
    service = BarService(provider, clock, limits=BarHistoryLimits(concurrent=2))
    asking = [asyncio.create_task(service.bars(Symbol(f"S{n}"), D1, 100)) for n in range(20)]
    await provider.wait_for_calls(2)
    provider.open.set()
    await asyncio.gather(*asking)

    assert provider.busiest == 2
    assert len(provider.calls) == 20


async def test_who_asks_when_too_many_wait_is_refused_at_once(clock: ManualClock) -> None:
    provider = Provider(bar(NOW))
    provider.open.clear()
    service = BarService(provider, clock, limits=BarHistoryLimits(pending=2))
    waiting = [asyncio.create_task(service.bars(symbol, D1, 100)) for symbol in (AAPL, MSFT)]
    await provider.wait_for_calls(2)

    with pytest.raises(UnavailableError):
        await service.bars(IBM, D1, 100)
    assert service.history.shed == 1
    # Who asks for what is under way costs nothing more.
    sharing = asyncio.create_task(service.bars(AAPL, D1, 100))
    provider.open.set()

    assert await asyncio.gather(*waiting, sharing) == [[bar(NOW)]] * 3


async def test_closing_ends_requests_and_tells_who_waits(clock: ManualClock) -> None:
    provider = Provider()
    provider.open.clear()
    async with BarService(provider, clock) as service:
        asking = asyncio.create_task(service.bars(AAPL, D1, 100))
        await provider.wait_for_calls(1)

    with pytest.raises(UnavailableError):
        await asking
    assert provider.busy == 0
    with pytest.raises(UnavailableError):
        await service.bars(AAPL, D1, 100)
    await service.aclose()
