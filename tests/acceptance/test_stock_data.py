"""Bars and the latest quote on demand, with the subscription that comes with them."""

from itertools import pairwise
from typing import Any

import pytest

from stockstream.model import Timeframe
from tests.acceptance.crowd import Crowd, JsClient, Way, assert_complete
from tests.acceptance.http import conflated
from tests.support.processes import Server


def assert_are_bars(bars: list[dict[str, Any]], timeframe: Timeframe) -> None:
    for bar in bars:
        assert bar.keys() == {"timestamp", "open", "high", "low", "close", "volume"}
        assert type(bar["timestamp"]) is int
        assert timeframe.floor(bar["timestamp"]) == bar["timestamp"]
        assert 0 < bar["low"] <= min(bar["open"], bar["close"])
        assert bar["high"] >= max(bar["open"], bar["close"])
        assert bar["volume"] >= 0
    assert all(a["timestamp"] < b["timestamp"] for a, b in pairwise(bars))


async def refusal(client: JsClient, payload: object) -> dict[str, Any]:
    """Have a request refused; the acknowledgement gets the same object as the event."""
    before = len(client.heard)
    acknowledged = await client.ask("get_stock_data", payload)
    error: dict[str, Any] = await client.event("error", before)
    assert acknowledged == error
    assert error.keys() <= {"type", "code", "message", "symbol", "event"}
    assert error["type"] == "stock_data_error"
    assert error["message"]
    assert "stock_data" not in client.kinds()[before:]
    return error


async def test_stock_data_gives_bars_and_quote_then_the_subscription(
    server: Server, crowd: Crowd, way: Way
) -> None:
    client = await crowd.connect(server.url, way)

    acknowledged = await client.ask("get_stock_data", {"symbol": "aapl"})
    updates = await client.updates_of("AAPL", 10)

    assert client.events("stock_data") == [(acknowledged,)]
    assert client.events("subscribed") == [({"events": ["stock_update_AAPL"]},)]
    kinds = client.kinds()
    assert kinds.index("stock_data") < kinds.index("subscribed") < kinds.index("stock_update_AAPL")
    assert updates[0]["snapshot"] is True
    assert_complete(updates, await conflated(server.url))
    assert acknowledged.keys() == {"symbol", "timeframe", "data", "timestamp"}
    assert (acknowledged["symbol"], acknowledged["timeframe"]) == ("AAPL", "1d")
    data = acknowledged["data"]
    assert data.keys() == {"symbol", "timeframe", "data", "quote", "lastUpdated"}
    assert (data["symbol"], data["timeframe"]) == ("AAPL", "1d")
    assert type(acknowledged["timestamp"]) is type(data["lastUpdated"]) is int
    assert len(data["data"]) == 100
    assert_are_bars(data["data"], Timeframe("1d"))
    assert data["quote"]["symbol"] == "AAPL"
    assert data["quote"]["seq"] <= updates[0]["seq"]
    assert "snapshot" not in data["quote"]
    assert None not in data["quote"].values()


async def test_every_timeframe_has_bars_up_to_now(server: Server, crowd: Crowd) -> None:
    client = await crowd.connect(server.url)

    for timeframe in ("1m", "5m", "15m", "30m", "1h", "4h", "1d", "1w"):
        reply = await client.ask(
            "get_stock_data", {"symbol": "MSFT", "timeframe": timeframe, "limit": 7}
        )
        assert reply["timeframe"] == reply["data"]["timeframe"] == timeframe
        bars = reply["data"]["data"]
        assert len(bars) == 7
        assert_are_bars(bars, Timeframe(timeframe))
        last = bars[-1]["timestamp"]
        assert last <= reply["timestamp"] <= last + 2 * Timeframe(timeframe).duration_ms


@pytest.mark.parametrize("limit", [1, 2, 1000])
async def test_limit_is_the_number_of_bars(server: Server, crowd: Crowd, limit: int) -> None:
    client = await crowd.connect(server.url)

    reply = await client.ask(
        "get_stock_data", {"symbol": "AAPL", "timeframe": "1m", "limit": limit}
    )

    assert len(reply["data"]["data"]) == limit


async def test_what_can_not_be_had_is_refused_with_a_reason(server: Server, crowd: Crowd) -> None:
    client = await crowd.connect(server.url)
    refused = [
        ({"symbol": "aapl", "timeframe": "2m"}, "unknown_timeframe", "AAPL"),
        ({"symbol": "AAPL", "limit": 0}, "invalid_payload", None),
        ({"symbol": "AAPL", "limit": 1001}, "invalid_payload", None),
        ({"symbol": "AAPL", "limit": "many"}, "invalid_payload", None),
        ({"symbol": "not a symbol"}, "invalid_symbol", "not a symbol"),
        ({"symbol": ""}, "invalid_symbol", ""),
        ({"timeframe": "1d"}, "invalid_payload", None),
        ("AAPL", "invalid_payload", None),
        (None, "invalid_payload", None),
    ]

    for payload, code, symbol in refused:
        error = await refusal(client, payload)
        assert error["code"] == code, payload
        if symbol is not None:
            assert error.get("symbol") == symbol, payload
    assert await client.ask("get_stock_data", {"symbol": "AAPL"})


async def test_refused_request_subscribes_to_nothing(server: Server, crowd: Crowd) -> None:
    client = await crowd.connect(server.url)

    await refusal(client, {"symbol": "AAPL", "timeframe": "2m"})
    await client.subscribe("stock_update_MSFT")
    await client.updates_of("MSFT", 10)

    assert client.updates("AAPL") == []


async def test_subscriber_that_asks_for_data_goes_on_without_a_gap(
    server: Server, crowd: Crowd
) -> None:
    client = await crowd.connect(server.url)
    await client.subscribe("stock_update_AAPL")
    await client.updates_of("AAPL", 3)

    reply = await client.ask("get_stock_data", {"symbol": "AAPL"})

    assert reply["data"]["quote"]["seq"] >= 3
    before = len(client.updates("AAPL"))
    updates = await client.updates_of("AAPL", before + 10)
    # A second snapshot may repeat the state; the numbers never go back and never jump.
    numbers = [update["seq"] for update in updates if "snapshot" not in update]
    assert sorted(set(numbers)) == numbers
    everything = sorted({update["seq"] for update in updates})
    assert everything == list(range(everything[0], everything[-1] + 1))
