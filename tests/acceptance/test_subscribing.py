"""The way of a client: welcome, subscription, snapshot, updates, and the end of it."""

import time
from typing import Any

from tests.acceptance.crowd import Crowd, JsClient, Way, assert_complete
from tests.acceptance.http import conflated
from tests.support.processes import Server

APPLE = "stock_update_AAPL"
REQUIRED = {"symbol", "price", "change", "changePercent", "volume", "timestamp", "seq", "epoch"}
OPTIONAL = {"offset", "bid", "ask", "dayHigh", "dayLow", "open", "previousClose", "snapshot"}


def index(client: JsClient, kind: str) -> int:
    return client.kinds().index(kind)


def assert_is_envelope(envelope: dict[str, Any], event: str) -> None:
    assert envelope.keys() == {"type", "payload", "timestamp"}
    assert envelope["type"] == event
    assert_is_recent(envelope["timestamp"])
    payload = envelope["payload"]
    assert payload.keys() >= REQUIRED
    assert payload.keys() <= REQUIRED | OPTIONAL
    assert None not in payload.values()
    assert_is_recent(payload["timestamp"])


def assert_is_recent(timestamp: object) -> None:
    assert type(timestamp) is int
    assert abs(timestamp - time.time() * 1000) < 60_000


async def test_welcome_is_the_first_event_and_tells_what_there_is(
    server: Server, crowd: Crowd, way: Way
) -> None:
    client = await crowd.connect(server.url, way)

    assert [kind for kind in client.kinds() if kind != "upgrade"] == ["connect", "connected"]
    client_id, _ = await client.hear("connect")
    ((welcome, *_),) = client.events("connected")
    assert welcome.keys() == {"clientId", "serverTime", "availableEvents"}
    assert welcome["clientId"] == client_id
    assert_is_recent(welcome["serverTime"])
    assert "stock_update_<SYMBOL>" in welcome["availableEvents"]
    assert {"performance_metrics", "performance_alert"} <= set(welcome["availableEvents"])


async def test_polling_client_moves_on_to_websocket_and_misses_nothing(
    server: Server, crowd: Crowd
) -> None:
    for version in (4, 3):
        client = await crowd.begin(
            server.url, Way(version=version, transports=("polling", "websocket"))
        )
        await client.hear("connect")
        await client.emit("subscribe", {"events": [APPLE]})
        assert await client.hear("upgrade") == ("websocket",)

        updates = await client.updates_of("AAPL", len(client.updates("AAPL")) + 20)
        assert_complete(updates, await conflated(server.url))


async def test_subscription_gives_reply_snapshot_and_every_update_once_in_order(
    server: Server, crowd: Crowd, way: Way
) -> None:
    client = await crowd.connect(server.url, way)

    acknowledged = await client.subscribe("stock_update_aapl", "stock_update_brk.b")
    updates = await client.updates_of("AAPL", 20)

    assert acknowledged == {"events": [APPLE, "stock_update_BRK.B"]}
    assert client.events("subscribed") == [(acknowledged,)]
    assert index(client, "subscribed") < index(client, APPLE)
    assert index(client, "subscribed") < index(client, "stock_update_BRK.B")
    assert [update.get("snapshot") for update in updates] == [True] + [None] * (len(updates) - 1)
    assert_complete(updates, await conflated(server.url))
    for envelope, *_ in client.events(APPLE):
        assert_is_envelope(envelope, APPLE)


async def test_acknowledgement_is_not_needed(server: Server, crowd: Crowd) -> None:
    client = await crowd.connect(server.url)

    await client.emit("subscribe", {"events": ["stock_update_msft"]})

    assert await client.event("subscribed") == {"events": ["stock_update_MSFT"]}
    assert (await client.updates_of("MSFT", 1))[0]["snapshot"] is True


async def test_event_named_twice_is_subscribed_to_once(server: Server, crowd: Crowd) -> None:
    client = await crowd.connect(server.url)

    assert await client.subscribe(APPLE, "stock_update_aapl") == {"events": [APPLE]}

    updates = await client.updates_of("AAPL", 10)
    assert_complete(updates)
    assert sum("snapshot" in update for update in updates) == 1


async def test_refused_events_are_named_beside_those_that_were_taken(
    server: Server, crowd: Crowd
) -> None:
    client = await crowd.connect(server.url)

    reply = await client.subscribe("nonsense", APPLE, "stock_update_A B", "bar_update_AAPL_2m")

    assert reply["events"] == [APPLE]
    assert [(each["event"], each["code"]) for each in reply["rejected"]] == [
        ("nonsense", "unknown_event"),
        ("stock_update_A B", "invalid_symbol"),
        ("bar_update_AAPL_2m", "unknown_timeframe"),
    ]
    assert all(each["message"] for each in reply["rejected"])
    assert await client.event("subscribed") == reply
    await client.updates_of("AAPL", 2)


async def test_symbols_of_real_venues_stream(server: Server, crowd: Crowd) -> None:
    symbols = ["AAPL", "BRK.B", "005930.KS", "BTC-USD", "^GSPC", "EURUSD=X", "600519.SS"]
    client = await crowd.connect(server.url)

    reply = await client.subscribe(*(f"stock_update_{symbol.lower()}" for symbol in symbols))

    assert reply == {"events": [f"stock_update_{symbol}" for symbol in symbols]}
    for symbol in symbols:
        assert_complete(await client.updates_of(symbol, 3))


async def test_nothing_of_a_symbol_comes_after_unsubscribed(
    server: Server, crowd: Crowd, way: Way
) -> None:
    client = await crowd.connect(server.url, way)
    await client.subscribe(APPLE, "stock_update_MSFT")
    await client.updates_of("AAPL", 3)

    acknowledged = await client.ask("unsubscribe", {"events": ["stock_update_aapl"]})

    assert acknowledged == {"events": [APPLE]}
    assert client.events("unsubscribed") == [(acknowledged,)]
    # Both symbols are asked for in one request: had there been more of the one, it had come too.
    await client.updates_of("MSFT", len(client.updates("MSFT")) + 10)
    assert APPLE not in client.kinds()[index(client, "unsubscribed") :]


async def test_resubscribing_gives_a_snapshot_again(server: Server, crowd: Crowd) -> None:
    client = await crowd.connect(server.url)
    await client.subscribe(APPLE)
    await client.updates_of("AAPL", 3)
    await client.ask("unsubscribe", {"events": [APPLE]})
    before = client.updates("AAPL")

    await client.subscribe(APPLE)

    after = (await client.updates_of("AAPL", len(before) + 5))[len(before) :]
    assert [update.get("snapshot") for update in after] == [True] + [None] * (len(after) - 1)
    assert after[0]["epoch"] == before[-1]["epoch"]
    assert after[0]["seq"] >= before[-1]["seq"]
    assert_complete(after)


async def test_only_the_newcomer_gets_a_snapshot(server: Server, crowd: Crowd) -> None:
    old = await crowd.connect(server.url)
    await old.subscribe(APPLE)
    await old.updates_of("AAPL", 3)

    new = await crowd.connect(server.url)
    await new.subscribe(APPLE)
    (snapshot, *rest) = await new.updates_of("AAPL", 5)

    assert snapshot["snapshot"] is True
    last = rest[-1]["seq"]
    await old.until(lambda: old.updates("AAPL")[-1]["seq"] >= last, "the same updates")
    assert_complete(old.updates("AAPL"))
    assert sum("snapshot" in update for update in old.updates("AAPL")) == 1
    assert_complete([snapshot, *rest])


async def test_unchanged_price_is_never_emitted(crowd: Crowd, lazy_server: Server) -> None:
    client = await crowd.connect(lazy_server.url)
    await client.subscribe(APPLE)

    # A third of the quotes is new: most of them are withheld, and the numbers show no gap.
    assert_complete(await client.updates_of("AAPL", 20))
