import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from random import Random

import pytest
from aiohttp import web

from stockstream.client.live_quotes import LinkChange, LinkState, LiveEvent, LiveQuotes, Refusal
from stockstream.model import StockUpdate, Symbol
from tests.support.ports import free_port
from tests.support.processes import wait_until
from tests.support.quote_server import QuoteServer, quote_server

AAPL, MSFT = Symbol("AAPL"), Symbol("MSFT")


class Watcher:
    """All that a LiveQuotes told, and the waits it made, which pass when the test says so."""

    def __init__(self, url: str, *symbols: Symbol) -> None:
        self.events: list[LiveEvent] = []
        self.waits: list[float] = []
        self.go_on = asyncio.Semaphore(0)
        self.quotes = LiveQuotes(
            url, symbols, self.events.append, random=Random(1), sleep=self._sleep
        )

    async def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        await self.go_on.acquire()

    @property
    def updates(self) -> list[tuple[str, float]]:
        return [(e.symbol, e.price) for e in self.events if isinstance(e, StockUpdate)]

    @property
    def refusals(self) -> list[Refusal]:
        return [event for event in self.events if isinstance(event, Refusal)]

    @property
    def link(self) -> LinkChange:
        return [event for event in self.events if isinstance(event, LinkChange)][-1]

    async def wait_for(self, state: LinkState) -> None:
        await self.until(lambda: self.events and self.link.state is state, state.value)

    async def wait_for_waits(self, count: int) -> None:
        await self.until(lambda: len(self.waits) == count, f"wait {count}")

    async def until(self, condition: Callable[[], object], what: str) -> None:
        await wait_until(condition, what)


@pytest.fixture
async def server() -> AsyncIterator[QuoteServer]:
    async with quote_server() as running:
        yield running


@asynccontextmanager
async def watching(url: str, *symbols: Symbol) -> AsyncIterator[Watcher]:
    watcher = Watcher(url, *symbols)
    running = asyncio.create_task(watcher.quotes.run())
    try:
        yield watcher
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def test_updates_arrive_as_they_are_sent(server: QuoteServer) -> None:
    async with watching(server.url, AAPL, MSFT) as watcher:
        await watcher.wait_for(LinkState.LIVE)
        await server.send("AAPL", 187.2, 1)
        await server.send("MSFT", 402.1, 1)
        await server.send("AAPL", 187.3, 2)
        await watcher.until(lambda: len(watcher.updates) == 3, "updates")

    assert watcher.updates == [("AAPL", 187.2), ("MSFT", 402.1), ("AAPL", 187.3)]
    assert server.subscriptions == [["stock_update_AAPL", "stock_update_MSFT"]]


async def test_an_update_that_is_older_than_the_last_one_is_passed_over(
    server: QuoteServer,
) -> None:
    async with watching(server.url, AAPL) as watcher:
        await watcher.wait_for(LinkState.LIVE)
        await server.send("AAPL", 3.0, 3)
        await server.send("AAPL", 2.0, 2)
        await server.send("AAPL", 3.5, 3)
        await server.send("AAPL", 3.0, 3, snapshot=True)
        await server.send("AAPL", 2.0, 2, snapshot=True)
        await server.send("AAPL", 1.0, 1, epoch="e2")
        await watcher.until(lambda: ("AAPL", 1.0) in watcher.updates, "the new epoch")

    assert [price for _, price in watcher.updates] == [3.0, 3.0, 1.0]


async def test_what_is_refused_is_told_with_its_symbol(server: QuoteServer) -> None:
    server.rejected["stock_update_MSFT"] = "not for you"
    async with watching(server.url, AAPL, MSFT) as watcher:
        await watcher.wait_for(LinkState.LIVE)

    assert watcher.refusals == [Refusal(symbol=MSFT, code="unknown", message="not for you")]


async def test_errors_sent_later_are_told_too(server: QuoteServer) -> None:
    async with watching(server.url, AAPL) as watcher:
        await watcher.wait_for(LinkState.LIVE)
        error = {"type": "subscribe_error", "code": "invalid_symbol", "message": "none such"}
        await server.emit("error", {**error, "symbol": "AAPL"})
        await server.emit("error", {**error, "event": "stock_update_AAPL"})
        await server.emit("error", error)
        await watcher.until(lambda: len(watcher.refusals) == 3, "refusals")

    assert [refusal.symbol for refusal in watcher.refusals] == [AAPL, AAPL, None]


async def test_a_subscription_refused_as_a_whole_is_told(server: QuoteServer) -> None:
    server.answer = {"type": "subscribe_error", "code": "rate_limited", "message": "slow down"}
    async with watching(server.url, AAPL) as watcher:
        await watcher.wait_for(LinkState.LIVE)

    assert watcher.refusals == [Refusal(symbol=None, code="rate_limited", message="slow down")]


@pytest.mark.parametrize(
    "garbage", [None, 5, "text", [], {}, {"payload": {"symbol": "AAPL"}}, {"payload": None}]
)
async def test_what_cannot_be_understood_is_counted_and_harms_nothing(
    server: QuoteServer, garbage: object
) -> None:
    async with watching(server.url, AAPL) as watcher:
        await watcher.wait_for(LinkState.LIVE)
        await server.emit("stock_update_AAPL", garbage)
        await server.emit("error", garbage)
        await server.emit("whatever", garbage)
        await server.send("AAPL", 187.2, 1)
        await watcher.until(lambda: watcher.updates, "the update")

    assert watcher.updates == [("AAPL", 187.2)]
    assert watcher.quotes.not_understood == 2


async def test_after_a_lost_connection_it_subscribes_again(server: QuoteServer) -> None:
    async with watching(server.url, AAPL) as watcher:
        await watcher.wait_for(LinkState.LIVE)
        await server.stop()
        await watcher.wait_for(LinkState.WAITING)
        assert watcher.link.reason
        assert watcher.link.retry_in == watcher.waits[-1]
        await server.start()
        watcher.go_on.release()
        await watcher.wait_for(LinkState.LIVE)
        await server.send("AAPL", 187.2, 1, snapshot=True)
        await watcher.until(lambda: watcher.updates, "the snapshot")

    assert server.subscriptions == [["stock_update_AAPL"]] * 2


async def test_waits_grow_from_a_second_to_half_a_minute_and_start_anew_after_success() -> None:
    server = QuoteServer()
    async with watching(server.url, AAPL) as watcher:
        for attempt in range(1, 11):
            await watcher.wait_for_waits(attempt)
            watcher.go_on.release()
        await watcher.wait_for_waits(11)
        await server.start()
        watcher.go_on.release()
        await watcher.wait_for(LinkState.LIVE)
        await server.stop()
        await watcher.wait_for_waits(12)

    *growing, last = watcher.waits
    assert all(wait <= longest for wait, longest in zip(growing, (1, 2, 4, 8, 16), strict=False))
    assert all(15 <= wait <= 30 for wait in growing[5:])
    assert len(set(growing)) == len(growing)
    assert last <= 1


async def test_the_servers_reason_for_refusing_a_connection_is_told(server: QuoteServer) -> None:
    server.refusing = True
    async with watching(server.url, AAPL) as watcher:
        await watcher.wait_for(LinkState.WAITING)
        assert "full for today" in watcher.link.reason
        server.refusing = False
        watcher.go_on.release()
        await watcher.wait_for(LinkState.LIVE)


@pytest.mark.parametrize(
    ("status", "body"),
    [(404, "not found"), (200, ""), (200, "<html>"), (500, '{"no": "json'), (200, "4garbage")],
)
async def test_whatever_else_listens_there_it_tries_again(status: int, body: str) -> None:
    async def answer(_request: web.Request) -> web.Response:
        content_type = "application/json" if body.startswith("{") else "text/plain"
        return web.Response(status=status, text=body, content_type=content_type)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        async with watching(f"http://127.0.0.1:{port}", AAPL) as watcher:
            for attempt in (1, 2):
                await watcher.wait_for_waits(attempt)
                watcher.go_on.release()
    finally:
        await runner.cleanup()


async def test_a_server_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stockstream.client.live_quotes._CONNECT_TIMEOUT", 0.05)
    # The kernel accepts the connection, and that is all that ever happens.
    with socket.create_server(("127.0.0.1", 0)) as hung:
        async with watching(f"http://127.0.0.1:{hung.getsockname()[1]}", AAPL) as watcher:
            await watcher.wait_for_waits(1)
            assert watcher.link.reason == "the server does not answer"


async def test_a_subscription_that_is_never_answered_ends_the_connection(
    server: QuoteServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stockstream.client.live_quotes._ANSWER_TIMEOUT", 1.0)
    server.silent = True
    async with watching(server.url, AAPL) as watcher:
        await watcher.wait_for_waits(1)
        assert watcher.link.reason == "the server does not answer"
        await wait_until(lambda: not server.sids, "the goodbye")


async def test_cancelling_says_goodbye_and_leaves_no_task_behind(server: QuoteServer) -> None:
    before = asyncio.all_tasks()
    async with watching(server.url, AAPL) as watcher:
        await watcher.wait_for(LinkState.LIVE)
        assert len(server.sids) == 1
    await wait_until(lambda: not server.sids, "the goodbye")

    def left() -> set[asyncio.Task[object]]:
        return {
            task for task in asyncio.all_tasks() - before if "engineio/async_client" in str(task)
        }

    await wait_until(lambda: not left(), "the end of the client's tasks")
