"""Days are packed and rolled up when they are over, and forgotten when they are old."""

from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest

from stockstream.core.bar_rules import aggregate
from stockstream.core.spans import SessionDays
from stockstream.errors import UnavailableError
from stockstream.model import Timeframe
from stockstream.services.calendars import Calendars
from stockstream.services.history_upkeep import HistoryUpkeep
from stockstream.storage.sql.history import SqlHistory
from tests.storage.histories import (
    AAPL,
    DATABASES,
    DAY,
    MINUTE,
    MONDAY,
    bar,
    counted,
    empty_database,
    part,
    query,
    tick,
)
from tests.support.clock import ManualClock


@pytest.fixture(params=DATABASES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SqlHistory]:
    history = SqlHistory(empty_database(request.param, request, tmp_path))
    try:
        yield history
    finally:
        await history.aclose()


async def _no_calendar(name: str) -> SessionDays:
    raise UnavailableError(name)


def upkeep(store: SqlHistory, now: int) -> HistoryUpkeep:
    return HistoryUpkeep(
        store,
        Calendars({}, _no_calendar),
        clock=ManualClock(now),
        random=Random(1),
        tick_days=2,
        minute_days=4,
    )


async def test_old_bars_are_rolled_up_and_not_lost(store: SqlHistory) -> None:
    parts = [part(minute, 10 + minute % 9) for minute in range(0, 8 * 1_440, 60)]
    await store.put_minutes(counted(*parts))
    await store.append([tick(day * DAY) for day in range(8)])
    keeper = upkeep(store, MONDAY + 8 * DAY + 1)
    await keeper.look()
    await keeper.look()

    # The last day is not over for long enough.
    assert keeper.sealed == 7
    minutes = (await store.bars(AAPL, query())).bars()
    assert [bar.timestamp for bar in minutes] == [
        each.timestamp for each in parts if each.timestamp >= MONDAY + 3 * DAY
    ]
    for timeframe in (Timeframe.H1, Timeframe.D1, Timeframe.W1):
        bars = (await store.bars(AAPL, query(timeframe))).bars()
        assert bars == aggregate((each.bar() for each in parts), timeframe)
    ticks = await store.ticks(AAPL, start_ms=0, end_ms=2**62, limit=100)
    assert [(each.timestamp - MONDAY) // DAY for each in ticks] == [5, 6, 7]


async def test_a_recording_does_not_grow_old(store: SqlHistory) -> None:
    await store.put_minutes(counted(part(0), part(1)))
    await store.append([tick(0)])
    await upkeep(store, MONDAY + 4_000 * DAY).look()

    assert len((await store.bars(AAPL, query())).bars()) == 2
    assert len(await store.ticks(AAPL, start_ms=0, end_ms=MONDAY + MINUTE, limit=9)) == 1


async def test_of_minutes_that_were_forgotten_a_provider_may_be_asked_again(
    store: SqlHistory,
) -> None:
    days = [(MONDAY + day * DAY, MONDAY + (day + 1) * DAY) for day in range(8)]
    for timeframe in (Timeframe.M1, Timeframe.M5, Timeframe.H1):
        for start, end in days:
            await store.put_bars(AAPL, timeframe, [bar(start)], (start, end))
    await store.put_minutes(counted(part(8 * 1_440)))
    await upkeep(store, MONDAY + 8 * DAY + 1).look()

    kept = MONDAY + 4 * DAY
    for timeframe, first in ((Timeframe.M1, kept), (Timeframe.M5, kept), (Timeframe.H1, MONDAY)):
        assert list(await store.covered(AAPL, timeframe)) == [(first, days[-1][1])]
        bars = (await store.bars(AAPL, query(timeframe))).bars()
        assert bars[0].timestamp == first
