"""The client against a server that does what a test tells it to."""

import asyncio

import pytest

from stockstream.client import StockClient
from stockstream.client.packets import Event
from stockstream.errors import (
    InvalidPayloadError,
    InvalidSymbolError,
    NotConnectedError,
    OtherRefusalError,
    RateLimitedError,
    SlowConsumerError,
    UnavailableError,
    UnknownTimeframeError,
)
from stockstream.model import StockUpdate
from tests.client.clients import Told, client_of, reading
from tests.support.processes import wait_until
from tests.support.quote_server import QuoteServer


def prices(updates: list[StockUpdate]) -> list[tuple[str, float]]:
    return [(update.symbol, update.price) for update in updates]


async def test_updates_arrive_as_they_are_sent(server: QuoteServer) -> None:
    async with client_of(server.url) as client, reading(client.updates("aapl", "MSFT")) as reader:
        await server.wait_for_subscriptions(1)
        await server.send("AAPL", 187.2, 1)
        await server.send("MSFT", 402.1, 1)
        await server.send("AAPL", 187.3, 2)
        await reader.until(lambda got: len(got) == 3, "updates")

    assert prices(reader.got) == [("AAPL", 187.2), ("MSFT", 402.1), ("AAPL", 187.3)]
    assert server.subscriptions == [["stock_update_AAPL", "stock_update_MSFT"]]


async def test_an_update_that_is_not_newer_than_the_last_one_is_passed_over(
    server: QuoteServer,
) -> None:
    async with client_of(server.url) as client, reading(client.updates("AAPL")) as reader:
        await server.wait_for_subscriptions(1)
        await server.send("AAPL", 3.0, 3)
        await server.send("AAPL", 2.0, 2)
        await server.send("AAPL", 3.5, 3, snapshot=True)
        await server.send("AAPL", 5.0, 5)
        await server.send("AAPL", 1.0, 1, epoch="e2")
        await reader.until(lambda got: ("AAPL", 1.0) in prices(got), "the new epoch")

        assert [price for _, price in prices(reader.got)] == [3.0, 5.0, 1.0]
        assert (client.repeated, client.skipped) == (2, 1)


async def test_two_streams_of_a_symbol_are_one_subscription_and_the_second_begins_at_once(
    server: QuoteServer,
) -> None:
    async with client_of(server.url) as client, reading(client.updates("AAPL")) as first:
        await server.wait_for_subscriptions(1)
        await server.send("AAPL", 1.0, 1)
        await first.until(lambda got: got, "the first update")
        async with reading(client.updates("AAPL")) as second:
            await second.until(lambda got: got, "what is known")
            await server.send("AAPL", 2.0, 2)
            await second.until(lambda got: len(got) == 2, "the second update")

        assert [(u.seq, u.snapshot) for u in second.got] == [(1, True), (2, False)]
        assert [(u.seq, u.snapshot) for u in first.got] == [(1, False), (2, False)]
        await server.wait_for_requests("subscribe")


async def test_leaving_the_loop_ends_the_subscription(server: QuoteServer) -> None:
    async with client_of(server.url) as client:

        async def first_price() -> float:
            async for update in client.updates("AAPL"):
                return update.price
            raise AssertionError

        reading_one = asyncio.create_task(first_price())
        await server.wait_for_subscriptions(1)
        await server.send("AAPL", 187.2, 1)

        assert await reading_one == 187.2
        await server.wait_for_requests("subscribe", "unsubscribe")


async def test_a_stream_that_was_left_begins_anew_with_a_fresh_subscription(
    server: QuoteServer,
) -> None:
    async with client_of(server.url) as client:
        stream = client.updates("AAPL")
        async with reading(stream) as reader:
            await server.wait_for_subscriptions(1)
            await server.send("AAPL", 1.0, 1)
            await reader.until(lambda got: got, "the update")
        await server.wait_for_requests("subscribe", "unsubscribe")
        async with reading(stream) as reader:
            await server.wait_for_subscriptions(2)
            await server.send("AAPL", 1.0, 1, snapshot=True)
            await reader.until(lambda got: got, "the snapshot")

    assert "since" not in server.requests[-1][1]


async def test_a_slow_program_gets_the_latest_of_each_symbol(server: QuoteServer) -> None:
    async with (
        client_of(server.url, queue_size=4) as client,
        reading(client.updates("AAPL", "MSFT")) as reader,
    ):
        reader.taking.clear()
        await server.wait_for_subscriptions(1)
        for seq in range(1, 21):
            await server.send("AAPL", float(seq), seq)
        await server.send("MSFT", 1.0, 1)
        await wait_until(lambda: reader.stream.conflated >= 15, "conflation")
        await wait_until(lambda: client.skipped == 0 and reader.stream.pending == 2, "both")
        reader.taking.set()
        await reader.until(lambda got: ("MSFT", 1.0) in prices(got), "the last one")

    assert prices(reader.got)[-2:] == [("AAPL", 20.0), ("MSFT", 1.0)]


async def test_a_slow_program_is_told_where_it_wants_to_be(server: QuoteServer) -> None:
    async with (
        client_of(server.url, queue_size=4) as client,
        reading(client.updates("AAPL", overflow="raise")) as reader,
    ):
        reader.taking.clear()
        await server.wait_for_subscriptions(1)
        for seq in range(1, 21):
            await server.send("AAPL", float(seq), seq)
        await wait_until(lambda: reader.stream.pending == 4, "a full queue")
        await asyncio.sleep(0)
        reader.taking.set()
        await wait_until(lambda: reader.error, "the error")

    assert isinstance(reader.error, SlowConsumerError)
    assert [update.seq for update in reader.got] == [1, 2, 3, 4, 5]


async def test_a_symbol_that_is_refused_is_told_and_leaves_the_others_alone(
    server: QuoteServer,
) -> None:
    server.rejected["stock_update_MSFT"] = "not for you"
    async with client_of(server.url) as client:
        told = Told(client)
        async with reading(client.updates("AAPL", "MSFT")) as reader:
            await server.wait_for_subscriptions(1)
            await server.send("AAPL", 187.2, 1)
            await reader.until(lambda got: got, "the update")

    assert [(e.symbol, e.message) for e in told.errors] == [("MSFT", "not for you")]
    assert list(reader.stream.refused) == ["stock_update_MSFT"]


async def test_a_stream_of_which_everything_is_refused_raises_it(server: QuoteServer) -> None:
    server.rejected["stock_update_MSFT"] = "not for you"
    async with client_of(server.url) as client:
        with pytest.raises(OtherRefusalError, match="not for you"):
            await anext(aiter(client.updates("MSFT")))


async def test_a_subscription_refused_for_now_is_asked_for_again(server: QuoteServer) -> None:
    server.answer = {"type": "subscribe_error", "code": "rate_limited", "message": "slow down"}
    async with (
        client_of(server.url, reconnect_interval=0.01) as client,
        reading(client.updates("AAPL")) as reader,
    ):
        await server.wait_for_subscriptions(2)
        server.answer = None
        await server.wait_for_subscriptions(3)
        await server.send("AAPL", 187.2, 1)
        await reader.until(lambda got: got, "the update")


@pytest.mark.parametrize(
    "garbage", [None, 5, "text", [], {}, {"payload": {"symbol": "AAPL"}}, {"payload": None}]
)
async def test_what_cannot_be_understood_is_counted_and_harms_nothing(
    server: QuoteServer, garbage: object
) -> None:
    async with client_of(server.url) as client, reading(client.updates("AAPL")) as reader:
        await server.wait_for_subscriptions(1)
        await server.emit("stock_update_AAPL", garbage)
        await server.emit("error", garbage)
        await server.emit("whatever", garbage)
        await server.send("AAPL", 187.2, 1)
        await reader.until(lambda got: got, "the update")

        assert client.not_understood == 2
        assert client.connections == 1


async def test_wrong_names_are_refused_at_once() -> None:
    client = StockClient()
    with pytest.raises(InvalidSymbolError):
        client.updates("AAPL", "no symbol")
    with pytest.raises(UnknownTimeframeError):
        client.bars("AAPL", timeframe="2m")
    with pytest.raises(InvalidPayloadError, match="name at least one"):
        client.updates()
    with pytest.raises(ValueError, match="drop"):
        client.updates("AAPL", overflow="drop")
    with pytest.raises(TypeError, match="ordinary function"):
        client.on("error", asyncio.sleep)


async def test_leaving_says_goodbye_ends_streams_and_leaves_no_task(server: QuoteServer) -> None:
    before = asyncio.all_tasks()
    async with client_of(server.url) as client:
        ended = asyncio.create_task(anext(aiter(client.updates("AAPL")), None))
        await server.wait_for_subscriptions(1)
        waiting = asyncio.create_task(client.get_stock_data("AAPL"))
        await asyncio.sleep(0)
    mine = {ended, waiting}

    assert await ended is None
    with pytest.raises(NotConnectedError, match="closed"):
        await waiting
    await wait_until(lambda: not server.sids, "the goodbye")
    await wait_until(
        lambda: (
            not any("stockstream/client" in str(t) for t in asyncio.all_tasks() - before - mine)
        ),
        "the end of the client's tasks",
    )


async def test_a_request_that_gets_no_answer_in_time_is_told(server: QuoteServer) -> None:
    # That server knows nothing of such requests.
    async with client_of(server.url) as client:
        with pytest.raises(UnavailableError, match=r"no answer within 0\.05 s"):
            await client.get_stock_data("AAPL", within=0.05)


async def test_requests_that_wait_are_bounded() -> None:
    async with client_of(QuoteServer().url) as client:
        asked = [asyncio.create_task(client.get_stock_data("AAPL")) for _ in range(101)]
        await wait_until(lambda: any(task.done() for task in asked), "a refusal")
        refused = [task for task in asked if task.done()]
        assert len(refused) == 1
        with pytest.raises(RateLimitedError):
            await refused[0]
    await asyncio.gather(*asked, return_exceptions=True)


async def test_handlers_hear_everything_and_one_that_fails_disturbs_nobody(
    server: QuoteServer, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[Event] = []
    whatever: list[object] = []

    def fail(_: object) -> None:
        raise ValueError("a mistake")

    async with client_of(server.url) as client:
        client.on("message", fail)
        client.on("message", heard.append)
        client.on("whatever", whatever.append)
        client.subscribe("whatever")
        await server.wait_for_subscriptions(1)
        await server.emit("whatever", {"type": "whatever", "payload": {"a": 1}, "timestamp": 0})
        await wait_until(lambda: whatever, "the event")
        client.off("message", heard.append)
        client.unsubscribe("whatever")
        await server.wait_for_requests("subscribe", "unsubscribe")

    assert whatever == [{"a": 1}]
    assert [event.name for event in heard] == ["whatever"]
    assert "a mistake" in caplog.text
