import asyncio
from math import nan
from random import Random

import pytest
from structlog.testing import capture_logs

from stockstream.errors import PermanentProviderError, StoreUnavailableError
from stockstream.model import Position, StockUpdate, Symbol, Timeframe
from stockstream.model.reference import Reference
from tests.services.streaming_support import A, B, Streaming
from tests.support.clock import ManualClock
from tests.support.providers import down, unknown
from tests.support.sinks import UnreliableStore

ELSEWHERE = StockUpdate(
    symbol=A,
    price=10.0,
    change=0.0,
    change_percent=0.0,
    volume=0.0,
    timestamp=1,
    seq=41,
    epoch="elsewhere",
)


async def test_a_symbol_streams_from_its_first_client_on() -> None:
    streaming = Streaming()
    streaming.poller.prices = {A: 10.0, B: 20.0}
    async with streaming.running():
        await streaming.clock.advance(3)
        assert streaming.poller.requests == []
        await streaming.want(A)
        assert streaming.sink.prices(A) == [10.0]
        await streaming.want(A)
        assert streaming.poller.count(A) == 1
        assert streaming.poller.count(B) == 0
        assert streaming.started == [A]
        assert streaming.service.get_active_subscriptions() == {A: 2}


@pytest.mark.parametrize("linger", [0.5, 5.0, 60.0])
async def test_a_symbol_stops_when_its_last_client_has_been_gone_for_the_timeout(
    linger: float,
) -> None:
    streaming = Streaming(linger=linger)
    streaming.poller.prices = {A: 10.0}
    async with streaming.running():
        await streaming.want(A, A)
        await streaming.clock.advance(2.3)
        streaming.service.release(A)
        await streaming.clock.advance(100)
        assert streaming.stopped == []
        await streaming.clock.advance(0.7)
        streaming.service.release(A)
        await streaming.clock.advance(linger - 0.1)
        assert streaming.stopped == []
        assert streaming.service.get_streaming_status() == {A: True}
        await streaming.clock.advance(0.11)
        assert streaming.stopped == [A]
        assert streaming.service.get_streaming_status() == {}
        asked = streaming.poller.count(A)
        await streaming.clock.advance(10)
        assert streaming.poller.count(A) == asked


async def test_a_client_that_comes_back_in_time_finds_the_stream_going_on() -> None:
    streaming = Streaming()
    async with streaming.running():
        await streaming.want(A)
        streaming.service.release(A)
        await streaming.clock.advance(4)
        await streaming.want(A)
        await streaming.clock.advance(100)
        assert (streaming.started, streaming.stopped) == ([A], [])


async def test_updates_and_snapshots_carry_reference_data() -> None:
    streaming = Streaming(reference={A: Reference(name="삼성전자", currency="KRW")})
    async with streaming.running():
        await streaming.want(A, B)
        await streaming.say(A, 10.0)
        await streaming.say(B, 20.0)
        names = {update.symbol: update.name for update in streaming.sink.published}
        assert names == {A: "삼성전자", B: None}
        snapshot = streaming.service.snapshot(A)
        assert snapshot is not None
        assert snapshot.currency == "KRW"


async def test_an_unchanged_price_is_not_emitted() -> None:
    streaming = Streaming()
    async with streaming.running():
        await streaming.want(A)
        await streaming.say(A, 10.0, 10.0, 11.0, 11.0, 10.0)
        assert streaming.sink.prices(A) == [10.0, 11.0, 10.0]
        assert streaming.updates_on_the_bus == [10.0, 11.0, 10.0]
        assert (streaming.service.producer.accepted, streaming.service.producer.unchanged) == (5, 2)


async def test_an_unchanged_price_is_not_emitted_across_a_pause_of_the_stream() -> None:
    streaming = Streaming()
    async with streaming.running():
        await streaming.want(A)
        await streaming.say(A, 10.0)
        streaming.service.release(A)
        await streaming.clock.advance(10)
        assert streaming.stopped == [A]
        await streaming.want(A)
        await streaming.clock.advance(5)
        assert streaming.sink.prices(A) == [10.0]
        # Who is new gets it all the same.
        assert streaming.sink.settled[-1].price == 10.0


async def test_numbers_go_on_without_a_gap_across_a_pause_of_the_stream() -> None:
    streaming = Streaming()
    async with streaming.running():
        await streaming.want(A)
        await streaming.say(A, 10.0, 11.0)
        streaming.service.release(A)
        await streaming.clock.advance(10)
        await streaming.want(A)
        await streaming.say(A, 12.0, 13.0)
        assert [update.seq for update in streaming.sink.published] == [1, 2, 3, 4]
        assert len({update.epoch for update in streaming.sink.published}) == 1


async def test_an_answer_that_was_on_its_way_when_the_stream_began_is_not_believed() -> None:
    streaming = Streaming(linger=0.0)
    streaming.poller.hanging = {A}
    async with streaming.running():
        await streaming.want(A)
        assert streaming.poller.requests == [[A]]
        streaming.service.release(A)
        await streaming.clock.advance(0.25)
        assert streaming.stopped == [A]
        await streaming.want(A)
        # Asked for before the stream began: another node may have gone on meanwhile.
        streaming.poller.prices = {A: 1.0}
        streaming.poller.hanging = set()
        await streaming.clock.advance(0.01)
        assert streaming.poller.busy == 0
        streaming.poller.prices = {A: 2.0}
        await streaming.clock.advance(1.0)
        assert streaming.sink.prices(A) == [2.0]


async def test_each_service_numbers_in_an_epoch_of_its_own() -> None:
    first, second = Streaming(), Streaming()
    for streaming in (first, second):
        async with streaming.running():
            await streaming.want(A, B)
            await streaming.say(A, 10.0)
            await streaming.say(B, 10.0)
    updates = first.sink.published + second.sink.published
    assert [update.seq for update in updates] == [1, 1, 1, 1]
    assert len({update.epoch for update in updates}) == 4


async def test_an_unchanged_price_is_not_emitted_where_another_process_emitted_it_before() -> None:
    clock = ManualClock()
    store = UnreliableStore(clock)
    await store.append([ELSEWHERE])
    streaming = Streaming(clock=clock, store=store)
    async with streaming.running():
        await streaming.want(A)
        assert streaming.service.snapshot(A) == ELSEWHERE
        assert streaming.sink.settled == [ELSEWHERE]
        await streaming.say(A, 10.0)
        assert streaming.sink.published == []
        await streaming.say(A, 11.0)
        (update,) = streaming.sink.published
        assert (update.price, update.seq) == (11.0, 1)
        assert update.epoch != "elsewhere"


@pytest.mark.parametrize(
    ("price", "reason"),
    [(nan, "not_finite"), (-1.0, "not_positive"), (0.0, "not_positive"), (1_000.0, "price_jump")],
)
async def test_a_price_that_cannot_be_true_is_counted_and_reported_once(
    price: float, reason: str
) -> None:
    streaming = Streaming()
    async with streaming.running():
        await streaming.want(A)
        await streaming.say(A, 10.0, price, price)
        assert streaming.sink.prices(A) == [10.0]
        assert streaming.service.producer.rejected == {reason: 2}
        assert [failure.code for failure in streaming.failures] == [reason]
        assert streaming.service.get_streaming_status() == {A: False}
        await streaming.say(A, 10.0)
        assert streaming.service.get_streaming_status() == {A: True}
        await streaming.say(A, price)
        assert [failure.code for failure in streaming.failures] == [reason, reason]


async def test_a_failing_provider_is_reported_once_for_each_symbol_and_time_that_it_fails() -> None:
    streaming = Streaming()
    streaming.poller.prices = {A: 10.0, B: 20.0}
    async with streaming.running():
        await streaming.want(A, B)
        streaming.poller.failure = down()
        with capture_logs() as logs:
            await streaming.clock.advance(60)
        assert sorted(failure.symbol for failure in streaming.failures) == [A, B]
        assert {failure.code for failure in streaming.failures} == {"provider_temporary"}
        assert [line["event"] for line in logs] == ["no_quote", "no_quote"]
        assert streaming.service.producer.errors > 10
        streaming.poller.failure = None
        await streaming.clock.advance(60)
        streaming.poller.failure = down()
        await streaming.clock.advance(2)
        assert len(streaming.failures) == 4


async def test_quotes_are_counted_into_bars_also_where_the_price_stands_still() -> None:
    streaming = Streaming()
    async with streaming.running():
        await streaming.want(A)
        await streaming.say(A, 10.0)
        await streaming.clock.advance(60)
        bars = await streaming.bars.bars(A, Timeframe.M1, 10)
        assert [(bar.open, bar.close) for bar in bars] == [(10.0, 10.0)] * 2


async def test_a_snapshot_is_there_once_the_price_is_known() -> None:
    streaming = Streaming()
    async with streaming.running():
        assert streaming.service.snapshot(A) is None
        await streaming.want(A)
        assert streaming.service.snapshot(A) is None
        await streaming.say(A, 10.0)
        assert streaming.service.snapshot(A) == streaming.sink.published[0]


async def test_current_waits_for_the_first_price() -> None:
    streaming = Streaming()
    async with streaming.running():
        await streaming.want(A)
        current = asyncio.create_task(streaming.service.current(A, within=60))
        await streaming.clock.advance(1)
        assert not current.done()
        await streaming.say(A, 10.0)
        update = await current
        assert update is not None
        assert update.price == 10.0
        assert await streaming.service.current(A, within=0) == update


async def test_current_is_none_where_no_price_comes_in_time() -> None:
    streaming = Streaming()
    async with streaming.running():
        await streaming.want(A)
        assert await streaming.service.current(A, within=0.001) is None
        # Nor does who gave up leave anything behind.
        assert not streaming.service._wanted.live[A]._waiters


async def test_current_is_none_where_the_provider_is_down() -> None:
    streaming = Streaming()
    streaming.poller.failure = down()
    async with streaming.running():
        streaming.service.acquire(A)
        assert await streaming.service.current(A, within=60) is None


async def test_current_says_so_where_the_provider_knows_no_such_symbol() -> None:
    streaming = Streaming()
    streaming.poller.errors = {A: unknown(A)}
    async with streaming.running():
        streaming.service.acquire(A)
        for _ in range(2):
            # The second one need not wait for the provider to be asked again, a minute later.
            with pytest.raises(PermanentProviderError) as caught:
                await streaming.service.current(A, within=30)
            assert caught.value.symbols == (A,)


async def test_current_can_be_given_up() -> None:
    streaming = Streaming()
    async with streaming.running():
        await streaming.want(A)
        current = asyncio.create_task(streaming.service.current(A, within=60))
        await streaming.clock.advance(0)
        current.cancel()
        await asyncio.wait((current,))
        await streaming.say(A, 10.0)
        assert streaming.sink.prices(A) == [10.0]


async def test_current_ends_where_the_stream_does() -> None:
    streaming = Streaming()
    async with streaming.running():
        await streaming.want(A)
        current = asyncio.create_task(streaming.service.current(A, within=60))
        await streaming.clock.advance(0)
        streaming.service.release(A)
        await streaming.clock.advance(5)
        assert await current is None


async def test_missed_updates_are_those_after_the_position() -> None:
    streaming = Streaming()
    async with streaming.running():
        await streaming.want(A)
        await streaming.say(A, 10.0, 11.0, 12.0)
        first, *rest = streaming.sink.published
        assert await streaming.service.missed(A, first.position) == rest
        assert await streaming.service.missed(A, rest[-1].position) == []
        assert await streaming.service.missed(A, Position(epoch="another", seq=1)) is None


async def test_missed_updates_cannot_be_told_while_they_are_not_stored() -> None:
    streaming = Streaming()
    async with streaming.running():
        await streaming.want(A)
        await streaming.say(A, 10.0, 11.0)
        streaming.recorder.in_time = False
        assert await streaming.service.missed(A, streaming.sink.published[0].position) is None


async def test_a_store_that_is_gone_harms_no_price() -> None:
    streaming = Streaming()
    streaming.store.available = False
    with capture_logs() as logs:
        async with streaming.running():
            await streaming.want(A)
            await streaming.say(A, 10.0, 11.0)
            await streaming.clock.advance(200)
            await streaming.say(A, 12.0)
            assert streaming.sink.prices(A) == [10.0, 11.0, 12.0]
            with pytest.raises(StoreUnavailableError):
                await streaming.service.missed(A, streaming.sink.published[0].position)
    assert {line["event"] for line in logs} == {"cache_not_read", "cache_not_refreshed"}


async def test_a_store_that_never_answers_does_not_keep_a_stream_from_beginning() -> None:
    streaming = Streaming()
    entered = asyncio.Event()

    async def hang(_: Symbol) -> None:
        entered.set()
        await asyncio.Event().wait()

    streaming.store.get = hang  # type: ignore[assignment,method-assign]
    async with streaming.running():
        streaming.poller.prices[A] = 10.0
        await streaming.want(A)
        await entered.wait()
        update = await streaming.service.current(A, within=30)
        assert update is not None
        assert update.price == 10.0


async def test_a_price_that_stands_still_stays_in_the_cache() -> None:
    streaming = Streaming()
    async with streaming.running():
        await streaming.want(A, B)
        await streaming.say(A, 10.0)
        await streaming.recorder.flush(1)
        await streaming.clock.advance(1_000)
        assert await streaming.store.get(A) == streaming.service.snapshot(A)
        # Of B no price is known.
        assert streaming.store.touched[0] == [A]
        streaming.service.release(A)
        await streaming.clock.advance(400)
        assert await streaming.store.get(A) is None


async def test_random_coming_and_going_streams_what_is_wanted_and_nothing_else() -> None:
    streaming = Streaming()
    random = Random(7)
    symbols = [Symbol(f"S{number}") for number in range(10)]
    wanted: list[Symbol] = []
    async with streaming.running():
        for _ in range(300):
            if wanted and random.random() < 0.5:
                streaming.service.release(wanted.pop(random.randrange(len(wanted))))
            else:
                wanted.append(random.choice(symbols))
                streaming.service.acquire(wanted[-1])
            await streaming.clock.advance(random.choice([0, 0.1, 3]))
        await streaming.clock.advance(5)
        assert set(streaming.service.get_streaming_status()) == set(wanted)
        assert streaming.service.get_active_subscriptions() == {
            symbol: wanted.count(symbol) for symbol in set(wanted)
        }
        streaming.poller.requests.clear()
        await streaming.clock.advance(2)
        assert {symbol for request in streaming.poller.requests for symbol in request} == set(
            wanted
        )
