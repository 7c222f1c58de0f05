"""What every provider of quotes must do, whichever it is.

A provider's tests subclass the contracts that apply to it and give a fixture `subject`.
"""

import asyncio
import math
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import pytest

from stockstream.model import Bar, Quote, Symbol, Timeframe
from stockstream.provider_ports import BarSource, QuoteFeed, QuotePoller, QuoteProvider
from tests.support.clock import ManualClock

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A provider to be tested, and what it takes."""

    provider: QuoteProvider
    clock: ManualClock
    #: Two symbols that it has, and that change often.
    symbols: tuple[Symbol, Symbol]
    #: Seconds of its market in which each of them changes.
    patience: float = 60.0

    @property
    def poller(self) -> QuotePoller:
        assert self.provider.poller is not None
        return self.provider.poller

    @property
    def feed(self) -> QuoteFeed:
        assert self.provider.feed is not None
        return self.provider.feed

    @property
    def bars(self) -> BarSource:
        assert self.provider.bars is not None
        return self.provider.bars

    async def until(self, result: Awaitable[T]) -> T:
        """Let time pass until there is a result."""
        waiting = asyncio.ensure_future(result)
        try:
            while not waiting.done():
                await self.clock.advance(0.05)
                # Threads and sockets need real time.
                await asyncio.sleep(0.0005)
            return waiting.result()
        finally:
            waiting.cancel()


class ProviderContract:
    """For every provider."""

    async def test_name_is_short_and_stays_the_same(self, subject: Subject) -> None:
        name = subject.provider.name
        assert name.isidentifier()
        assert subject.provider.name == name

    async def test_it_can_do_something(self, subject: Subject) -> None:
        provider = subject.provider
        assert provider.poller or provider.feed or provider.bars

    async def test_closing_twice_does_no_harm(self, subject: Subject) -> None:
        await subject.provider.aclose()
        await subject.provider.aclose()


class PollerContract:
    """For a provider that can be asked for quotes."""

    async def test_limits_allow_something(self, subject: Subject) -> None:
        limits = subject.poller.limits
        assert limits.max_symbols is None or limits.max_symbols >= 1
        assert limits.requests_per_minute is None or limits.requests_per_minute > 0
        assert limits.max_concurrent >= 1

    async def test_no_symbols_give_no_quotes(self, subject: Subject) -> None:
        batch = await subject.until(subject.poller.fetch_quotes([]))
        assert not batch.quotes
        assert not batch.errors

    async def test_each_symbol_is_answered_once(self, subject: Subject) -> None:
        batch = await subject.until(subject.poller.fetch_quotes(subject.symbols))
        assert sorted(quote.symbol for quote in batch.quotes) == sorted(subject.symbols)
        assert not batch.errors

    async def test_symbol_asked_for_twice_is_answered_once(self, subject: Subject) -> None:
        symbol = subject.symbols[0]
        batch = await subject.until(subject.poller.fetch_quotes([symbol, symbol]))
        assert [quote.symbol for quote in batch.quotes] == [symbol]

    async def test_quotes_make_sense(self, subject: Subject) -> None:
        batch = await subject.until(subject.poller.fetch_quotes(subject.symbols))
        for quote in batch.quotes:
            assert_sensible(quote)

    async def test_cancelled_request_leaves_the_poller_usable(self, subject: Subject) -> None:
        request = asyncio.ensure_future(subject.poller.fetch_quotes(subject.symbols))
        await asyncio.sleep(0)
        request.cancel()
        await asyncio.wait({request})
        batch = await subject.until(subject.poller.fetch_quotes(subject.symbols))
        assert len(batch.quotes) == 2


class FeedContract:
    """For a provider that pushes."""

    async def test_symbol_limit_allows_something(self, subject: Subject) -> None:
        assert subject.feed.symbol_limit is None or subject.feed.symbol_limit >= 1

    async def test_what_was_watched_before_streaming_comes(self, subject: Subject) -> None:
        await subject.feed.watch(subject.symbols)
        assert {quote.symbol for quote in await self.quotes(subject)} == set(subject.symbols)

    async def test_only_watched_symbols_come(self, subject: Subject) -> None:
        await subject.feed.watch(subject.symbols[:1])
        assert {quote.symbol for quote in await self.quotes(subject)} == {subject.symbols[0]}

    async def test_watching_replaces_what_was_watched(self, subject: Subject) -> None:
        first, second = subject.symbols
        await subject.feed.watch([first])
        stream = aiter(subject.feed.stream())
        await subject.until(anext(stream))
        await subject.feed.watch([second])
        batch = await subject.until(anext(stream))
        assert {quote.symbol for quote in batch} == {second}
        await close(stream)

    async def test_nothing_comes_while_nothing_is_watched(self, subject: Subject) -> None:
        stream = aiter(subject.feed.stream())
        pull = asyncio.ensure_future(anext(stream))
        await subject.clock.advance(subject.patience)
        assert not pull.done()
        await subject.feed.watch(subject.symbols)
        assert await subject.until(pull)
        await close(stream)

    async def test_quotes_make_sense_and_batches_are_never_empty(self, subject: Subject) -> None:
        await subject.feed.watch(subject.symbols)
        quotes = await self.quotes(subject)
        for quote in quotes:
            assert_sensible(quote)

    async def test_closed_stream_can_be_streamed_again(self, subject: Subject) -> None:
        await subject.feed.watch(subject.symbols)
        before = await self.quotes(subject)
        after = await self.quotes(subject)
        assert (before[-1].timestamp or 0) <= (after[0].timestamp or 0)

    async def test_cancelled_pull_leaves_the_feed_usable(self, subject: Subject) -> None:
        await subject.feed.watch(subject.symbols)
        stream = aiter(subject.feed.stream())
        pull = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        pull.cancel()
        await asyncio.wait({pull})
        await close(stream)
        assert await self.quotes(subject)

    async def quotes(self, subject: Subject) -> Sequence[Quote]:
        """Stream for some batches, and until two symbols came or time was given for it."""
        stream = aiter(subject.feed.stream())
        end = subject.clock.monotonic() + subject.patience
        quotes: list[Quote] = []
        while len(quotes) < 50 and subject.clock.monotonic() < end:
            batch = await subject.until(anext(stream))
            assert batch
            quotes.extend(batch)
        await close(stream)
        return quotes


class BarsContract:
    """For a provider that has history."""

    @pytest.mark.parametrize("timeframe", list(Timeframe))
    async def test_bars_are_in_order_and_on_their_marks(
        self, subject: Subject, timeframe: Timeframe
    ) -> None:
        bars = await self.bars(subject, timeframe, limit=20)
        starts = [bar.timestamp for bar in bars]
        assert starts == sorted(set(starts))
        assert [timeframe.floor(start) for start in starts] == starts

    async def test_the_newest_bars_before_the_end_are_given(self, subject: Subject) -> None:
        newest = await self.bars(subject, Timeframe.M1, limit=20)
        assert len(newest) == 20
        earlier = await self.bars(subject, Timeframe.M1, limit=5, end_ms=newest[-5].timestamp)
        assert earlier == newest[-10:-5]

    async def test_no_bars_are_given_where_none_are_asked_for(self, subject: Subject) -> None:
        assert not await self.bars(subject, Timeframe.M1, limit=0)

    async def test_bars_make_sense(self, subject: Subject) -> None:
        for bar in await self.bars(subject, Timeframe.H1, limit=20):
            assert 0 < bar.low <= min(bar.open, bar.close)
            assert bar.high >= max(bar.open, bar.close)
            assert bar.volume >= 0

    async def bars(
        self, subject: Subject, timeframe: Timeframe, *, limit: int, end_ms: int | None = None
    ) -> Sequence[Bar]:
        end = subject.clock.time_ms() if end_ms is None else end_ms
        ask = subject.bars.fetch_bars(subject.symbols[0], timeframe, end_ms=end, limit=limit)
        bars = await subject.until(ask)
        assert len(bars) <= limit
        assert all(bar.timestamp < end for bar in bars)
        return bars


def assert_sensible(quote: Quote) -> None:
    assert 0 < quote.price < math.inf
    if quote.bid is not None and quote.ask is not None:
        assert 0 < quote.bid <= quote.ask
    if quote.day_high is not None and quote.day_low is not None:
        assert quote.day_low <= quote.price <= quote.day_high
    assert quote.volume is None or quote.volume >= 0


async def close(stream: object) -> None:
    """Close an iterator of quotes, whatever its kind."""
    aclose = getattr(stream, "aclose", None)
    if aclose is not None:
        await aclose()
