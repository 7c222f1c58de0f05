import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from stockstream.errors import TemporaryProviderError
from stockstream.model import Bar, Quote, Symbol, Timeframe
from stockstream.services.bar_updates import BarUpdates
from stockstream.services.bars import BarService
from stockstream.wire.replies import BarUpdate
from tests.support.clock import ManualClock

A, B = Symbol("A"), Symbol("B")
M1, M5 = Timeframe.M1, Timeframe.M5
#: The start of a minute, and of five.
START = 1_709_649_000_000


class SlowHistory:
    """A BarSource that answers for one symbol only when it is let, and for others not at all."""

    def __init__(self) -> None:
        self.hanging: set[Symbol] = set()

    async def fetch_bars(
        self, symbol: Symbol, timeframe: Timeframe, *, end_ms: int, limit: int
    ) -> Sequence[Bar]:
        while symbol in self.hanging:
            await asyncio.sleep(0)
        raise TemporaryProviderError("fake", "out of order")


class Watched:
    """Bars that are made of quotes, and what is sent of them."""

    def __init__(self, history: SlowHistory | None = None) -> None:
        self.clock = ManualClock(START)
        self.bars = BarService(history, self.clock)
        self.sent: list[tuple[str, BarUpdate]] = []
        self.updates = BarUpdates(
            self.bars, self.clock, lambda event, bar: self.sent.append((event, bar))
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.updates.run())
        await self.clock.advance(0)
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait((task,))
            await self.bars.aclose()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    async def quote(self, price: float, *, at: float, symbol: Symbol = A) -> None:
        """Have a quote come, so many seconds after the start."""
        await self.clock.advance(at - (self.clock.time_ms() - START) / 1000)
        self.bars.on_quote(symbol, price, START + int(at * 1000), 0.0)

    def closes(self, event: str = "bar_update_A_1m") -> list[tuple[int, float, bool]]:
        """Minute, close and whether it had ended, of each bar sent."""
        return [
            ((bar.timestamp - START) // 60_000, bar.close, bar.closed)
            for name, bar in self.sent
            if name == event
        ]


async def test_the_forming_bar_is_sent_at_most_twice_a_second() -> None:
    watched = Watched()
    watched.updates.acquire(A, M1)
    async with watched.running():
        for number in range(1, 51):
            await watched.quote(100.0 + number, at=number / 10 + 0.05)
        await watched.clock.advance(0.5)
        assert len(watched.sent) == 11
        assert watched.closes()[-1] == (0, 150.0, False)
        assert watched.sent[-1][1].open == 101.0


async def test_an_unchanged_bar_is_not_sent_again() -> None:
    watched = Watched()
    watched.updates.acquire(A, M1)
    async with watched.running():
        await watched.quote(100.0, at=1)
        await watched.clock.advance(30)
        assert watched.closes() == [(0, 100.0, False)]


async def test_nothing_is_sent_of_what_nobody_watches() -> None:
    watched = Watched()
    watched.updates.acquire(A, M1)
    async with watched.running():
        await watched.quote(100.0, at=1, symbol=B)
        await watched.clock.advance(5)
        assert watched.sent == []


async def test_a_finished_bar_is_sent_once_more_before_the_next_one() -> None:
    watched = Watched()
    watched.updates.acquire(A, M1)
    # So that no look comes at the turn of a minute.
    await watched.clock.advance(0.2)
    async with watched.running():
        await watched.quote(100.0, at=10)
        await watched.clock.advance(1)
        # Its last change comes between two looks: it is in the finished bar all the same.
        await watched.quote(101.0, at=59.9)
        await watched.quote(102.0, at=60.1)
        await watched.clock.advance(1)
        assert watched.closes() == [(0, 100.0, False), (0, 101.0, True), (1, 102.0, False)]


async def test_each_bar_that_ended_between_two_looks_is_sent() -> None:
    watched = Watched()
    watched.updates.acquire(A, M1)
    async with watched.running():
        await watched.quote(100.0, at=10)
        await watched.clock.advance(1)
        for minute in range(1, 6):
            watched.bars.on_quote(A, 100.0 + minute, START + minute * 60_000, 0.0)
        await watched.clock.advance(1)
        finished = [(minute, closed) for minute, _, closed in watched.closes()[1:]]
        assert finished == [(0, True), (1, True), (2, True), (3, True), (4, True), (5, False)]


async def test_each_timeframe_is_sent_under_its_own_name() -> None:
    watched = Watched()
    watched.updates.acquire(A, M1)
    watched.updates.acquire(A, M5)
    async with watched.running():
        await watched.quote(100.0, at=10)
        await watched.quote(101.0, at=70)
        await watched.clock.advance(1)
        assert watched.closes("bar_update_A_5m") == [(0, 100.0, False), (0, 101.0, False)]
        assert len(watched.closes("bar_update_A_1m")) == 3


async def test_a_newcomer_gets_the_bar_though_no_quote_comes() -> None:
    watched = Watched()
    watched.updates.acquire(A, M1)
    async with watched.running():
        await watched.quote(100.0, at=10)
        await watched.clock.advance(5)
        watched.updates.acquire(A, M1)
        await watched.clock.advance(5)
        assert watched.closes() == [(0, 100.0, False)] * 2


async def test_a_newcomer_costs_the_others_no_finished_bar() -> None:
    watched = Watched()
    watched.updates.acquire(A, M1)
    await watched.clock.advance(0.2)
    async with watched.running():
        await watched.quote(100.0, at=59)
        await watched.quote(101.0, at=60.1)
        watched.updates.acquire(A, M1)
        await watched.clock.advance(1)
        assert watched.closes() == [(0, 100.0, False), (0, 100.0, True), (1, 101.0, False)]


async def test_after_the_last_one_left_nothing_is_sent() -> None:
    watched = Watched()
    watched.updates.acquire(A, M1)
    watched.updates.acquire(A, M1)
    async with watched.running():
        watched.updates.release(A, M1)
        await watched.quote(100.0, at=1)
        await watched.clock.advance(1)
        assert len(watched.sent) == 1
        watched.updates.release(A, M1)
        await watched.quote(101.0, at=3)
        await watched.clock.advance(10)
        assert len(watched.sent) == 1


async def test_who_comes_after_a_pause_hears_of_no_bar_from_before() -> None:
    watched = Watched()
    watched.updates.acquire(A, M1)
    async with watched.running():
        await watched.quote(100.0, at=10)
        await watched.clock.advance(1)
        watched.updates.release(A, M1)
        await watched.quote(101.0, at=70)
        watched.updates.acquire(A, M1)
        await watched.clock.advance(1)
        assert watched.closes() == [(0, 100.0, False), (1, 101.0, False)]


async def test_a_history_that_hangs_holds_up_its_own_series_alone() -> None:
    history = SlowHistory()
    history.hanging = {B}
    watched = Watched(history)
    watched.updates.acquire(B, M1)
    watched.updates.acquire(A, M1)
    async with watched.running():
        await watched.quote(100.0, at=1)
        await watched.quote(100.0, at=1, symbol=B)
        await watched.clock.advance(5)
        assert watched.closes("bar_update_A_1m") == [(0, 100.0, False)]
        history.hanging.clear()
        await watched.clock.advance(1)
        assert watched.closes("bar_update_B_1m") == [(0, 100.0, False)]


async def test_a_bar_that_a_late_quote_corrects_is_sent_again() -> None:
    watched = Watched()
    watched.updates.acquire(A, M1)
    watched.updates.acquire(A, M5)
    async with watched.running():
        for at, price in ((10, 100.0), (70, 101.0), (130, 102.0)):
            await watched.quote(price, at=at)
            await watched.clock.advance(1)
        del watched.sent[:]
        # One of the minute before, one that is too late, one of the minute that forms.
        for at, price in ((119, 110.0), (60, 99.0), (125, 105.0)):
            watched.bars.on_late(Quote(symbol=A, price=price, timestamp=START + at * 1_000))
        await watched.clock.advance(1)
        assert watched.closes() == [(1, 110.0, True), (2, 102.0, False)]
        assert [bar.high for _, bar in watched.sent if bar.closed] == [110.0]
        # The five minutes still form: once is enough.
        assert watched.closes("bar_update_A_5m") == [(0, 102.0, False)]
        await watched.clock.advance(5)
        assert len(watched.closes()) == 2


async def test_a_correction_of_long_ago_reaches_back_over_what_has_ended_since() -> None:
    watched = Watched()
    watched.updates.acquire(A, M1)
    async with watched.running():
        for second in range(61):
            await watched.quote(100.0, at=second)
        for at in (75.0, 76.0):
            await watched.quote(100.0, at=at)
        await watched.clock.advance(1)
        del watched.sent[:]
        watched.bars.on_late(Quote(symbol=A, price=90.0, timestamp=START + 20_000))
        await watched.clock.advance(1)
        assert [(bar.low, bar.closed) for _, bar in watched.sent] == [(90.0, True)]
