"""What `get_stock_data` is answered, and how much of it may be asked."""

from collections.abc import Sequence

from stockstream.gateway.requests import MAX_REQUESTS
from stockstream.model import Bar, Symbol, Timeframe
from stockstream.provider_ports import BarSource
from tests.gateway.nodes import Client, running, until
from tests.support.providers import FakePoller, FakeProvider, down, unknown

AAPL, UPDATE = Symbol("AAPL"), "stock_update_AAPL"
BAR = Bar(timestamp=1_709_596_800_000, open=1.0, high=3.0, low=0.5, close=2.0, volume=7.0)


class History(BarSource):
    """One bar of everything, or an error."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    async def fetch_bars(
        self, symbol: Symbol, timeframe: Timeframe, *, end_ms: int, limit: int
    ) -> Sequence[Bar]:
        if self.error is not None:
            raise self.error
        return [BAR]


async def test_stock_data_holds_bars_and_quote_and_subscribes() -> None:
    poller = FakePoller()
    poller.prices = {AAPL: 10.0}
    provider = FakeProvider(poller=poller, bars=History())
    async with running(provider) as node, node.client() as client:
        answer = await client.ask("get_stock_data", {"symbol": "aapl", "limit": 5})
        assert client.payloads("stock_data") == [answer]
        assert (answer["symbol"], answer["timeframe"]) == ("AAPL", "1d")
        inner = answer["data"]
        assert inner["data"][0] == {
            "timestamp": BAR.timestamp,
            "open": 1.0,
            "high": 3.0,
            "low": 0.5,
            "close": 2.0,
            "volume": 7.0,
        }
        assert inner["quote"]["price"] == 10.0
        assert inner["lastUpdated"] == answer["timestamp"]
        poller.prices[AAPL] = 11.0
        while (await client.event(UPDATE))["payload"]["price"] != 11.0:
            pass
        assert node.node.gateway.get_subscription_stats() == {UPDATE: 1}


async def test_stock_data_of_an_unknown_symbol_is_refused_and_leaves_nothing() -> None:
    poller = FakePoller()
    poller.errors = {AAPL: unknown(AAPL)}
    provider = FakeProvider(poller=poller, bars=History(unknown(AAPL)))
    async with running(provider, subscription_timeout=0) as node, node.client() as client:
        answer = await client.ask("get_stock_data", {"symbol": "AAPL"})
        assert answer["code"] == "invalid_symbol"
        assert (answer["type"], answer["symbol"]) == ("stock_data_error", "AAPL")
        await until(lambda: node.node.streaming.get_streaming_status() == {})
        assert node.node.gateway.get_subscription_stats() == {}


async def test_stock_data_that_cannot_be_had_now_is_our_error() -> None:
    poller = FakePoller()
    poller.failure = down()
    provider = FakeProvider(poller=poller, bars=History(down()))
    async with running(provider) as node, node.client() as client:
        answer = await client.ask("get_stock_data", {"symbol": "AAPL"})
        assert (answer["code"], answer["symbol"]) == ("unavailable", "AAPL")
        gateway = node.node.gateway
        assert gateway.errors - node.node.streaming.producer.errors == 1


async def ask_much(client: Client, requests: int) -> list[str]:
    """Ask so many times at once; return the codes of those that are too many."""
    for _ in range(requests):
        await client.send("get_stock_data", {"symbol": "IBM"})
    return [(await client.event("error"))["code"] for _ in range(requests - MAX_REQUESTS)]


async def test_a_client_that_asks_too_much_at_once_is_refused_and_it_is_not_our_error() -> None:
    # IBM has no quote: each request waits for one.
    async with running() as node, node.client() as client, node.client() as other:
        assert await ask_much(client, 20) == ["rate_limited"] * 4
        assert node.node.gateway.refused == {"rate_limited": 4}
        assert node.node.gateway.errors == 0
        # Others are not refused.
        assert "code" not in await other.ask("get_stock_data", {"symbol": "AAPL"})
        node.poller.prices[Symbol("IBM")] = 30.0
        for _ in range(MAX_REQUESTS):
            await client.event("stock_data")
        # Nor is it, once it has its answers.
        assert "code" not in await client.ask("get_stock_data", {"symbol": "AAPL"})
