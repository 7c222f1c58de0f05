"""What every history does, whatever it is stored in."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from stockstream.core.bar_parts import combine
from stockstream.core.bar_reading import BarQuery
from stockstream.core.bar_rules import aggregate
from stockstream.core.spans import SessionDays, SessionWeeks
from stockstream.model import Bar, Symbol, Timeframe
from stockstream.ports import HistoryStore
from tests.storage.histories import (
    AAPL,
    DATABASES,
    DAY,
    HOUR,
    MINUTE,
    MONDAY,
    MSFT,
    UTC_DAYS,
    bar,
    counted,
    empty_database,
    opened,
    part,
    query,
    tick,
)

M1, H1, H4, D1, W1 = Timeframe.M1, Timeframe.H1, Timeframe.H4, Timeframe.D1, Timeframe.W1


@pytest.fixture(params=["memory", *DATABASES])
async def history(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[HistoryStore]:
    kind = request.param
    url = kind if kind == "memory" else empty_database(kind, request, tmp_path)
    async with opened(url) as history:
        yield history


async def seal_all(history: HistoryStore, days: SessionDays = UTC_DAYS) -> None:
    for symbol, day in await history.unsealed(MONDAY + 1_000 * DAY, 1_000):
        await history.seal(symbol, day, days)


async def bars_of(history: HistoryStore, symbol: Symbol, wanted: BarQuery) -> Sequence[Bar]:
    return (await history.bars(symbol, wanted)).bars()


def starts(bars: Sequence[Bar]) -> list[int]:
    return [(each.timestamp - MONDAY) // MINUTE for each in bars]


async def test_a_new_one_is_empty(history: HistoryStore) -> None:
    await history.ping()
    assert list(await bars_of(history, AAPL, query())) == []
    assert list(await history.minutes(AAPL, 0, 2**62)) == []
    assert list(await history.ticks(AAPL, start_ms=0, end_ms=2**62, limit=10)) == []
    assert list(await history.covered(AAPL, M1)) == []
    assert list(await history.unsealed(2**40, 10)) == []
    assert await history.newest_ms() is None


async def test_ticks_come_back_in_order_and_each_once(history: HistoryStore) -> None:
    late, first, second = tick(5), tick(1), tick(1, 1)
    await history.append([late, second, first, tick(2, symbol=MSFT)])
    await history.append([first, late])

    everything = await history.ticks(AAPL, start_ms=0, end_ms=2**62, limit=10)
    assert list(everything) == [first, second, late]
    stretch = await history.ticks(AAPL, start_ms=MONDAY + 1, end_ms=MONDAY + 5, limit=10)
    assert list(stretch) == [first, second]
    assert list(await history.ticks(AAPL, start_ms=0, end_ms=2**62, limit=1)) == [first]


async def test_ticks_of_many_days_are_kept(history: HistoryStore) -> None:
    ticks = [tick(day * DAY - 1) for day in (0, 1, 5)] + [tick(-3_000 * DAY)]
    await history.append(ticks)

    kept = await history.ticks(AAPL, start_ms=0, end_ms=2**62, limit=10)
    assert list(kept) == sorted(ticks, key=lambda each: each.timestamp)


async def test_what_a_counting_says_again_takes_the_place_of_what_it_said(
    history: HistoryStore,
) -> None:
    await history.put_minutes(counted(part(0, volume=1), part(1)))
    await history.put_minutes(counted(part(0, volume=7)))

    assert list(await history.minutes(AAPL, 0, 2**62)) == [part(0, volume=7), part(1)]
    assert await history.newest_ms() == MONDAY + MINUTE


async def test_the_parts_of_two_countings_are_one_bar(history: HistoryStore) -> None:
    first = part(0, 10, volume=2, opened=5, closed=20_000)
    second = part(0, 14, volume=3, opened=30_000, closed=59_000)
    await history.put_minutes(counted(second, run=2))
    await history.put_minutes(counted(first, run=1))

    assert list(await bars_of(history, AAPL, query())) == [
        Bar(timestamp=MONDAY, open=10, high=15, low=9, close=14.5, volume=5)
    ]


async def test_what_one_counting_saw_can_be_left_out(history: HistoryStore) -> None:
    await history.put_minutes(counted(part(0, 10, closed=20_000), run=1))
    await history.put_minutes(counted(part(0, 12, opened=30_000), part(1), run=2))

    others = await history.minutes(AAPL, 0, 2**62, but_run=2)
    assert list(others) == [part(0, 10, closed=20_000)]
    assert len(await history.minutes(AAPL, 0, 2**62, but_run=3)) == 2


async def test_the_newest_or_the_oldest_bars_of_a_stretch(history: HistoryStore) -> None:
    await history.put_minutes(counted(*map(part, range(10))))
    await history.put_minutes(counted(*map(part, range(10)), run=2))

    async def inside(limit: int, *, newest: bool = True) -> list[int]:
        start, end = MONDAY + 2 * MINUTE, MONDAY + 8 * MINUTE
        stretch = query(start=start, end=end, limit=limit, newest=newest)
        return starts(await bars_of(history, AAPL, stretch))

    assert await inside(100) == [2, 3, 4, 5, 6, 7]
    assert await inside(2) == [6, 7]
    assert await inside(2, newest=False) == [2, 3]


@pytest.mark.parametrize("timeframe", [M1, Timeframe.M30, H1, H4, D1, W1])
@pytest.mark.parametrize("sealed", [0, 4, 9])
async def test_larger_bars_are_what_their_minutes_make(
    history: HistoryStore, timeframe: Timeframe, sealed: int
) -> None:
    parts = [part(minute, 10 + minute % 7) for minute in range(0, 9 * 1_440, 37)]
    expected = aggregate((each.bar() for each in parts), timeframe)
    await history.put_minutes(counted(*parts))
    for symbol, day in list(await history.unsealed(MONDAY + sealed * DAY, 100)):
        await history.seal(symbol, day, UTC_DAYS)

    assert await bars_of(history, AAPL, query(timeframe)) == expected
    for limit in (1, 3):
        newest = await bars_of(history, AAPL, query(timeframe, limit=limit))
        assert list(newest) == expected[-limit:]
        oldest = await bars_of(history, AAPL, query(timeframe, limit=limit, newest=False))
        assert list(oldest) == expected[:limit]
    start, end = MONDAY + 2 * DAY + HOUR, MONDAY + 7 * DAY - HOUR
    assert list(await bars_of(history, AAPL, query(timeframe, start=start, end=end))) == [
        each for each in expected if start <= each.timestamp < end
    ]


@pytest.mark.parametrize("sealed", [0, 3, 20])
async def test_days_and_weeks_are_those_of_the_exchange(history: HistoryStore, sealed: int) -> None:
    # Sessions from Monday to Friday that close at 20:00; a holiday on the second Monday.
    dates = [MONDAY + day * DAY for day in range(12) if day not in (5, 6, 7)]
    days = SessionDays(dates, [date + 20 * HOUR for date in dates])
    parts = [part(minute, 10 + minute % 11) for minute in range(0, 11 * 1_440, 59)]
    await history.put_minutes(counted(*parts))
    for symbol, day in list(await history.unsealed(MONDAY + sealed * DAY, 100)):
        await history.seal(symbol, day, days)
    minutes = [each.bar() for each in parts]

    for timeframe, spans in ((D1, days), (W1, SessionWeeks(days))):
        bars = await bars_of(history, AAPL, query(timeframe, spans=spans))
        assert list(bars) == aggregate(minutes, spans)
        later = await bars_of(history, AAPL, query(timeframe, spans=spans, start=MONDAY + 3 * DAY))
        assert list(later) == [
            each for each in aggregate(minutes, spans) if each.timestamp >= MONDAY + 3 * DAY
        ]


async def test_minutes_that_come_after_their_day_was_sealed_still_count(
    history: HistoryStore,
) -> None:
    await history.put_minutes(counted(part(0), part(2), part(1_440)))
    await seal_all(history)
    await history.put_minutes(counted(part(1), run=2))
    await history.put_minutes(counted(part(2, 12, opened=59_999), run=2))
    expected = combine([part(0), part(1), part(2), part(2, 12, opened=59_999), part(1_440)])

    assert list(await history.minutes(AAPL, 0, 2**62)) == expected
    await seal_all(history)
    assert list(await history.minutes(AAPL, 0, 2**62)) == expected
    for timeframe in (M1, H1, D1):
        bars = await bars_of(history, AAPL, query(timeframe))
        assert list(bars) == aggregate((each.bar() for each in expected), timeframe)


async def test_a_provider_wins_over_what_was_counted(history: HistoryStore) -> None:
    await history.put_minutes(counted(part(0), part(1)))
    stretch = (MONDAY, MONDAY + 5 * MINUTE)
    await history.put_bars(AAPL, M1, [bar(MONDAY, 99), bar(MONDAY + 3 * MINUTE, 98)], stretch)
    expected = [bar(MONDAY, 99), part(1).bar(), bar(MONDAY + 3 * MINUTE, 98)]

    assert list(await bars_of(history, AAPL, query())) == expected
    await seal_all(history)
    assert list(await bars_of(history, AAPL, query())) == expected


async def test_a_providers_days_stay_when_days_are_sealed(history: HistoryStore) -> None:
    await history.put_minutes(counted(part(0), part(1_440)))
    await history.put_bars(AAPL, D1, [bar(MONDAY, 99)], (MONDAY, MONDAY + DAY))
    await seal_all(history)

    days = await bars_of(history, AAPL, query(D1))
    assert [each.open for each in days] == [99, 10]


async def test_what_a_provider_was_asked_for_is_remembered_as_a_whole(
    history: HistoryStore,
) -> None:
    for stretch in ((10, 20), (40, 50), (20, 30), (5, 12)):
        await history.put_bars(AAPL, M1, [], stretch)

    assert list(await history.covered(AAPL, M1)) == [(5, 30), (40, 50)]
    assert list(await history.covered(AAPL, D1)) == []
    assert list(await history.covered(MSFT, M1)) == []


@pytest.mark.parametrize("timeframe", [M1, Timeframe.M5, H1, H4, D1, W1])
@pytest.mark.parametrize("sealed", [False, True])
async def test_stored_bars_go_on_in_those_that_were_counted_since(
    history: HistoryStore, timeframe: Timeframe, *, sealed: bool
) -> None:
    parts = [part(minute, 10 + minute % 7) for minute in range(0, 3 * 1_440, 31)]
    await history.put_minutes(counted(*parts))
    if sealed:
        await seal_all(history)
    # A part of what is stored is in memory too, here from within what may be rolled up.
    memory = parts[40:]
    stretch = replace(query(timeframe), counted_before=memory[0].timestamp)
    stored = await history.bars(AAPL, stretch)

    live = [each.bar() for each in memory if each.timestamp >= stored.until]
    expected = aggregate((each.bar() for each in parts), timeframe)
    assert stored.bars(aggregate(live, timeframe)) == expected


async def test_symbols_are_nothing_but_symbols(history: HistoryStore) -> None:
    odd = Symbol("'; DROP TABLE TICKS; --")
    await history.put_minutes(counted(part(0)))
    await history.append([tick(0)])

    assert list(await bars_of(history, odd, query())) == []
    assert list(await history.ticks(odd, start_ms=0, end_ms=2**62, limit=1)) == []
    assert len(await bars_of(history, AAPL, query())) == 1
    assert len(await history.ticks(AAPL, start_ms=0, end_ms=2**62, limit=1)) == 1


async def test_closing_twice_does_no_harm(history: HistoryStore) -> None:
    await history.put_minutes(counted(part(0)))
    await history.aclose()
    await history.aclose()
