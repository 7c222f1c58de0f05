"""With Redis: what other programs read there, and what they can send through it."""

import asyncio
import json
from collections.abc import Sequence
from itertools import groupby, pairwise
from typing import Any

import pytest
import redis
import socketio

from tests.acceptance.conftest import shown_server
from tests.acceptance.crowd import Crowd, JsClient, assert_complete
from tests.acceptance.http import get, metrics, stats_when
from tests.support.processes import Server, wait_until
from tests.support.redis_server import RedisServer, running_redis

APPLE = "stock_update_AAPL"


def stored(server: RedisServer) -> list[tuple[dict[str, Any], float]]:
    """Return the members of the documented history, oldest first, with their scores."""
    with redis.Redis(port=server.port) as client:
        members = client.zrange("stock:AAPL:timeseries", 0, -1, withscores=True)
    assert isinstance(members, list)
    return [(json.loads(member), score) for member, score in members]


async def test_documented_keys_hold_what_clients_got(
    redis_server: RedisServer, crowd: Crowd
) -> None:
    async with shown_server(redis_url=redis_server.url) as server:
        client = await crowd.connect(server.url)
        await client.subscribe(APPLE)
        await client.updates_of("AAPL", 10)
        last = client.updates("AAPL")[-1]
        await wait_until(
            lambda: any(update["seq"] == last["seq"] for update, _ in stored(redis_server)),
            "the history",
        )

        history = stored(redis_server)

        assert all(score == update["timestamp"] for update, score in history)
        got = {update["seq"]: update for update in client.updates("AAPL")[1:]}
        held = {update["seq"]: update for update, _ in history}
        assert all(held[seq] == update for seq, update in got.items() if seq <= last["seq"])
        with redis.Redis(port=redis_server.port) as connection:
            current = connection.get("stock:AAPL:current")
            lifetime = connection.ttl("stock:AAPL:current")
            keys = {key.decode() for key in connection.scan_iter()}
        assert isinstance(current, bytes)
        value = json.loads(current)
        assert value.keys() >= {"symbol", "price", "change", "changePercent", "volume", "timestamp"}
        assert (value["symbol"], value["epoch"]) == ("AAPL", last["epoch"])
        assert value["seq"] >= last["seq"]
        assert isinstance(lifetime, int)
        assert 0 < lifetime <= 300
        others = keys - {"stock:AAPL:current", "stock:AAPL:timeseries"}
        assert all(key.startswith("stockstream:") for key in others)


@pytest.mark.slow
async def test_history_keeps_the_last_thousand_updates(
    redis_server: RedisServer, crowd: Crowd, tmp_path_factory: pytest.TempPathFactory
) -> None:
    recording = tmp_path_factory.mktemp("recording") / "ticks.csv"
    ticks = [f"{1_400_000_000_000 + n},AAPL,{100 + n / 100:.2f},,," for n in range(1_500)]
    recording.write_text("timestamp_ms,symbol,price,size,bid,ask\n" + "\n".join(ticks) + "\n")
    replay = ("--provider", "replay", "--replay-file", str(recording), "--replay-speed", "0")
    async with shown_server(*replay, redis_url=redis_server.url) as server:
        client = await crowd.connect(server.url)
        await client.subscribe(APPLE)

        await wait_until(
            lambda: (history := stored(redis_server)) and history[-1][0]["seq"] == 1_500,
            "the last update",
        )

        numbers = [update["seq"] for update, _ in stored(redis_server)]
        assert numbers == list(range(501, 1_501))


@pytest.mark.parametrize("manager", ["asynchronous", "blocking"])
async def test_emit_of_another_program_reaches_clients_of_every_node_once(
    redis_server: RedisServer, crowd: Crowd, manager: str
) -> None:
    url = redis_server.url
    async with shown_server(redis_url=url) as one, shown_server(redis_url=url) as two:
        clients = [await crowd.connect(server.url) for server in (one, two)]
        # A node listens to Redis from some moment on; what counts is that nothing comes twice.
        sent = 0
        while not all(client.events("news") for client in clients):
            sent += 1
            await emit_elsewhere(manager, redis_server.url, sent)
            for client in clients:
                # An acknowledged request: what was under way before has arrived after it.
                await client.subscribe("performance_alert")
        assert sent < 100
        for number in range(3):
            await emit_elsewhere(manager, redis_server.url, 1_000 + number)
        for client in clients:
            await client.hear(
                "event", lambda what: what[0] == "news" and what[1]["number"] == 1_002
            )
            numbers = [args[0]["number"] for args in client.events("news")]
            assert all(a < b for a, b in pairwise(numbers))
            assert numbers[-3:] == [1_000, 1_001, 1_002]


async def emit_elsewhere(manager: str, url: str, number: int) -> None:
    """Emit as a program does that has no clients of its own."""
    news = {"number": number}
    if manager == "asynchronous":
        writer = socketio.AsyncRedisManager(url, write_only=True)
        await writer.emit("news", news)
        await writer.redis.aclose()
    else:
        blocking = socketio.RedisManager(url, write_only=True)
        await asyncio.to_thread(blocking.emit, "news", news)
        blocking.redis.close()


async def test_restarted_server_does_not_emit_an_unchanged_price_again(
    redis_server: RedisServer, crowd: Crowd
) -> None:
    settings = {"redis_url": redis_server.url, "simulated_change_probability": "0"}
    async with shown_server(**settings) as server:
        before = await crowd.connect(server.url)
        await before.subscribe(APPLE)
        (first,) = await before.updates_of("AAPL", 1)
        await wait_until(lambda: stored(redis_server), "the cache to be written")

    async with shown_server(**settings) as server:
        after = await crowd.connect(server.url)
        await after.subscribe(APPLE)
        (snapshot,) = await after.updates_of("AAPL", 1)
        await many_polls(server)
        # A round trip: whatever was emitted before it has arrived.
        await after.subscribe(APPLE)

        assert snapshot["snapshot"] is True
        assert snapshot == first
        assert all("snapshot" in update for update in after.updates("AAPL"))
    assert len(stored(redis_server)) == 1


async def many_polls(server: Server) -> None:
    """Wait until the price was asked for twenty times."""
    while (await metrics(server.url))["stockstream_quotes_accepted_total"] < 20:
        await asyncio.sleep(0.02)


async def updates_go_on(client: JsClient, count: int) -> None:
    await client.updates_of("AAPL", len(client.updates("AAPL")) + count)


def assert_goes_on(updates: Sequence[dict[str, Any]]) -> None:
    """Insist on a sequence, and on another one from its beginning where the first stopped."""
    runs = [list(run) for _, run in groupby(updates, key=lambda update: str(update["epoch"]))]
    assert len(runs) <= 2
    assert runs[-1][0]["seq"] == 1 or len(runs) == 1
    for run in runs:
        assert_complete(run)


async def test_clients_notice_nothing_when_redis_is_killed_and_comes_back(crowd: Crowd) -> None:
    with running_redis() as own_redis:
        async with shown_server(redis_url=own_redis.url) as server:
            client = await crowd.connect(server.url)
            await client.subscribe(APPLE)
            await updates_go_on(client, 10)

            own_redis.kill()
            await updates_go_on(client, 20)

            status, ready = await get(f"{server.url}/readyz")
            assert ready["dependencies"]["redis"]["ready"] is False
            assert ready["dependencies"]["redis"]["state"]
            newcomer = await crowd.connect(server.url)
            await newcomer.subscribe(APPLE, "stock_update_MSFT")
            assert (await newcomer.updates_of("AAPL", 1))[0]["snapshot"] is True
            await newcomer.updates_of("MSFT", 3)
            await updates_go_on(client, 5)

            own_redis.start()
            await wait_until(lambda: stored(own_redis), "the keys to be written again")
            await stats_when(server.url, lambda now: now["connectedClients"] == 2, "the clients")
            await updates_go_on(client, 5)
            status, ready = await get(f"{server.url}/readyz")
            assert (status, ready["dependencies"]["redis"]["ready"]) == (200, True)

            # Nothing was lost, nothing came twice. Prices pause for as long as a lease lives:
            # that long Redis may be gone without anybody noticing.
            assert_goes_on(client.updates("AAPL"))
            stamps = [args[0]["timestamp"] for args in client.events(APPLE)]
            assert max(b - a for a, b in pairwise(stamps)) < 4_000
            assert "Traceback" not in server.child.output()


async def test_redis_that_hangs_holds_up_nobody(crowd: Crowd) -> None:
    with running_redis() as own_redis:
        async with shown_server(redis_url=own_redis.url) as server:
            client = await crowd.connect(server.url)
            await client.subscribe(APPLE)
            await updates_go_on(client, 5)

            own_redis.pause()
            await updates_go_on(client, 40)
            newcomer = await crowd.connect(server.url)
            await newcomer.subscribe("stock_update_MSFT")
            await newcomer.updates_of("MSFT", 3)
            own_redis.resume()
            last = client.updates("AAPL")[-1]
            await wait_until(
                lambda: any(
                    update["epoch"] == last["epoch"] and update["seq"] >= last["seq"]
                    for update, _ in stored(own_redis)
                ),
                "the history to catch up",
            )

            assert_goes_on([update for update, _ in stored(own_redis)])
            assert_goes_on(client.updates("AAPL"))
