"""Clients that use npm's socket.io-msgpack-parser, beside those that use JSON."""

from collections.abc import AsyncIterator

import pytest
import redis
import socketio

from tests.fanout.browser import Browser, browser
from tests.fanout.market import Exchange, open_exchange, price_of
from tests.support.processes import wait_until

SYMBOLS = ("AAPL", "BRK.B", "^GSPC")


@pytest.fixture
async def exchange() -> AsyncIterator[Exchange]:
    async with open_exchange(SYMBOLS) as running:
        yield running


@pytest.mark.parametrize(
    "transports", [["websocket"], ["polling"], ["polling", "websocket"]], ids="-then-".join
)
async def test_msgpack_client_gets_reply_snapshot_and_updates_in_order(
    exchange: Exchange, transports: list[str]
) -> None:
    async with browser(exchange.url, transports, msgpack=True) as client:
        if len(transports) == 2 and "upgrade" not in client.names():
            await client.hear("upgrade", "websocket")

        answer = await client.subscribe("aapl")

        assert answer == {"events": ["stock_update_AAPL"]}
        for seq in range(2, 12):
            exchange.change("AAPL", "BRK.B")
            await client.until_price("AAPL", price_of(seq))
        assert [update["seq"] for update in client.updates("AAPL")] == list(range(1, 12))
        assert [update.get("snapshot") for update in client.updates("AAPL")] == [True] + [None] * 10
        assert client.updates("BRK.B") == []
        told = [name for name in client.names() if name not in {"connect", "upgrade"}]
        assert told[:4] == ["connected", "subscribed", "stock_update_AAPL", "ack"]


async def test_json_and_msgpack_clients_get_the_same_payloads_in_the_same_order(
    exchange: Exchange,
) -> None:
    async with browser(exchange.url) as plain, browser(exchange.url, msgpack=True) as packed:
        for client in (plain, packed):
            await client.subscribe(*SYMBOLS)
        for _ in range(50):
            exchange.change("AAPL")
            exchange.change(*SYMBOLS, "AAPL")
        for client in (plain, packed):
            for symbol in SYMBOLS:
                await client.until_price(symbol, price_of(exchange.market.seqs[symbol]))

        told = [
            [(line[1], line[2]["payload"]) for line in client.heard if _is_update(line)]
            for client in (plain, packed)
        ]
        assert told[0] == told[1]
        assert len(told[0]) == sum(exchange.market.seqs.values())


async def test_msgpack_client_is_refused_like_any_other(exchange: Exchange) -> None:
    async with browser(exchange.url, msgpack=True) as client:
        answer = await client.ask("subscribe", {"events": "all of them"})

        assert (answer["type"], answer["code"]) == ("subscribe_error", "invalid_payload")
        assert await client.subscribe("AAPL") == {"events": ["stock_update_AAPL"]}


async def test_events_of_other_programs_reach_clients_of_both_forms(redis_url: str) -> None:
    async with (
        open_exchange([], redis_url=redis_url) as exchange,
        browser(exchange.url) as plain,
        browser(exchange.url, msgpack=True) as packed,
    ):
        await _node_listens(redis_url)
        emitter = socketio.AsyncRedisManager(redis_url, write_only=True)
        try:
            await emitter.emit("news", {"headline": "Ünïcode", "numbers": [1, 2.5, None, True]})
            await emitter.emit("notice", "for one", room=_id_of(packed))
            await emitter.emit("end", "for all")
        finally:
            await emitter.redis.aclose()
        for client in (plain, packed):
            await client.hear("event", "end")
            news = next(line for line in client.heard if line[:2] == ["event", "news"])
            assert news[2] == {"headline": "Ünïcode", "numbers": [1, 2.5, None, True]}
        assert "notice" in packed.names()
        assert "notice" not in plain.names()


async def _node_listens(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        await wait_until(
            lambda: dict(client.pubsub_numsub("socketio"))[b"socketio"] == 1, "the node"
        )


def _id_of(client: Browser) -> str:
    client_id: str = next(line[1] for line in client.heard if line[0] == "connect")
    return client_id


def _is_update(line: list[object]) -> bool:
    return line[0] == "event" and str(line[1]).startswith("stock_update_")
