import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from random import Random

from structlog.testing import capture_logs

from stockstream.errors import PermanentProviderError
from stockstream.model import Quote, Symbol
from stockstream.services.feeding import FeedLoop
from tests.support.clock import ManualClock
from tests.support.providers import FakeFeed, down

A, B = Symbol("A"), Symbol("B")


class Fed:
    """A loop with what it reports."""

    def __init__(self, feed: FakeFeed) -> None:
        self.clock = ManualClock()
        self.feed = feed
        self.prices: list[float] = []
        #: ``connected`` at each change of it.
        self.states: list[bool] = []
        self.loop = FeedLoop(
            feed,
            clock=self.clock,
            random=Random(1),
            on_quotes=self._take,
            on_state=lambda: self.states.append(self.loop.connected),
        )
        self.task: asyncio.Task[None] | None = None

    def _take(self, quotes: Sequence[Quote]) -> None:
        self.prices += [quote.price for quote in quotes]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        """Run it until the block ends."""
        task = asyncio.create_task(self.loop.run())
        await self.clock.advance(0)
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.wait((task,))
        assert self.feed.open == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_quotes_are_handed_on_in_order() -> None:
    fed = Fed(FakeFeed())
    async with fed.running():
        for price in (1.0, 3.0, 2.0):
            fed.feed.push(A, price)
        await fed.clock.advance(0)
        assert fed.prices == [1.0, 3.0, 2.0]
    assert fed.feed.connections == 1


async def test_a_lost_connection_is_made_again_after_a_pause() -> None:
    fed = Fed(FakeFeed())
    async with fed.running():
        fed.feed.fail(down())
        await fed.clock.advance(0)
        assert (fed.feed.connections, fed.feed.open) == (1, 0)
        await fed.clock.advance(1)
        assert (fed.feed.connections, fed.feed.open) == (2, 1)
        fed.feed.push(A, 5.0)
        await fed.clock.advance(0)
        assert fed.prices == [5.0]
    assert fed.loop.losses == 1


async def test_pauses_grow_while_the_connection_is_refused() -> None:
    fed = Fed(FakeFeed())
    async with fed.running():
        for _ in range(1_000):
            fed.feed.fail(down())
        await fed.clock.advance(600)
        # 1, 2, 4, … up to 60 s, each shortened by at most a half: not one a second.
        assert 12 <= fed.feed.connections <= 27


async def test_pauses_are_short_again_after_quotes_came() -> None:
    fed = Fed(FakeFeed())
    async with fed.running():
        for _ in range(10):
            fed.feed.fail(down())
        await fed.clock.advance(600)
        fed.feed.push(A, 5.0)
        await fed.clock.advance(0)
        before = fed.feed.connections
        fed.feed.fail(down())
        await fed.clock.advance(1)
        assert fed.feed.connections == before + 1


async def test_a_pause_that_the_provider_asks_for_is_kept() -> None:
    fed = Fed(FakeFeed())
    async with fed.running():
        fed.feed.fail(down(retry_after=120))
        await fed.clock.advance(119)
        assert fed.feed.connections == 1
        await fed.clock.advance(1)
        assert fed.feed.connections == 2


async def test_it_is_connected_again_when_quotes_come_and_not_before() -> None:
    fed = Fed(FakeFeed())
    async with fed.running():
        fed.feed.fail(down())
        await fed.clock.advance(10)
        assert (fed.feed.open, fed.states) == (1, [False])
        fed.feed.push(A, 5.0)
        await fed.clock.advance(0)
        assert fed.states == [False, True]


async def test_a_connection_that_is_refused_for_good_is_not_tried_again() -> None:
    fed = Fed(FakeFeed())
    async with fed.running() as task:
        with capture_logs() as logs:
            fed.feed.fail(PermanentProviderError("fake", "the key is refused"))
            await fed.clock.advance(1_000)
        assert (fed.feed.connections, fed.states) == (1, [False])
        assert task.done()
        await task
    assert [(line["event"], line["log_level"]) for line in logs] == [("feed_refused", "error")]


async def test_the_end_of_a_recording_ends_the_loop() -> None:
    fed = Fed(FakeFeed())
    async with fed.running() as task:
        fed.feed.push(A, 5.0)
        fed.feed.end()
        await fed.clock.advance(100)
        assert task.done()
        await task
        assert (fed.prices, fed.states) == ([5.0], [False])
    assert fed.feed.connections == 1


async def test_changes_in_quick_succession_reach_the_feed_as_one() -> None:
    fed = Fed(FakeFeed())
    async with fed.running():
        for symbols in ([A], [A, B], [B]):
            fed.loop.want(symbols)
        await fed.clock.advance(0)
        assert fed.feed.watched == [{B}]
        assert fed.loop.carried == {B}


async def test_a_change_while_the_feed_is_being_told_reaches_it_afterwards() -> None:
    fed = Fed(FakeFeed())
    async with fed.running():
        fed.loop.want([A])
        while not fed.feed.watched:
            await asyncio.sleep(0)
        fed.loop.want([B])
        await fed.clock.advance(0)
        assert fed.feed.watched == [{A}, {B}]


async def test_the_same_symbols_again_are_no_change() -> None:
    fed = Fed(FakeFeed())
    async with fed.running():
        fed.loop.want([A, B])
        await fed.clock.advance(0)
        fed.loop.want([B, A])
        await fed.clock.advance(0)
        assert fed.feed.watched == [{A, B}]


async def test_a_feed_that_could_not_be_told_is_told_again() -> None:
    fed = Fed(FakeFeed())
    fed.feed.watch_failure = down()
    async with fed.running():
        fed.loop.want([A])
        await fed.clock.advance(0)
        fed.feed.watch_failure = None
        await fed.clock.advance(1)
        assert fed.feed.watched == [{A}, {A}]
        await fed.clock.advance(100)
        assert len(fed.feed.watched) == 2


async def test_a_fault_while_the_feed_is_told_is_logged_and_it_is_told_again() -> None:
    fed = Fed(FakeFeed())
    fed.feed.watch_failure = ValueError("the vendor changed a field")
    async with fed.running() as task:
        with capture_logs() as logs:
            fed.loop.want([A])
            await fed.clock.advance(0)
        assert [line["event"] for line in logs] == ["feed_crashed"]
        fed.feed.watch_failure = None
        await fed.clock.advance(1)
        assert fed.feed.watched == [{A}, {A}]
        assert not task.done()


async def test_a_fault_within_the_feed_is_logged_and_taken_for_a_lost_connection() -> None:
    fed = Fed(FakeFeed())
    async with fed.running() as task:
        with capture_logs() as logs:
            fed.feed.fail(ValueError("the vendor changed a field"))
            await fed.clock.advance(1)
        assert not task.done()
        fed.feed.push(A, 5.0)
        await fed.clock.advance(0)
        assert fed.prices == [5.0]
    assert fed.loop.losses == 1
    assert logs[0]["event"] == "feed_crashed"
