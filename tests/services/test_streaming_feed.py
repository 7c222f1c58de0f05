"""Prices that are pushed, alone or beside polling."""

from stockstream.errors import PermanentProviderError
from stockstream.model import Symbol, Timeframe
from tests.services.streaming_support import A, B, C, Streaming
from tests.support.providers import FakeFeed, FakePoller, down


def both(symbol_limit: int | None = None) -> tuple[Streaming, FakeFeed]:
    """A service whose provider pushes and can be polled."""
    feed = FakeFeed(symbol_limit)
    streaming = Streaming(poller=FakePoller(), feed=feed)
    streaming.poller.prices = {A: 1.0, B: 1.0, C: 1.0}
    return streaming, feed


async def polled(streaming: Streaming) -> set[Symbol]:
    """Return which symbols are being polled now."""
    before = len(streaming.poller.requests)
    await streaming.clock.advance(2)
    return {symbol for request in streaming.poller.requests[before:] for symbol in request}


async def test_of_what_is_pushed_only_the_first_price_is_polled() -> None:
    streaming, feed = both()
    async with streaming.running():
        await streaming.want(A, B)
        assert feed.watched[-1] == {A, B}
        # A quiet feed may say nothing of a symbol for hours.
        assert streaming.sink.published[-1].symbol == B
        feed.push(A, 1.1)
        feed.push(C, 1.1)
        assert await polled(streaming) == set()
        assert (streaming.poller.count(A), streaming.poller.count(B)) == (1, 1)
        assert (streaming.sink.prices(A), streaming.sink.prices(B)) == ([1.0, 1.1], [1.0])
        assert streaming.sink.prices(C) == []
        assert streaming.service.producer.feed_connected


async def test_an_answer_that_was_on_its_way_when_a_price_was_pushed_is_passed_over() -> None:
    streaming, feed = both()
    streaming.poller.hanging = {A}
    async with streaming.running():
        await streaming.want(A)
        feed.push(A, 1.1)
        await streaming.clock.advance(0)
        streaming.poller.hanging.clear()
        assert await polled(streaming) == set()
        assert streaming.sink.prices(A) == [1.1]


async def test_what_a_feed_cannot_carry_is_polled_and_most_wanted_is_pushed() -> None:
    streaming, feed = both(symbol_limit=1)
    async with streaming.running():
        await streaming.want(A, B, B, C)
        assert feed.watched[-1] == {B}
        assert await polled(streaming) == {A, C}


async def test_what_becomes_wanted_most_moves_to_the_feed_in_time() -> None:
    streaming, feed = both(symbol_limit=1)
    async with streaming.running():
        await streaming.want(A, A, B)
        assert feed.watched[-1] == {A}
        await streaming.want(B, B)
        await streaming.clock.advance(5)
        assert feed.watched[-1] == {B}
        assert await polled(streaming) == {A}


async def test_at_a_tie_nothing_moves() -> None:
    streaming, feed = both(symbol_limit=1)
    async with streaming.running():
        await streaming.want(A)
        await streaming.want(B, C)
        await streaming.clock.advance(60)
        assert feed.watched == [{A}]


async def test_a_symbol_that_stopped_is_watched_no_more() -> None:
    streaming, feed = both()
    async with streaming.running():
        await streaming.want(A, B)
        streaming.service.release(A)
        await streaming.clock.advance(5)
        assert feed.watched[-1] == {B}


async def test_while_the_feed_is_lost_everything_is_polled() -> None:
    streaming, feed = both()
    async with streaming.running():
        await streaming.want(A, B)
        feed.push(A, 10.0)
        await streaming.clock.advance(0)
        feed.fail(down())
        assert await polled(streaming) == {A, B}
        assert streaming.service.producer.feed_connected is False
        # It is connected again, and what it carried is watched still.
        assert feed.open == 1
        assert feed.watched[-1] == {A, B}
        feed.push(A, 11.0)
        await streaming.clock.advance(0)
        assert await polled(streaming) == set()


async def test_a_symbol_that_comes_while_the_feed_is_lost_is_pushed_later() -> None:
    streaming, feed = both()
    async with streaming.running():
        feed.fail(down())
        await streaming.clock.advance(0)
        await streaming.want(A)
        assert await polled(streaming) == {A}
        # A feed says nothing of what it was not told to watch.
        assert feed.watched[-1] == {A}
        feed.push(A, 10.0)
        await streaming.clock.advance(0)
        assert await polled(streaming) == set()


async def test_a_feed_that_is_refused_for_good_leaves_everything_to_polling() -> None:
    streaming, feed = both()
    async with streaming.running():
        await streaming.want(A)
        feed.fail(PermanentProviderError("fake", "the key is refused"))
        await streaming.clock.advance(0)
        await streaming.want(B)
        assert await polled(streaming) == {A, B}
        assert feed.connections == 1


async def test_numbers_go_on_when_a_symbol_moves_from_the_feed_to_polling() -> None:
    streaming, feed = both()
    async with streaming.running():
        await streaming.want(A)
        feed.push(A, 1.1)
        await streaming.clock.advance(0)
        streaming.poller.prices[A] = 1.2
        feed.fail(down())
        await streaming.clock.advance(2)
        updates = streaming.sink.published
        assert [(u.seq, u.price) for u in updates] == [(1, 1.0), (2, 1.1), (3, 1.2)]
        assert updates[0].epoch == updates[1].epoch


async def test_a_feed_alone_keeps_its_symbols_while_it_is_lost() -> None:
    feed = FakeFeed()
    streaming = Streaming(feed=feed)
    async with streaming.running():
        await streaming.want(A)
        feed.fail(down())
        await streaming.want(B)
        await streaming.clock.advance(1)
        assert feed.watched[-1] == {A, B}
        feed.push(B, 10.0)
        await streaming.clock.advance(0)
        assert streaming.sink.prices(B) == [10.0]
    assert streaming.poller.requests == []


async def test_a_price_that_comes_too_late_for_clients_corrects_its_bar() -> None:
    feed = FakeFeed()
    streaming = Streaming(feed=feed)
    async with streaming.running():
        await streaming.want(A)
        start = Timeframe.M1.floor(streaming.clock.time_ms()) - 60_000
        for at, price in ((0, 10.0), (70_000, 11.0), (30_000, 12.0), (31_000, 900.0)):
            feed.push(A, price, start + at)
        await streaming.clock.advance(0)
        assert streaming.sink.prices(A) == [10.0, 11.0]
        bars = await streaming.bars.bars(A, Timeframe.M1, 10)
        # Not with one that nobody believes.
        assert [(bar.open, bar.high, bar.close) for bar in bars] == [
            (10.0, 12.0, 12.0),
            (11.0, 11.0, 11.0),
        ]
