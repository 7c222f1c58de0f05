from collections.abc import Mapping

import pytest
from structlog.testing import capture_logs

from stockstream.core.derived_settings import read_derived
from stockstream.model import Bar, StockUpdate, Symbol, Timeframe
from stockstream.services.deriving import BarsOfOthers
from tests.services.streaming_support import A, B, C, Streaming
from tests.support.clock import ManualClock
from tests.support.providers import FakeFeed

X, Y, Z = Symbol("X"), Symbol("Y"), Symbol("Z")
SPREAD = {"X": {"kind": "spread", "of": "A", "by": "B"}}
#: Y is made of X, Z of both X and one of X's own inputs.
TOWER = {
    "Z": {"kind": "spread", "of": "Y", "by": "A"},
    "Y": {"kind": "basket", "weights": {"X": 10}},
    **SPREAD,
}


def deriving(
    tables: Mapping[str, object], *, feed: FakeFeed | None = None, limit: int = 100
) -> Streaming:
    return Streaming(derived=read_derived(tables), feed=feed, limit=limit)


async def test_the_inputs_of_a_derived_symbol_are_wanted_while_it_is() -> None:
    streaming = deriving(SPREAD)
    streaming.poller.prices = {A: 30.0, B: 28.0}
    async with streaming.running():
        await streaming.clock.advance(3)
        assert streaming.poller.requests == []
        await streaming.want(X)
        assert streaming.service.get_active_subscriptions() == {X: 1, A: 1, B: 1}
        streaming.service.release(X)
        await streaming.clock.advance(4.9)
        assert streaming.stopped == []
        await streaming.clock.advance(0.2)
        assert streaming.stopped == [X]
        await streaming.clock.advance(5)
        assert sorted(streaming.stopped) == [A, B, X]
        assert streaming.service.get_streaming_status() == {}


async def test_the_provider_is_never_asked_for_a_derived_symbol() -> None:
    streaming = deriving(SPREAD)
    streaming.poller.prices = {A: 30.0, B: 28.0, X: 99.0}
    async with streaming.running():
        await streaming.want(X)
        await streaming.clock.advance(10)
        assert streaming.poller.count(X) == 0
        assert streaming.sink.prices(X) == [2.0]


async def test_a_derived_price_is_sent_when_it_changed() -> None:
    streaming = deriving(SPREAD)
    async with streaming.running():
        await streaming.want(X)
        await streaming.say(A, 30.0)
        assert streaming.sink.prices(X) == []
        await streaming.say(B, 28.0, 29.5)
        streaming.poller.prices |= {A: 30.5, B: 30.0}
        await streaming.clock.advance(1)
        await streaming.say(B, 31.0)
        assert streaming.sink.prices(X) == [2.0, 0.5, -0.5]
        updates = [each for each in streaming.sink.published if each.symbol == X]
        assert [each.seq for each in updates] == [1, 2, 3]
        assert len({each.epoch for each in updates}) == 1
        assert [each.change for each in updates] == [0.0, -1.5, -2.5]
        assert (updates[-1].day_high, updates[-1].day_low, updates[-1].open) == (2.0, -0.5, 2.0)


async def test_clients_get_an_update_before_what_is_computed_of_it() -> None:
    streaming = deriving(SPREAD)
    async with streaming.running():
        await streaming.want(X)
        await streaming.say(A, 30.0)
        await streaming.say(B, 28.0)
        assert [each.symbol for each in streaming.sink.published] == [A, B, X]
        offsets = [each.offset for each in streaming.sink.published]
        assert offsets == sorted(set(offsets))


async def test_whoever_comes_to_inputs_that_stream_already_gets_a_price_at_once() -> None:
    streaming = deriving(SPREAD)
    streaming.poller.prices = {A: 30.0, B: 28.0}
    async with streaming.running():
        await streaming.want(A, B)
        await streaming.want(X)
        snapshot = streaming.service.snapshot(X)
        assert snapshot is not None
        assert snapshot.price == 2.0


async def test_a_derived_symbol_that_comes_back_goes_on_where_it_stopped() -> None:
    streaming = deriving(SPREAD)
    async with streaming.running():
        await streaming.want(X)
        await streaming.say(A, 30.0)
        await streaming.say(B, 28.0)
        streaming.service.release(X)
        await streaming.clock.advance(20)
        await streaming.want(X)
        await streaming.say(B, 29.0)
        updates = [each for each in streaming.sink.published if each.symbol == X]
        assert [(each.seq, each.price) for each in updates] == [(1, 2.0), (2, 1.0)]
        assert len({each.epoch for each in updates}) == 1


async def test_what_is_derived_of_derived_symbols_has_one_price_for_each_moment() -> None:
    streaming = deriving(TOWER)
    streaming.poller.prices = {A: 30.0, B: 28.0}
    async with streaming.running():
        await streaming.want(Z)
        assert streaming.service.get_active_subscriptions() == {Z: 1, Y: 1, X: 1, A: 2, B: 1}
        assert streaming.sink.prices(Z) == [-10.0]
        streaming.poller.prices = {A: 31.0, B: 28.5}
        await streaming.clock.advance(1)
        # Not -11 as well, of the new A and the old Y, nor what follows from the new A alone.
        assert streaming.sink.prices(X) == [2.0, 2.5]
        assert streaming.sink.prices(Y) == [20.0, 25.0]
        assert streaming.sink.prices(Z) == [-10.0, -6.0]
        streaming.service.release(Z)
        for _ in range(4):
            await streaming.clock.advance(5.1)
        assert streaming.service.get_streaming_status() == {}


async def test_an_input_can_be_watched_beside_what_is_derived_of_it() -> None:
    streaming = deriving(SPREAD)
    streaming.poller.prices = {A: 30.0, B: 28.0}
    async with streaming.running():
        await streaming.want(X, A)
        streaming.service.release(X)
        await streaming.clock.advance(11)
        assert streaming.service.get_active_subscriptions() == {A: 1}
        await streaming.say(A, 31.0)
        assert streaming.sink.prices(A) == [30.0, 31.0]
        assert streaming.sink.prices(X) == [2.0]


async def test_pushed_quotes_are_derived_of_as_well() -> None:
    feed = FakeFeed()
    streaming = deriving(SPREAD, feed=feed)
    async with streaming.running():
        await streaming.want(X)
        feed.push(A, 30.0)
        feed.push(B, 28.0)
        await streaming.clock.advance(0)
        assert streaming.sink.prices(X) == [2.0]
        assert feed.watched[-1] == {A, B}


async def test_an_input_beyond_the_limit_is_wanted_as_soon_as_there_is_room() -> None:
    streaming = deriving(SPREAD, limit=3)
    streaming.poller.prices = {A: 30.0, B: 28.0, C: 5.0}
    async with streaming.running():
        await streaming.want(C)
        with capture_logs() as logs:
            await streaming.want(X)
        assert [entry["input"] for entry in logs if entry["event"] == "input_not_wanted"] == [B]
        assert streaming.sink.prices(X) == []
        streaming.service.release(C)
        await streaming.clock.advance(10)
        assert streaming.sink.prices(X) == [2.0]
        streaming.service.release(X)
        await streaming.clock.advance(20)
        assert streaming.service.get_streaming_status() == {}


async def test_a_confirmed_price_that_was_known_before_makes_a_derived_one() -> None:
    clock = ManualClock()
    streaming = deriving(SPREAD)
    known = StockUpdate(
        symbol=A,
        price=30.0,
        change=0.0,
        change_percent=0.0,
        volume=0.0,
        timestamp=clock.time_ms(),
        seq=41,
        epoch="elsewhere",
    )
    await streaming.store.append([known])
    streaming.poller.prices = {A: 30.0, B: 28.0}
    async with streaming.running():
        await streaming.want(X)
        # A is not sent: its price has not changed.
        assert streaming.sink.prices(A) == []
        assert streaming.sink.prices(X) == [2.0]


async def test_bars_of_a_derived_symbol_are_made_of_its_prices() -> None:
    streaming = deriving(SPREAD)
    streaming.poller.prices = {B: 28.0}
    async with streaming.running():
        await streaming.want(X)
        await streaming.say(A, 30.0, 27.5, 29.0)
        (bar,) = await streaming.bars.bars(X, Timeframe.M1, 10)
        assert (bar.open, bar.high, bar.low, bar.close) == (2.0, 2.0, -0.5, 1.0)


async def test_what_was_computed_and_what_was_too_old_is_counted() -> None:
    streaming = deriving({"X": {**SPREAD["X"], "max_age": 5}})
    async with streaming.running():
        await streaming.want(X)
        await streaming.say(A, 30.0)
        await streaming.say(B, 28.0)
        assert (streaming.derived.active, streaming.derived.computed) == (1, 1)
        await streaming.clock.advance(10)
        await streaming.say(B, 29.0)
        assert streaming.sink.prices(X) == [2.0]
        assert streaming.derived.unused["stale"] == 1
        streaming.service.release(X)
        await streaming.clock.advance(10)
        assert (streaming.derived.active, streaming.derived.unused["stale"]) == (0, 1)


class _Bars:
    """A provider that has bars of everything."""

    async def fetch_bars(
        self, symbol: Symbol, timeframe: Timeframe, *, end_ms: int, limit: int
    ) -> list[Bar]:
        return [Bar(timestamp=0, open=1.0, high=1.0, low=1.0, close=1.0)]


@pytest.mark.parametrize(("symbol", "count"), [(A, 1), (X, 0)])
async def test_a_provider_is_not_asked_for_bars_of_derived_symbols(
    symbol: Symbol, count: int
) -> None:
    bars = BarsOfOthers(_Bars(), read_derived(SPREAD))
    assert len(await bars.fetch_bars(symbol, Timeframe.M1, end_ms=1, limit=5)) == count
