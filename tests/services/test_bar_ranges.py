"""Bars of a stretch of time, page by page."""

from collections.abc import Sequence

import pytest

from stockstream.errors import InvalidPayloadError
from stockstream.model import Bar, Symbol, Timeframe
from stockstream.services.bars import MAX_RANGE, BarService
from tests.support.clock import ManualClock

AAPL = Symbol("AAPL")
M1 = Timeframe.M1
MINUTE = 60_000
#: A Monday, 00:00 UTC.
START = 1_709_510_400_000


@pytest.fixture
def service() -> BarService:
    """A service that has counted ten minutes."""
    bars = BarService(None, ManualClock(START))
    for minute in range(10):
        bars.on_quote(AAPL, 10.0 + minute, START + minute * MINUTE, 0.0)
    return bars


def minutes(bars: Sequence[Bar]) -> list[int]:
    return [(bar.timestamp - START) // MINUTE for bar in bars]


async def test_a_range_holds_its_start_and_not_its_end(service: BarService) -> None:
    bars = await service.range(AAPL, M1, start_ms=START + 2 * MINUTE, end_ms=START + 5 * MINUTE)

    assert minutes(bars) == [2, 3, 4]


async def test_with_a_start_the_oldest_come_first(service: BarService) -> None:
    assert minutes(await service.range(AAPL, M1, start_ms=START + 1, limit=3)) == [1, 2, 3]


async def test_without_a_start_it_is_the_newest(service: BarService) -> None:
    assert minutes(await service.range(AAPL, M1, end_ms=START + 9 * MINUTE, limit=3)) == [6, 7, 8]
    assert minutes(await service.range(AAPL, M1, limit=2)) == [8, 9]


async def test_an_empty_range_holds_nothing(service: BarService) -> None:
    assert minutes(await service.range(AAPL, M1, start_ms=START, end_ms=START)) == []


async def test_a_range_that_ends_before_it_starts_is_refused(service: BarService) -> None:
    with pytest.raises(InvalidPayloadError, match=r"from \(2\) must not be after to \(1\)"):
        await service.range(AAPL, M1, start_ms=2, end_ms=1)


@pytest.mark.parametrize("limit", [0, -1, MAX_RANGE + 1, 1_000_000])
async def test_a_limit_out_of_bounds_is_refused_by_its_name(
    service: BarService, limit: int
) -> None:
    with pytest.raises(InvalidPayloadError, match=f"limit must be 1 to {MAX_RANGE}, not {limit}"):
        await service.range(AAPL, M1, limit=limit)
