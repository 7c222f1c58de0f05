"""Bars that memory does not reach back to: stored ones, and the provider's."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import pytest

from stockstream.core.bar_reading import BarQuery, StoredBars
from stockstream.core.spans import SessionDays
from stockstream.errors import StoreUnavailableError, TemporaryProviderError, UnavailableError
from stockstream.model import Bar, Quote, Symbol, Timeframe
from stockstream.ports import HistoryStore
from stockstream.providers.simulated import SimulatedProvider
from stockstream.services.bars import BarService
from stockstream.services.calendars import Calendars
from stockstream.services.keeping import History
from stockstream.storage.memory_history import MemoryHistory
from stockstream.storage.sql.history import SqlHistory
from tests.support.clock import ManualClock

AAPL = Symbol("AAPL")
M1, D1 = Timeframe.M1, Timeframe.D1
MINUTE = 60_000
DAY = 1_440 * MINUTE
#: A Monday, 00:00 UTC.
START = 1_709_510_400_000


class Provider:
    """The simulated market, which counts what it is asked for and can be made to fail."""

    def __init__(self, clock: ManualClock) -> None:
        self._market = SimulatedProvider(clock)
        self.calls: list[tuple[int, int]] = []
        self.error: Exception | None = None

    async def fetch_bars(
        self, symbol: Symbol, timeframe: Timeframe, *, end_ms: int, limit: int
    ) -> Sequence[Bar]:
        self.calls.append((end_ms, limit))
        if self.error is not None:
            raise self.error
        return await self._market.fetch_bars(symbol, timeframe, end_ms=end_ms, limit=limit)


class Node:
    """A bar service with its history, as a node has them; the tasks take no part of their own."""

    def __init__(
        self, store: HistoryStore, clock: ManualClock, provider: Provider | None = None
    ) -> None:
        self.clock = clock
        self.history = History(
            store,
            Calendars({}, _no_calendars),
            clock=clock,
            random=Random(1),
            tick_days=1,
            minute_days=365,
        )
        self.bars = BarService(provider, clock, history=self.history, minutes=60)
        self._volume = 0.0

    def quote(self, at: int, price: float) -> None:
        """A trade of one piece."""
        self._volume += 1
        quote = Quote(symbol=AAPL, price=price, size=1.0)
        self.bars.on_believed(quote, START + at, self._volume)


async def _no_calendars(name: str) -> SessionDays:
    raise UnavailableError(f"no {name} here")


@asynccontextmanager
async def node(
    store: HistoryStore, clock: ManualClock, provider: Provider | None = None
) -> AsyncIterator[Node]:
    started = Node(store, clock, provider)
    inheriting = asyncio.create_task(started.history.inheritance.run())
    try:
        yield started
        await started.history.writer.aclose(1.0)
    finally:
        inheriting.cancel()
        await started.bars.aclose()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START)


@pytest.fixture
def store() -> MemoryHistory:
    return MemoryHistory()


def minutes_of(bars: Sequence[Bar]) -> list[int]:
    return [(bar.timestamp - START) // MINUTE for bar in bars]


async def test_the_minute_of_a_restart_goes_on_where_it_stopped(
    store: MemoryHistory, clock: ManualClock
) -> None:
    async with node(store, clock) as first:
        first.quote(0, 10)
        first.quote(MINUTE + 1_000, 9)
        first.quote(MINUTE + 2_000, 14)
    async with node(store, clock) as second:
        second.quote(MINUTE + 40_000, 12)
        assert await second.bars.bars(AAPL, M1, 10) == [
            Bar(timestamp=START, open=10, high=10, low=10, close=10, volume=1),
            Bar(timestamp=START + MINUTE, open=9, high=14, low=9, close=12, volume=3),
        ]
        assert await second.bars.bars(AAPL, D1, 1) == [
            Bar(timestamp=START, open=10, high=14, low=9, close=12, volume=4)
        ]


async def test_a_minute_goes_on_also_where_a_part_of_ours_was_stored_first(
    store: MemoryHistory, clock: ManualClock
) -> None:
    async with node(store, clock) as first:
        first.quote(1_000, 9)
        first.quote(2_000, 14)
    second = Node(store, clock)
    second.quote(40_000, 12)
    assert await second.history.writer.write()
    second.quote(50_000, 11)
    inheriting = asyncio.create_task(second.history.inheritance.run())
    await asyncio.sleep(0)
    assert await second.bars.bars(AAPL, M1, 10) == [
        Bar(timestamp=START, open=9, high=14, low=9, close=11, volume=4)
    ]
    inheriting.cancel()


async def test_bars_reach_back_to_what_memory_has_let_go(
    store: MemoryHistory, clock: ManualClock
) -> None:
    async with node(store, clock) as started:
        for minute in range(2_000):
            started.quote(minute * MINUTE, 10.0 + minute % 7)
            if minute % 100 == 0:
                await started.history.writer.write()
        assert minutes_of(await started.bars.bars(AAPL, M1, 1_000)) == [*range(1_000, 2_000)]
        assert minutes_of(await started.bars.range(AAPL, M1, limit=1_500)) == [*range(500, 2_000)]
        assert minutes_of(
            await started.bars.range(AAPL, M1, start_ms=START + 2 * MINUTE, limit=3)
        ) == [2, 3, 4]
        assert minutes_of(
            await started.bars.range(AAPL, M1, end_ms=START + 5 * MINUTE, limit=2)
        ) == [3, 4]
        whole = await started.bars.range(AAPL, M1, start_ms=START, limit=10_000)
        assert minutes_of(whole) == [*range(2_000)]
        days = await started.bars.bars(AAPL, D1, 10)
        assert [day.volume for day in days] == [1_440, 560]


async def test_a_recording_played_again_does_not_show_what_is_still_to_come(
    store: MemoryHistory, clock: ManualClock
) -> None:
    async with node(store, clock) as first:
        for minute in range(10):
            first.quote(minute * MINUTE, 10)
    async with node(store, clock) as second:
        for minute in range(3):
            second.quote(minute * MINUTE, 10)
        assert minutes_of(await second.bars.bars(AAPL, M1, 100)) == [0, 1, 2]


async def test_the_provider_is_asked_once_for_bars_of_long_ago(
    store: MemoryHistory, clock: ManualClock
) -> None:
    provider = Provider(clock)
    async with node(store, clock, provider) as started:
        ranges = (started.bars.range(AAPL, M1, limit=2_500) for _ in range(20))
        first, *others = await asyncio.gather(*ranges)
        assert minutes_of(first) == [*range(-2_499, 1)]
        assert all(each == first for each in others)
        # The newest thousand, and the two pages before.
        assert len(provider.calls) == 3
        await started.history.writer.write()
    async with node(store, clock, provider) as second:
        assert await second.bars.range(AAPL, M1, limit=2_500) == first
        assert len(provider.calls) == 4


async def test_only_the_gap_between_what_is_known_is_asked_for(
    store: MemoryHistory, clock: ManualClock
) -> None:
    provider = Provider(clock)
    async with node(store, clock, provider) as started:
        for hours_ago in (40, 100, 70):
            start = START - hours_ago * 60 * MINUTE
            page = await started.bars.range(AAPL, M1, start_ms=start, limit=100)
            assert minutes_of(page) == [*range(-hours_ago * 60, -hours_ago * 60 + 100)]
        before = len(provider.calls)
        whole = await started.bars.range(AAPL, M1, start_ms=START - 6_000 * MINUTE, limit=6_001)
        assert minutes_of(whole) == [*range(-6_000, 1)]
        assert len(provider.calls) - before <= 3
        assert (
            await started.bars.range(AAPL, M1, start_ms=START - 6_000 * MINUTE, limit=6_001)
            == whole
        )
        assert len(provider.calls) - before <= 3


async def test_where_the_provider_fails_what_is_stored_is_there(
    store: MemoryHistory, clock: ManualClock
) -> None:
    provider = Provider(clock)
    async with node(store, clock, provider) as started:
        whole = await started.bars.range(AAPL, M1, limit=1_500)
        provider.error = TemporaryProviderError("test", "busy")
        assert await started.bars.range(AAPL, M1, limit=1_500) == whole
        shorter = await started.bars.range(AAPL, M1, limit=5_000)
        assert minutes_of(shorter)[-1_500:] == minutes_of(whole)
        assert started.bars.backfill is not None
        assert started.bars.backfill.requests["failed"] == 1


async def test_while_the_store_is_gone_there_is_what_memory_has(clock: ManualClock) -> None:
    class Gone(MemoryHistory):
        async def bars(self, symbol: Symbol, query: BarQuery) -> StoredBars:
            raise StoreUnavailableError("test", "gone")

    async with node(Gone(), clock) as started:
        started.quote(0, 10)
        assert minutes_of(await started.bars.bars(AAPL, M1, 100)) == [0]


async def test_days_are_those_of_the_symbols_exchange(
    store: MemoryHistory, clock: ManualClock
) -> None:
    seoul = SessionDays([START, START + DAY], [START + 390 * MINUTE, START + DAY + 390 * MINUTE])
    loads: list[str] = []

    async def load(name: str) -> SessionDays:
        loads.append(name)
        await asyncio.sleep(0)
        return seoul

    async with node(store, clock) as started:
        started.history.calendars = Calendars({".KS": "XKRX"}, load)
        samsung = Symbol("005930.KS")
        for at, price in ((0, 10), (390 * MINUTE, 11), (391 * MINUTE, 12)):
            quote = Quote(symbol=samsung, price=price)
            started.bars.on_believed(quote, START + at, 0.0)
            started.bars.on_believed(Quote(symbol=AAPL, price=price), START + at, 0.0)
        days, _ = await asyncio.gather(*(started.bars.bars(samsung, D1, 9) for _ in range(2)))
        assert [(day.timestamp, day.open, day.close) for day in days] == [
            (START, 10, 11),
            (START + DAY, 12, 12),
        ]
        assert loads == ["XKRX"]
        assert len(await started.bars.bars(AAPL, D1, 9)) == 1


async def test_clients_cannot_have_all_that_there_ever_was_fetched_at_once(
    store: MemoryHistory, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stockstream.services.backfilling._BURST", 2.0)
    provider = Provider(clock)
    async with node(store, clock, provider) as started:
        with pytest.raises(UnavailableError, match="ask again"):
            await started.bars.range(AAPL, M1, limit=5_000)
        assert started.bars.backfill is not None
        assert started.bars.backfill.requests == {"sent": 2, "failed": 0, "shed": 1}
        # What was fetched is kept: it goes on from there.
        await clock.advance(10)
        assert len(await started.bars.range(AAPL, M1, limit=5_000)) == 5_000
        assert started.bars.backfill.requests["sent"] == 4


async def test_what_was_stored_elsewhere_is_there_when_a_symbol_is_heard_no_more(
    tmp_path: Path, clock: ManualClock
) -> None:
    store = SqlHistory(f"sqlite:///{tmp_path / 'history.db'}")
    async with node(store, clock) as hearing, node(store, clock) as streaming:
        for minute in range(5):
            streaming.quote(minute * MINUTE, 10.0)
            if minute < 2:
                hearing.bars.on_quote(AAPL, 10.0, START + minute * MINUTE, 0.0)
        hearing.bars.forget(AAPL)
        streaming.bars.forget(AAPL)
        # The owner's are not stored yet.
        assert minutes_of(await streaming.bars.bars(AAPL, M1, 10)) == [0, 1, 2, 3, 4]
        await streaming.history.writer.write()
        assert minutes_of(await hearing.bars.bars(AAPL, M1, 10)) == [0, 1, 2, 3, 4]
    await store.aclose()
