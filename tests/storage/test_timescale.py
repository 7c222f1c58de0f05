"""What TimescaleDB does with the ticks, and what happens where it does less."""

import time
from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest
from psycopg.rows import scalar_row

from stockstream.model import Bar, Symbol, Tick, Timeframe
from stockstream.ports import HistoryStore
from stockstream.storage.sql import timescale
from tests.storage.histories import AAPL, DAY, MINUTE, MONDAY, bar, counted, opened, part, tick
from tests.support.timescale_server import TimescaleServer, running_timescale


@pytest.fixture
async def history(timescale_url: str) -> AsyncIterator[HistoryStore]:
    async with opened(timescale_url) as history:
        yield history


@pytest.fixture(scope="module")
def apache_url() -> Iterator[str]:
    with running_timescale("apache") as server:
        yield server.url


def ask(url: str, statement: str) -> list[object]:
    """Return what the statement does, one value a row."""
    with psycopg.connect(url, autocommit=True, row_factory=scalar_row) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def run_policy(url: str, name: str) -> None:
    """Do now what TimescaleDB does now and then."""
    jobs = "SELECT job_id FROM timescaledb_information.jobs WHERE proc_name"
    (job,) = ask(url, f"{jobs} = '{name}'")
    ask(url, f"CALL run_job({job})")


def compressed(url: str) -> list[object]:
    chunks = "SELECT is_compressed FROM timescaledb_information.chunks"
    return ask(url, f"{chunks} ORDER BY range_start_integer")


async def kept(history: HistoryStore, symbol: Symbol = AAPL) -> list[Tick]:
    return list(await history.ticks(symbol, start_ms=0, end_ms=2**62, limit=100_000))


async def test_each_day_of_ticks_is_a_chunk_of_a_hypertable(
    history: HistoryStore, timescale_url: str
) -> None:
    # The server has the extension, but nobody else creates it.
    await history.append([tick(0), tick(DAY - 1), tick(DAY)])

    chunks = "SELECT range_start_integer FROM timescaledb_information.chunks ORDER BY 1"
    assert ask(timescale_url, chunks) == [MONDAY, MONDAY + DAY]


async def test_days_are_compressed_when_they_are_two_days_old_and_still_taken_in_once(
    history: HistoryStore, timescale_url: str
) -> None:
    today = time.time_ns() // 1_000_000 - MONDAY
    ticks = [tick(today - days * DAY + 7 * each) for days in (0, 4) for each in range(1_500)]
    others = [tick(today - 4 * DAY, symbol=Symbol(f"S{each}")) for each in range(100)]
    await history.append([*ticks, *others])
    run_policy(timescale_url, "policy_compression")
    states = compressed(timescale_url)
    assert states[0] is True
    assert states[-1] is False

    # A recording that is played again, and had more to say than before.
    more = [tick(today - 4 * DAY + 7 * each + 1) for each in range(1_500)]
    await history.append([*more, *ticks, *others])
    expected = sorted([*ticks, *more], key=lambda each: each.timestamp)
    assert await kept(history) == expected
    assert await kept(history, Symbol("S7")) == [others[7]]

    run_policy(timescale_url, "policy_compression")
    assert await kept(history) == expected


async def test_minutes_for_dashboards_are_those_of_the_ticks(
    history: HistoryStore, timescale_url: str
) -> None:
    now = time.time_ns() // 1_000_000
    start = now - now % MINUTE - 10 * MINUTE
    prices = [((each * 7) % 11 + 1.0) for each in range(40)]
    # Four a minute; two of them at the same moment, the second of which closes the minute.
    times = [start + each // 4 * MINUTE + (0, 9, 20, 20)[each % 4] for each in range(40)]
    numbers = [each % 4 // 3 for each in range(40)]
    rows = zip(times, numbers, prices, strict=True)
    ticks = [Tick(AAPL, time, number, price, 2.0) for time, number, price in rows]
    expected = [
        Bar(
            timestamp=start + minute * MINUTE,
            open=of[0],
            high=max(of),
            low=min(of),
            close=of[-1],
            volume=8.0,
        )
        for minute in range(10)
        for of in [prices[4 * minute : 4 * minute + 4]]
    ]

    def seen(view: str) -> list[Bar]:
        columns = "minute, open, high, low, close, volume"
        with psycopg.connect(timescale_url) as connection:
            query = f"SELECT {columns} FROM {view} WHERE symbol = 'AAPL' ORDER BY 1"  # noqa: S608
            rows = connection.execute(query.encode()).fetchall()
        return [
            Bar(timestamp=at, open=first, high=high, low=low, close=last, volume=volume)
            for at, first, high, low, last, volume in rows
        ]

    await history.append(ticks[:20])
    run_policy(timescale_url, "policy_refresh_continuous_aggregate")
    await history.append(ticks[20:])
    # Also what was not computed yet.
    assert seen("tick_minutes") == expected
    run_policy(timescale_url, "policy_refresh_continuous_aggregate")
    assert seen("tick_minutes") == expected


async def test_minutes_stay_when_their_ticks_are_dropped(
    history: HistoryStore, timescale_url: str
) -> None:
    await history.append([tick(day * DAY) for day in range(4)])
    ask(timescale_url, "CALL refresh_continuous_aggregate('tick_minutes', NULL, NULL)")
    ask(timescale_url, "SELECT compress_chunk(chunk) FROM show_chunks('ticks') chunk LIMIT 1")
    await history.put_minutes(counted(*(part(day * 1_440) for day in range(4))))
    # The third day is not over by then.
    await history.expire(ticks_before_ms=MONDAY + 3 * DAY - 1, minutes_before_ms=0)

    assert [each.timestamp - MONDAY for each in await kept(history)] == [2 * DAY, 3 * DAY]
    run_policy(timescale_url, "policy_refresh_continuous_aggregate")
    minutes = "SELECT minute FROM tick_minutes ORDER BY 1"
    assert ask(timescale_url, minutes) == [MONDAY + day * DAY for day in range(4)]
    assert len(await history.minutes(AAPL, 0, 2**62)) == 4


async def test_the_apache_edition_has_hypertables_alone(apache_url: str) -> None:
    async with opened(apache_url) as history:
        ticks = [tick(day * DAY) for day in range(4)]
        await history.append(ticks)
        await history.append(ticks)
        await history.put_bars(AAPL, Timeframe.D1, [bar(MONDAY)], (MONDAY, MONDAY + DAY))
        assert await kept(history) == ticks
        await history.expire(ticks_before_ms=MONDAY + 2 * DAY, minutes_before_ms=0)
        assert await kept(history) == ticks[2:]

    assert compressed(apache_url) == [False, False]
    views = "SELECT count(*) FROM pg_class WHERE relname = 'tick_minutes'"
    assert ask(apache_url, views) == [0]


async def test_an_older_extension_does_not_compress(
    timescale_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timescale, "_COMPRESSES", (99, 0, 0))
    async with opened(timescale_url) as history:
        await history.append([tick(0)])

    assert compressed(timescale_url) == [False]
    ours = "SELECT count(*) FROM timescaledb_information.jobs WHERE hypertable_name IS NOT NULL"
    assert ask(timescale_url, ours) == [0]


async def test_partitions_stay_partitions_when_the_extension_comes_later(
    timescale_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(timescale, "is_available", lambda _: False)
        async with opened(timescale_url) as history:
            await history.append([tick(0)])
    async with opened(timescale_url) as history:
        await history.append([tick(DAY), tick(2 * DAY)])
        await history.expire(ticks_before_ms=MONDAY + DAY, minutes_before_ms=0)
        assert await kept(history) == [tick(DAY), tick(2 * DAY)]


async def test_an_ordinary_user_has_the_same_of_an_extension_that_is_there(
    timescale_url: str, shared_timescale: TimescaleServer
) -> None:
    async with opened(timescale_url) as history:
        await history.ping()
    shared_timescale.empty()
    ask(timescale_url, "CREATE ROLE trader LOGIN")
    ask(timescale_url, "GRANT CREATE ON SCHEMA public TO trader")
    # Of the one session that all connections share.
    ask(timescale_url, "SET SESSION AUTHORIZATION trader")
    try:
        async with opened(timescale_url) as history:
            await history.append([tick(0), tick(DAY)])
            run_policy(timescale_url, "policy_compression")
            run_policy(timescale_url, "policy_refresh_continuous_aggregate")
            assert compressed(timescale_url) == [True, True]
            await history.expire(ticks_before_ms=MONDAY + DAY, minutes_before_ms=0)
            assert await kept(history) == [tick(DAY)]
    finally:
        ask(timescale_url, "RESET SESSION AUTHORIZATION")


async def test_ticks_are_partitioned_where_the_extension_cannot_be_created(
    postgres_url: str,
) -> None:
    # The server seems to have it loaded, as one does whose user may not create it.
    database = postgres_url.rpartition("/")[2]
    ask(postgres_url, f"ALTER DATABASE {database} SET timescaledb.disable_load = off")
    async with opened(postgres_url) as history:
        await history.append([tick(0), tick(DAY)])
        assert await kept(history) == [tick(0), tick(DAY)]

    partitions = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'ticks'::regclass"
    assert ask(postgres_url, partitions) == [2]
