"""Ticks and minutes on their way into a history that may be gone."""

from collections.abc import Sequence
from random import Random

import pytest
from structlog.testing import capture_logs

from stockstream.core.bars import MinuteBars
from stockstream.errors import StoreUnavailableError
from stockstream.model import Bar, Quote, Symbol, Tick, Timeframe
from stockstream.ports import CountedMinute
from stockstream.services.history_writer import HistoryWriter, ProvidedBars
from stockstream.storage.memory_history import MemoryHistory
from tests.support.clock import ManualClock

AAPL = Symbol("AAPL")
MINUTE = 60_000
START = 1_709_510_400_000


class Store(MemoryHistory):
    """A history that a test can take away."""

    def __init__(self) -> None:
        super().__init__(minutes=10_000)
        self.error: Exception | None = None

    async def append(self, ticks: Sequence[Tick]) -> None:
        self._check()
        await super().append(ticks)

    async def put_minutes(self, minutes: Sequence[CountedMinute]) -> None:
        self._check()
        await super().put_minutes(minutes)

    def _check(self) -> None:
        if self.error is not None:
            raise self.error

    async def all_ticks(self) -> list[tuple[int, int, float]]:
        found = await self.ticks(AAPL, start_ms=0, end_ms=2**62, limit=10_000)
        return [(tick.timestamp - START, tick.number, tick.price) for tick in found]

    async def closes(self) -> list[float]:
        return [part.close for part in await self.minutes(AAPL, 0, 2**62)]


class Counting:
    """A symbol that is counted, and handed to the writer."""

    def __init__(self, writer: HistoryWriter) -> None:
        self.writer = writer
        self.minutes = MinuteBars(run=1)

    def add(self, at: int, price: float = 10.0) -> None:
        traded = self.minutes.add(price, START + at, 0.0)
        self.writer.take(Quote(symbol=AAPL, price=price), self.minutes, START + at, traded)


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def writer(store: Store) -> HistoryWriter:
    return HistoryWriter(store, clock=ManualClock(START), random=Random(1), max_ticks=100)


GONE = StoreUnavailableError("test", "gone")


async def test_ticks_and_the_minutes_that_they_made_are_stored(
    store: Store, writer: HistoryWriter
) -> None:
    counting = Counting(writer)
    counting.add(0, 10)
    counting.add(MINUTE, 11)
    assert await writer.write()

    assert await store.all_ticks() == [(0, 0, 10), (MINUTE, 0, 11)]
    assert await store.closes() == [10, 11]
    assert writer.state.written == {"ticks": 2, "minutes": 2, "bars": 0}
    counting.add(MINUTE + 1, 12)
    assert await writer.write()
    # Only the minute that has changed.
    assert writer.state.written["minutes"] == 3
    assert await store.closes() == [10, 12]


async def test_ticks_of_one_millisecond_are_numbered_and_so_are_late_ones(
    store: Store, writer: HistoryWriter
) -> None:
    counting = Counting(writer)
    for at, price in ((5, 1), (5, 2), (6, 3), (6, 4), (5, 5), (6, 6)):
        counting.add(at, price)
    await writer.write()

    assert await store.all_ticks() == [
        (5, 0, 1), (5, 1, 2), (5, 1_000, 5), (6, 0, 3), (6, 1, 4), (6, 2, 6),
    ]  # fmt: skip


async def test_a_store_that_comes_back_is_caught_up_with(
    store: Store, writer: HistoryWriter
) -> None:
    counting = Counting(writer)
    store.error = GONE
    with capture_logs() as logs:
        for minute in range(5):
            counting.add(minute * MINUTE, minute)
            assert not await writer.write()
        assert writer.state.error == "test: gone"
        assert (writer.state.pending_ticks, writer.state.pending_symbols) == (5, 1)
        store.error = None
        assert await writer.write()

    assert [each["event"] for each in logs] == ["history_unavailable", "history_available"]
    assert await store.closes() == [0, 1, 2, 3, 4]
    assert len(await store.all_ticks()) == 5
    assert writer.state.error is None
    assert writer.shed == 0


async def test_in_a_long_outage_the_oldest_ticks_leave_and_no_minute_does(
    store: Store, writer: HistoryWriter
) -> None:
    counting = Counting(writer)
    store.error = GONE
    with capture_logs() as logs:
        for index in range(1_000):
            counting.add(index * 500, index)
    store.error = None
    await writer.write()

    ticks = await store.all_ticks()
    assert 90 <= len(ticks) <= 100
    assert ticks[-1][2] == 999
    assert writer.state.shed == {"ticks": 1_000 - len(ticks), "minutes": 0, "bars": 0}
    # Once, however many.
    assert [each["event"] for each in logs] == ["ticks_shed"]
    assert await store.closes() == [119, 239, 359, 479, 599, 719, 839, 959, 999]


async def test_minutes_wait_for_two_days_and_those_before_are_counted_as_shed(
    store: Store, writer: HistoryWriter
) -> None:
    counting = Counting(writer)
    store.error = GONE
    for minute in range(3 * 1_440):
        counting.add(minute * MINUTE)
    shed = writer.state.shed["minutes"]
    store.error = None
    await writer.write()

    assert shed == writer.state.shed["minutes"] > 0
    assert len(await store.closes()) == 3 * 1_440 - shed


async def test_what_a_store_will_never_take_does_not_hold_up_the_rest(
    store: Store, writer: HistoryWriter
) -> None:
    counting = Counting(writer)
    store.error = ValueError("a bad row")
    counting.add(0)
    with capture_logs() as logs:
        assert await writer.write()
    assert {each["event"] for each in logs} == {"history_lost"}
    assert writer.shed == 2
    store.error = None
    counting.add(1, 11)
    assert await writer.write()
    assert await store.closes() == [11]


async def test_what_waits_at_the_end_is_stored(store: Store, writer: HistoryWriter) -> None:
    counting = Counting(writer)
    bar = Bar(timestamp=START, open=1, high=1, low=1, close=1)
    writer.provide(ProvidedBars(AAPL, Timeframe.D1, [bar], (START, START + 86_400_000)))
    counting.add(0)
    await writer.aclose(1.0)

    assert await store.closes() == [10]
    assert await store.covered(AAPL, Timeframe.D1) == ((START, START + 86_400_000),)


async def test_an_end_without_a_store_says_what_is_lost(
    store: Store, writer: HistoryWriter
) -> None:
    Counting(writer).add(0)
    store.error = GONE
    with capture_logs() as logs:
        await writer.aclose(1.0)
    assert logs[-1]["event"] == "history_not_stored"
    assert (logs[-1]["ticks"], logs[-1]["symbols"]) == (1, 1)


async def test_a_store_that_can_never_be_reached_is_told_before_there_is_anything_to_store(
    store: Store, writer: HistoryWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ping() -> None:
        raise GONE

    monkeypatch.setattr(store, "ping", ping)
    assert not await writer.write()
    assert writer.state.error == "test: gone"
