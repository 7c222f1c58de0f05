"""Replaying recorded ticks."""

import asyncio
import csv
import gzip
import itertools
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from stockstream.errors import ConfigError, PermanentProviderError
from stockstream.model import Quote
from stockstream.providers.recording import Recording
from stockstream.providers.replay import ReplayProvider
from tests.providers.contract import FeedContract, ProviderContract, Subject
from tests.providers.replaying import (
    EURUSD,
    NZDUSD,
    SLICE,
    XAUUSD,
    A,
    B,
    Replay,
    Taker,
    take_all,
    ticks,
    times,
    write,
)
from tests.support.clock import ManualClock

SYMBOLS = (EURUSD, NZDUSD, XAUUSD)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def replay(clock: ManualClock, tmp_path: Path) -> AsyncIterator[Replay]:
    """Make a replay of lines, or of the recorded slice; it is closed after the test."""
    opened = []

    def make(*lines: str, speed: float = 1.0, loop: bool = False) -> ReplayProvider:
        path = write(tmp_path / "ticks.csv", *lines) if lines else SLICE
        provider = ReplayProvider(clock, path, speed=speed, loop=loop)
        opened.append(provider)
        return provider

    yield make
    for provider in opened:
        await provider.aclose()


@pytest.fixture
def subject(clock: ManualClock, replay: Replay) -> Subject:
    return Subject(provider=replay(), clock=clock, symbols=(XAUUSD, EURUSD))


class TestReplayContract(ProviderContract, FeedContract):
    """The contracts that apply to it."""


class TestReplayAtFullSpeedContract(ProviderContract, FeedContract):
    """The same, as fast as the ticks are taken."""

    @pytest.fixture
    def subject(self, clock: ManualClock, replay: Replay) -> Subject:
        return Subject(provider=replay(speed=0), clock=clock, symbols=(XAUUSD, EURUSD))


async def test_whole_slice_comes_exactly_and_in_order(replay: Replay) -> None:
    provider = replay(speed=0)
    await provider.watch(SYMBOLS)
    quotes = await take_all(provider)
    with gzip.open(SLICE, "rt") as file:
        rows = list(csv.DictReader(file))
    assert [(q.timestamp, q.symbol, q.bid, q.ask) for q in quotes] == [
        (int(row["timestamp_ms"]), row["symbol"], float(row["bid"]), float(row["ask"]))
        for row in rows
    ]
    assert all(quote.bid < quote.price < quote.ask for quote in quotes if quote.bid and quote.ask)
    assert (provider.delivered, provider.passed_over, provider.bad_lines) == (6080, 0, 0)


async def test_batches_are_bounded(replay: Replay) -> None:
    provider = replay(speed=0)
    await provider.watch(SYMBOLS)
    async with Taker(provider) as taker:
        await taker.done()
    assert max(taker.batches) <= 512


async def test_ticks_come_at_the_recorded_pace(replay: Replay, clock: ManualClock) -> None:
    provider = replay(*ticks(5000, 5250, 6000, 9000))
    await provider.watch([A])
    async with Taker(provider) as taker:
        await clock.wait_for_sleepers()
        assert taker.times == [5000]
        await clock.advance(0.249)
        assert taker.times == [5000]
        await clock.advance(0.001)
        assert taker.times == [5000, 5250]
        await clock.advance(3.749)
        assert taker.times == [5000, 5250, 6000]
        await clock.advance(0.001)
        await taker.done()
    assert taker.times == [5000, 5250, 6000, 9000]


async def test_speed_shortens_the_waits(replay: Replay, clock: ManualClock) -> None:
    provider = replay(*ticks(0, 1000, 2000), speed=10)
    await provider.watch([A])
    async with Taker(provider) as taker:
        await clock.wait_for_sleepers()
        await clock.advance(0.1)
        assert taker.times == [0, 1000]
        await clock.advance(0.1)
        await taker.done()


async def test_clock_starts_with_the_first_demand(replay: Replay, clock: ManualClock) -> None:
    provider = replay(*ticks(0, 1000))
    async with Taker(provider) as taker:
        await clock.advance(100)
        await provider.watch([])
        await clock.advance(100)
        assert taker.times == []
        await provider.watch([A])
        await clock.wait_for_sleepers()
        assert taker.times == [0]
        await clock.advance(1)
        await taker.done()


async def test_pace_does_not_drift_and_lateness_is_caught_up_at_once(
    replay: Replay, clock: ManualClock
) -> None:
    provider = replay(*ticks(*range(0, 10_000, 10)))
    await provider.watch([A])
    async with aclosing(provider.stream()) as stream:
        assert times(await anext(stream)) == [0]
        await clock.advance(3.0)
        assert times(await anext(stream)) == list(range(10, 3001, 10))
        pull = asyncio.ensure_future(anext(stream))
        await clock.wait_for_sleepers()
        await clock.advance(0.01)
        assert times(await pull) == [3010]


async def test_unwanted_ticks_are_passed_over_while_time_goes_on(
    replay: Replay, clock: ManualClock
) -> None:
    lines = [*ticks(0), *ticks(500, symbol=B), *ticks(1000), *ticks(1500, symbol=B)]
    provider = replay(*lines)
    await provider.watch([B])
    async with Taker(provider) as taker:
        await clock.wait_for_sleepers()
        await clock.advance(1.5)
        await taker.done()
    assert taker.times == [500, 1500]
    assert (provider.delivered, provider.passed_over) == (2, 2)


async def test_later_watched_symbol_comes_from_the_present_moment_on(
    replay: Replay, clock: ManualClock
) -> None:
    lines = itertools.chain(*zip(ticks(*range(10)), ticks(*range(10), symbol=B), strict=True))
    provider = replay(*(line.replace(",", "000,", 1) for line in lines))
    await provider.watch([A])
    async with aclosing(provider.stream()) as stream:
        assert times(await anext(stream)) == [0]
        # Nobody pulls: what came of B before it was watched is not made up for.
        await clock.advance(4.5)
        await provider.watch([A, B])
        await clock.advance(1)
        batch = await anext(stream)
    assert [(quote.symbol, quote.timestamp) for quote in batch] == [
        *[(A, time) for time in (1000, 2000, 3000, 4000, 5000)],
        (B, 5000),
    ]


async def test_time_goes_on_while_nothing_is_watched(replay: Replay, clock: ManualClock) -> None:
    provider = replay(*ticks(0, 1000, 2000, 3000))
    await provider.watch([A])
    async with Taker(provider) as taker:
        await clock.wait_for_sleepers()
        await provider.watch([])
        await clock.advance(2.5)
        await provider.watch([A])
        await clock.advance(0.5)
        await taker.done()
    assert taker.times == [0, 3000]


async def test_at_full_speed_time_stands_still_while_nothing_is_watched(replay: Replay) -> None:
    provider = replay(*ticks(*range(2000)), speed=0)
    await provider.watch([A])
    async with aclosing(provider.stream()) as stream:
        before = await anext(stream)
        await provider.watch([])
        pull = asyncio.ensure_future(anext(stream))
        for _ in range(100):
            await asyncio.sleep(0)
        assert not pull.done()
        await provider.watch([A])
        after = await pull
    assert times([*before, *after]) == list(range(len(before) + len(after)))


async def test_cancelled_and_closed_streams_lose_nothing(replay: Replay) -> None:
    provider = replay(speed=0)
    await provider.watch(SYMBOLS)
    quotes: list[Quote] = []
    for turns in itertools.count():
        stream = provider.stream()
        pull = asyncio.ensure_future(anext(stream, None))
        # Cancelled somewhere else each time: before, in and after the read of a block.
        for _ in range(turns % 12):
            await asyncio.sleep(0)
        pull.cancel()
        await asyncio.wait({pull})
        batch = [] if pull.cancelled() else pull.result()
        await stream.aclose()
        if batch is None:
            break
        quotes.extend(batch)
    assert len(quotes) == 6080
    assert times(quotes) == sorted(times(quotes), key=lambda time: time or 0)


@pytest.mark.parametrize("loop", [False, True])
async def test_read_of_the_last_block_outlives_its_cancelled_pull(
    replay: Replay, *, loop: bool
) -> None:
    provider = replay(*ticks(1, 2, 3), speed=0, loop=loop)
    await provider.watch([A])
    stream = provider.stream()
    pull = asyncio.ensure_future(anext(stream))
    while provider._reading is None:
        await asyncio.sleep(0)
    pull.cancel()
    await asyncio.wait({pull, provider._reading})
    await stream.aclose()
    async with aclosing(provider.stream()) as stream:
        assert times(await anext(stream)) == [1, 2, 3]


async def test_ended_recording_stays_ended(replay: Replay) -> None:
    provider = replay(*ticks(1), speed=0)
    await provider.watch([A])
    assert len(await take_all(provider)) == 1
    assert await take_all(provider) == []


async def test_other_rounds_go_on_from_the_last_ones_times(replay: Replay) -> None:
    provider = replay(*ticks(1000, 1500, 1200), speed=0, loop=True)
    await provider.watch([A])
    quotes: list[Quote] = []
    async with aclosing(provider.stream()) as stream:
        while len(quotes) < 9:
            quotes.extend(await anext(stream))
    assert times(quotes) == [1000, 1500, 1200, 1501, 2001, 1701, 2002, 2502, 2202]
    assert [quote.price for quote in quotes] == [2.0, 2.5, 2.2] * 3


async def test_other_rounds_keep_the_pace(replay: Replay, clock: ManualClock) -> None:
    provider = replay(*ticks(0, 499), loop=True)
    await provider.watch([A])
    async with Taker(provider) as taker:
        for count in range(8):
            await clock.wait_for_sleepers()
            assert len(taker.quotes) == count + 1
            await clock.advance(0.499 if count % 2 == 0 else 0.001)
    assert taker.times[:6] == [0, 499, 500, 999, 1000, 1499]


@given(
    gaps=st.lists(st.integers(min_value=0, max_value=10**6), min_size=1, max_size=20),
    rounds=st.integers(min_value=1, max_value=4),
)
def test_times_of_rounds_never_go_back_and_keep_their_gaps(
    gaps: list[int], rounds: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("loop") / "ticks.csv"
    write(path, *ticks(*itertools.accumulate(gaps)))
    recording = Recording(path, loop=True)
    seen: list[int] = []
    while recording.rounds < rounds:
        seen.extend(quote.timestamp or 0 for quote in recording.read(7))
    recording.close()
    expected = [*gaps, *[1, *gaps[1:]] * (rounds - 1)]
    assert seen == list(itertools.accumulate(expected))


async def test_rounds_that_give_nobody_anything_wait_for_another_demand(replay: Replay) -> None:
    provider = replay(*ticks(1, 2), speed=0, loop=True)
    await provider.watch([B])
    async with aclosing(provider.stream()) as stream:
        pull = asyncio.ensure_future(anext(stream))
        while provider.passed_over < 2:
            await asyncio.sleep(0.0005)
        for _ in range(100):
            await asyncio.sleep(0)
        assert provider.passed_over == 2
        await provider.watch([A])
        assert await pull


async def test_bad_lines_are_logged_with_their_numbers_and_skipped(replay: Replay) -> None:
    provider = replay(*ticks(1), "nonsense", *ticks(2), "3,A,nan,,,", speed=0)
    await provider.watch([A])
    with capture_logs() as logs:
        assert times(await take_all(provider)) == [1, 2]
    skipped = [(log["line"], log["reason"]) for log in logs if log["event"] == "line skipped"]
    assert skipped == [
        (3, "1 fields where there should be 6"),
        (5, "price is 'nan', not a number from zero up"),
    ]
    assert provider.bad_lines == 2


async def test_file_full_of_bad_lines_does_not_fill_the_log(replay: Replay) -> None:
    provider = replay(*["nonsense"] * 5000, *ticks(1), speed=0)
    await provider.watch([A])
    with capture_logs() as logs:
        assert times(await take_all(provider)) == [1]
    assert sum(log["event"] == "line skipped" for log in logs) == 10
    assert [log["lines"] for log in logs if log["event"] == "lines skipped"] == [5000]


@pytest.mark.parametrize("loop", [False, True])
async def test_file_without_any_tick_is_a_permanent_failure(replay: Replay, *, loop: bool) -> None:
    provider = replay("nonsense", speed=0, loop=loop)
    await provider.watch([A])
    with pytest.raises(PermanentProviderError, match="has no tick in it"):
        await take_all(provider)


async def test_file_that_vanishes_between_rounds_is_a_permanent_failure(
    replay: Replay, tmp_path: Path
) -> None:
    provider = replay(*ticks(1, 2), speed=0, loop=True)
    await provider.watch([A])
    (tmp_path / "ticks.csv").unlink()
    async with aclosing(provider.stream()) as stream:
        assert times(await anext(stream)) == [1, 2]
        with pytest.raises(PermanentProviderError, match="no further round"):
            await anext(stream)


@pytest.mark.parametrize("speed", [-1.0, float("nan"), float("inf")])
def test_wrong_speed_is_refused(clock: ManualClock, speed: float) -> None:
    with pytest.raises(ConfigError, match="REPLAY_SPEED"):
        ReplayProvider(clock, SLICE, speed=speed)
