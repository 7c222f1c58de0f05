"""Prices and bars over HTTP, from a running node."""

import asyncio
import time
from unittest.mock import AsyncMock

import aiohttp
import pytest
from yarl import URL

from stockstream.errors import PermanentProviderError, StoreUnavailableError
from stockstream.model import Symbol
from tests.gateway.nodes import Running, running, until
from tests.support.providers import FakePoller, FakeProvider

AAPL = Symbol("AAPL")


async def test_quotes_of_symbols_that_nobody_streams_are_asked_for() -> None:
    async with running() as node:
        status, quotes = await node.get("/api/quotes?symbols=aapl,MSFT,AAPL")
        assert status == 200
        assert [(each["symbol"], each["price"]) for each in quotes] == [("AAPL", 10), ("MSFT", 20)]
        # Wanted for a moment only.
        assert node.node.streaming.get_active_subscriptions() == {}


async def test_the_quote_of_a_symbol_that_streams_is_the_one_that_clients_have() -> None:
    async with running() as node, node.client() as client:
        await client.ask("subscribe", {"events": ["stock_update_AAPL"]})
        told = await client.event("stock_update_AAPL")
        _, quotes = await node.get("/api/quotes?symbols=AAPL")
        assert quotes == [{k: v for k, v in told["payload"].items() if k != "snapshot"}]


async def test_a_quote_that_streamed_a_while_ago_comes_from_the_cache() -> None:
    async with running(subscription_timeout=0) as node:
        await node.get("/api/quotes?symbols=AAPL")
        await until(lambda: node.node.streaming.get_streaming_status() == {})
        asked = node.node.lookups.wanted
        status, quotes = await node.get("/api/quotes?symbols=AAPL")
        assert (status, quotes[0]["price"]) == (200, 10)
        assert node.node.lookups.wanted == asked


async def test_a_symbol_without_a_price_is_left_out_of_several(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("stockstream.services.lookups._TIMEOUT", 0.05)
    async with running() as node:
        status, quotes = await node.get("/api/quotes?symbols=IBM,AAPL")
        assert status == 200
        assert "IBM" not in [each["symbol"] for each in quotes]


async def test_the_history_begins_with_the_newest_update() -> None:
    async with running() as node, node.client() as client:
        await client.ask("subscribe", {"events": ["stock_update_AAPL"]})
        await client.event("stock_update_AAPL")
        for price in (11.0, 12.0):
            node.poller.prices[AAPL] = price
            await client.event("stock_update_AAPL")
        assert await node.node.writer.flush(5)
        status, updates = await node.get("/api/history/AAPL?limit=2")
        assert status == 200
        assert [each["price"] for each in updates] == [12, 11]


async def test_the_history_of_a_symbol_that_nobody_streamed_begins_now() -> None:
    async with running() as node:
        status, updates = await node.get("/api/history/aapl")
        assert (status, [each["price"] for each in updates]) == (200, [10])


async def test_bars_are_had_page_by_page() -> None:
    async with running() as node, node.client() as client:
        await client.ask("subscribe", {"events": ["stock_update_AAPL"]})
        await client.event("stock_update_AAPL")
        start = time.time_ns() // 1_000_000 // 60_000 * 60_000 + 600_000
        for minute in range(5):
            node.node.bars.on_quote(AAPL, 10.0 + minute, start + minute * 60_000, 0.0)
        path = f"/api/bars/AAPL?timeframe=1m&from={start}&to={start + 300_000}&limit=2"
        pages: list[list[int]] = []
        while path:
            async with node.http.get(node.url + path) as response:
                assert response.status == 200
                pages.append([(b["timestamp"] - start) // 60_000 for b in await response.json()])
                path = _next(response)
        assert pages == [[0, 1], [2, 3], [4]]


def _next(response: aiohttp.ClientResponse) -> str:
    following = response.links.get("next")
    return str(URL(following["url"]).relative()) if following else ""


async def test_an_answer_that_the_client_has_is_not_sent_again() -> None:
    async with running() as node:
        url = node.url + "/api/quotes?symbols=AAPL"
        async with node.http.get(url) as first:
            tag = first.headers["ETag"]
            assert first.headers["Cache-Control"] == "no-cache"
        async with node.http.get(url, headers={"If-None-Match": f'"other", {tag}'}) as again:
            assert (again.status, await again.read(), again.headers["ETag"]) == (304, b"", tag)
        async with node.http.head(url) as head:
            assert (head.status, await head.read(), head.headers["ETag"]) == (200, b"", tag)
            assert int(head.headers["Content-Length"]) > 0
        node.poller.prices[AAPL] = 11.0
        async with node.client() as client:
            await client.ask("subscribe", {"events": ["stock_update_AAPL"]})
            await until(lambda: (now := node.node.streaming.snapshot(AAPL)) and now.price == 11)  # type: ignore[arg-type,return-value]
            async with node.http.get(url, headers={"If-None-Match": tag}) as changed:
                assert changed.status == 200


REFUSED = [
    ("/api/quotes", "invalid_payload", "`symbols`"),
    ("/api/quotes?symbols=", "invalid_symbol", "''"),
    ("/api/quotes?symbols=AAPL,", "invalid_symbol", "''"),
    ("/api/quotes?symbols=A'%20OR%201=1--", "invalid_symbol", "OR 1=1"),
    ("/api/quotes?symbols=" + ",".join(["A"] * 201), "invalid_payload", "symbols"),
    ("/api/quotes?symbols=AAPL&symbols=MSFT", "invalid_payload", "symbols"),
    ("/api/quotes?symbols=AAPL&symbol=MSFT", "invalid_payload", "'symbol'"),
    ("/api/history/AAPL?limit=0", "invalid_payload", "limit"),
    ("/api/history/AAPL?limit=1001", "invalid_payload", "limit"),
    ("/api/history/AAPL?limit=ten", "invalid_payload", "limit"),
    ("/api/history/AAPL?symbol=MSFT", "invalid_payload", "'symbol'"),
    ("/api/history/a%2Fb", "invalid_symbol", "a/b"),
    ("/api/history/%00", "invalid_symbol", "x00"),
    ("/api/bars/AAPL;DROP%20TABLE%20bars", "invalid_symbol", "DROP TABLE"),
    ("/api/bars/AAPL?timeframe=2m", "unknown_timeframe", "'2m'"),
    ("/api/bars/AAPL?from=2&to=1", "invalid_payload", "from"),
    ("/api/bars/AAPL?from=-1", "invalid_payload", "from"),
    ("/api/bars/AAPL?from=yesterday", "invalid_payload", "from"),
    ("/api/bars/AAPL?to=999999999999999999999", "invalid_payload", "to"),
    ("/api/bars/AAPL?limit=1000000", "invalid_payload", "limit"),
    ("/api/bars/AAPL?limit=null", "invalid_payload", "limit"),
    ("/healthz?verbose=1", "invalid_payload", "'verbose'"),
]


async def test_what_is_wrong_is_refused_with_the_name_of_the_field(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with running() as node:
        for path, code, named in REFUSED:
            status, error = await node.get(path)
            assert (status, error["code"]) == (400, code), path
            assert named in error["message"], path
            kind = path.removeprefix("/api").split("/")[1].split("?")[0]
            assert error["type"] == f"{kind}_error"
        assert node.node.web.router.refused.total() == len(REFUSED)
    assert "Traceback" not in caplog.text


async def test_a_symbol_that_the_provider_does_not_know_is_not_found() -> None:
    poller = FakePoller()
    nope = Symbol("NOPE")
    poller.errors = {nope: PermanentProviderError("fake", "unknown", symbols=[nope])}
    async with running(FakeProvider(poller=poller)) as node:
        status, error = await node.get("/api/quotes?symbols=NOPE")
        assert (status, error["code"]) == (404, "invalid_symbol")
        assert "NOPE" in error["message"]


async def test_an_address_that_asks_too_often_is_told_when_to_come_back() -> None:
    async with running(max_requests_per_second=0.25) as node:
        assert (await node.get("/api/stats"))[0] == 200
        async with node.http.get(node.url + "/api/stats") as response:
            assert response.status == 429
            assert int(response.headers["Retry-After"]) >= 1
            assert (await response.json())["code"] == "rate_limited"
        # Whoever watches over the node is not among them.
        assert (await node.get("/healthz"))[0] == 200


async def test_an_address_has_only_so_many_symbols_looked_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("stockstream.gateway.rest.MAX_SYMBOLS", 2)
    async with running() as node:
        assert (await node.get("/api/quotes?symbols=AAPL,MSFT"))[0] == 200
        status, error = await node.get("/api/quotes?symbols=A,B,C")
        assert (status, error["code"]) == (429, "rate_limited")
        # What is known is free.
        assert (await node.get("/api/quotes?symbols=AAPL,MSFT"))[0] == 200


async def test_a_store_that_is_gone_is_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = AsyncMock(side_effect=StoreUnavailableError("memory", "gone"))
    async with running() as node:
        monkeypatch.setattr(node.node.store, "newest", gone)
        monkeypatch.setattr(node.node.store, "get", gone)
        async with node.http.get(node.url + "/api/history/AAPL") as response:
            assert response.status == 503
            assert (await response.json())["code"] == "unavailable"
            assert int(response.headers["Retry-After"]) >= 1
        status, quotes = await node.get("/api/quotes?symbols=AAPL")
        assert (status, quotes[0]["price"]) == (200, 10)


PAGE = "https://charts.example.com"


async def _cors(node: Running, origin: str, method: str = "GET") -> tuple[int, str | None]:
    headers = {"Origin": origin}
    if method == "OPTIONS":
        headers["Access-Control-Request-Method"] = "GET"
    url = node.url + "/api/quotes?symbols=AAPL"
    async with node.http.request(method, url, headers=headers) as response:
        return response.status, response.headers.get("Access-Control-Allow-Origin")


async def test_pages_may_ask_as_the_setting_says() -> None:
    async with running() as node:
        assert (await _cors(node, node.url))[0] == 200
        assert await _cors(node, PAGE) == (403, None)
        assert node.node.web.cors.refused == 1
    async with running(cors_origins=(PAGE,)) as node:
        assert await _cors(node, PAGE) == (200, PAGE)
        assert await _cors(node, PAGE, "OPTIONS") == (204, PAGE)
        assert await _cors(node, "https://evil.example.com") == (403, None)
    async with running(cors_origins=("*",)) as node:
        assert await _cors(node, PAGE) == (200, "*")


async def test_many_who_ask_at_once_share_what_is_looked_up() -> None:
    async with running() as node:
        answers = await asyncio.gather(*(node.get("/api/quotes?symbols=AAPL") for _ in range(20)))
        assert {status for status, _ in answers} == {200}
        assert all(quotes[0]["price"] == 10 for _, quotes in answers)
        assert node.node.lookups._waiting == 0
