"""Clients that come and go leave nothing behind, and demand decides what streams."""

import asyncio
import gc
import time
from collections import Counter

import pytest

from stockstream.config import load_settings
from stockstream.serving import running_node
from tests.acceptance.crowd import Crowd, JsClient, Way
from tests.acceptance.http import metrics, stats, stats_when
from tests.support.processes import DEADLINE, Server, wait_until

CROWD = 200
SYMBOLS = ["AAPL", "MSFT", "BRK.B", "^GSPC"]
#: What a client that has gone must not leave behind, by the name of its class.
OF_CLIENTS = {
    "Client",
    "Member",
    "CatchUp",
    "Pace",
    "Audience",
    "Connection",
    "Peer",
}


async def come(crowd: Crowd, url: str) -> list[JsClient]:
    """Connect and subscribe many clients of every kind, all at once."""
    clients = []
    for number in range(CROWD):
        transports = ("polling", "websocket") if number % 4 == 3 else ("websocket",)
        way = Way(version=3 if number % 3 == 0 else 4, transports=transports)
        clients.append(await crowd.begin(url, way))
    for number, client in enumerate(clients):
        await client.event("connected")
        events = [f"stock_update_{symbol}" for symbol in SYMBOLS[: 1 + number % 4]]
        options = {"maxRate": 5} if number % 5 == 0 else {}
        await client.emit("subscribe", {"events": events, **options})
    for client in clients:
        await client.updates_of("AAPL", 1)
    return clients


async def go(clients: list[JsClient]) -> None:
    """Have them go: some say goodbye, some are cut off, some do so in the midst of a request."""
    for number, client in enumerate(clients):
        if number % 3 == 2:
            await client.emit("get_stock_data", {"symbol": f"S{number}"})
        await client.tell("cut" if number % 2 else "close")
    for client in clients:
        await client.hear("disconnect")


async def test_crowd_that_went_leaves_no_client_subscription_or_stream(
    server: Server, crowd: Crowd
) -> None:
    clients = await come(crowd, server.url)
    full = await stats(server.url)
    assert full["connectedClients"] == CROWD
    assert full["subscriptions"]["stock_update_AAPL"] == CROWD
    assert set(full["streaming"]) == set(SYMBOLS)

    await go(clients)

    empty = await stats_when(
        server.url,
        lambda now: now["connectedClients"] == 0 and not now["streaming"],
        "the end of all streams",
    )
    assert empty["subscriptions"] == {}
    assert empty["activeSubscriptions"] == {}
    samples = await metrics(server.url)
    assert samples["stockstream_connected_clients"] == 0
    assert samples["stockstream_subscriptions"] == 0
    assert samples["stockstream_engine_total|what=handler_errors"] == 0
    assert "Traceback" not in server.child.output()


def objects_of_clients() -> Counter[str]:
    """Count this process's living objects that belong to clients."""
    gc.collect()
    return Counter(name for each in gc.get_objects() if (name := type(each).__name__) in OF_CLIENTS)


async def objects_have_gone(before: Counter[str]) -> None:
    """Wait until there are no more of them than ``before``, when other tests may have left some."""
    deadline = time.monotonic() + DEADLINE
    while left := objects_of_clients() - before:
        assert time.monotonic() < deadline, left
        # To count is work: it must not keep the server from what it is waited for.
        await asyncio.sleep(0.5)


@pytest.mark.slow
async def test_crowd_that_went_leaves_no_task_and_no_object(crowd: Crowd) -> None:
    settings = load_settings(
        {
            "port": 0,
            "update_interval": 0.05,
            "simulated_change_probability": 1.0,
            "subscription_timeout": 0.1,
            "max_connections_per_address": 1_000,
        }
    )
    before = objects_of_clients()
    async with running_node(settings) as (node, url):
        tasks = len(asyncio.all_tasks())

        await go(await come(crowd, url))

        await wait_until(lambda: not node.streaming.get_streaming_status(), "the end of streams")
        await wait_until(lambda: len(asyncio.all_tasks()) <= tasks, "the end of their tasks")
        await objects_have_gone(before)


async def test_first_client_starts_a_stream_and_the_last_one_ends_it(
    server: Server, crowd: Crowd
) -> None:
    first, second = await crowd.connect(server.url), await crowd.connect(server.url)
    assert (await stats(server.url))["streaming"] == {}

    await first.subscribe("stock_update_AAPL")
    await second.subscribe("stock_update_AAPL", "stock_update_MSFT")
    await second.updates_of("MSFT", 1)
    await second.updates_of("AAPL", 1)

    now = await stats(server.url)
    assert now["streaming"] == {"AAPL": True, "MSFT": True}
    assert now["activeSubscriptions"] == {"AAPL": 2, "MSFT": 1}
    assert now["subscriptions"] == {"stock_update_AAPL": 2, "stock_update_MSFT": 1}
    # A goodbye counts as much as an unsubscription.
    await second.close()
    await stats_when(server.url, lambda now: now["streaming"] == {"AAPL": True}, "MSFT's end")
    await first.updates_of("AAPL", len(first.updates("AAPL")) + 5)
    await first.ask("unsubscribe", {"events": ["stock_update_AAPL"]})
    await stats_when(server.url, lambda now: now["streaming"] == {}, "AAPL's end")


async def test_client_that_is_cut_off_ends_its_streams(server: Server, crowd: Crowd) -> None:
    for transports in (("websocket",), ("polling", "websocket")):
        client = await crowd.connect(server.url, Way(transports=transports))
        await client.subscribe("stock_update_AAPL")
        if len(transports) == 2:
            await client.hear("upgrade")
        await client.tell("cut")
        await stats_when(
            server.url,
            lambda now: now["connectedClients"] == 0 and now["streaming"] == {},
            "the end of client and stream",
        )


async def test_stream_goes_on_for_who_comes_back_in_time(crowd: Crowd, patient: Server) -> None:
    first = await crowd.connect(patient.url)
    await first.subscribe("stock_update_AAPL")
    seen = await first.updates_of("AAPL", 3)
    await first.close()
    assert (await stats(patient.url))["streaming"] == {"AAPL": True}

    second = await crowd.connect(patient.url)
    await second.subscribe("stock_update_AAPL")

    (snapshot, *_) = await second.updates_of("AAPL", 1)
    assert snapshot["epoch"] == seen[-1]["epoch"]
    assert snapshot["seq"] >= seen[-1]["seq"]
