"""Redis restarts, hangs, or can't be reached by one node; clients notice as little as may be."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from urllib.parse import urlsplit

import pytest
import redis

from stockstream.cluster.keys import Channels
from tests.cluster_node.nodes import (
    SYMBOLS,
    metrics,
    node,
    owned,
    port_of,
    readiness,
    running_nodes,
    settled,
)
from tests.cluster_node.watchers import (
    assert_all_complete,
    assert_complete,
    epochs,
    go_on,
    hear_news,
    total,
    watching,
)
from tests.recovery.clients import Crowd, JsClient
from tests.support.fault_proxy import FaultProxy
from tests.support.processes import Server, wait_until_true
from tests.support.redis_server import running_redis

#: Nodes are processes: a busy machine takes its time with them.
pytestmark = pytest.mark.timeout(180)

#: Channel on which nodes wake each other.
MEMBERS = Channels(0).members


async def _are_alone(nodes: Sequence[Server]) -> bool:
    return all([(await metrics(node))["cluster_alone"] for node in nodes])


async def _are_together(nodes: Sequence[Server]) -> bool:
    pages = [await metrics(node) for node in nodes]
    return all(page["quote_bus_hearing"] and not page["cluster_alone"] for page in pages)


def _has(client: JsClient, updates: int) -> bool:
    return total(client) >= updates


def _has_alert(client: JsClient, kind: str) -> bool:
    alerts = [args[0]["payload"] for args in client.events("performance_alert")]
    return any((alert["type"], alert["state"]) == (kind, "firing") for alert in alerts)


async def _get_more(clients: Sequence[JsClient], updates: int) -> None:
    for client in clients:
        await client.until(partial(_has, client, total(client) + updates), "updates")


async def test_redis_that_restarts_empty_costs_no_client_an_update_of_its_own_node(
    crowd: Crowd,
) -> None:
    with running_redis() as server:
        async with running_nodes(server.url, 2, metrics_interval="0.5") as nodes:
            await settled(nodes)
            clients = await watching(crowd, nodes)
            listener = await crowd.connect(port_of(nodes[0]))
            await listener.ask("subscribe", {"events": ["performance_alert"]})
            server.kill()
            await wait_until_true(lambda: _are_alone(nodes), "both to go on alone")
            status, dependencies = await readiness(nodes[0])
            assert status == 200
            assert not dependencies["redis"]["ready"]
            assert not dependencies["quotes"]["ready"]
            await listener.until(partial(_has_alert, listener, "redis_unavailable"), "the alert")
            await _get_more(clients, 20)
            server.start()
            await settled(nodes)
            await go_on(clients, 10)
            assert [client.losses for client in clients] == [0, 0]
            assert_all_complete(clients, epochs=2)
            assert [(await readiness(node))[0] for node in nodes] == [200, 200]


async def test_what_an_owner_gave_its_own_clients_reaches_all_when_redis_is_back(
    crowd: Crowd,
) -> None:
    with running_redis("--appendonly", "yes") as server:
        async with running_nodes(server.url, 2) as nodes:
            await settled(nodes)
            clients = await watching(crowd, nodes)
            for _ in range(2):
                server.kill()
                await wait_until_true(lambda: _are_alone(nodes), "both to go on alone")
                await _get_more(clients, 30)
                server.start()
                await wait_until_true(lambda: _are_together(nodes), "both to hear each other")
                await go_on(clients)
            await hear_news(clients, server.url, 1)
            assert [client.losses for client in clients] == [0, 0]
            assert_all_complete(clients, epochs=3)
            # Both have seen the same, whoever had it first.
            one, two = clients
            for symbol in SYMBOLS:
                shared = min(len(epochs(one, symbol)), len(epochs(two, symbol)))
                assert epochs(one, symbol)[:shared] == epochs(two, symbol)[:shared]
                assert _common(one, two, symbol) == _common(two, one, symbol)


def _common(one: JsClient, other: JsClient, symbol: str) -> list[tuple[str, int]]:
    """Return what one has seen of a symbol up to the last that both have."""
    seen = [(u["epoch"], u["seq"]) for u in one.updates(symbol)]
    known = {(u["epoch"], u["seq"]) for u in other.updates(symbol)}
    first = next(index for index, each in enumerate(seen) if each in known)
    last = max(index for index, each in enumerate(seen) if each in known)
    return seen[first : last + 1]


@asynccontextmanager
async def _one_by_a_proxy(redis_url: str) -> AsyncIterator[tuple[list[Server], FaultProxy]]:
    """Run two nodes, the first of which reaches Redis through a proxy."""
    port = urlsplit(redis_url).port
    assert port is not None
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(FaultProxy(port))
        urls = (f"redis://127.0.0.1:{proxy.port}/0", redis_url)
        nodes = [
            await stack.enter_async_context(node(url, f"n{number}"))
            for number, url in enumerate(urls)
        ]
        yield nodes, proxy


async def _owns_all(server: Server) -> bool:
    return await owned([server]) == [64]


async def test_node_that_is_cut_off_from_redis_disturbs_nobody_and_catches_up(
    redis_url: str, crowd: Crowd
) -> None:
    async with _one_by_a_proxy(redis_url) as (nodes, proxy):
        await settled(nodes)
        apart, there = clients = await watching(crowd, nodes)
        proxy.blackhole()
        await wait_until_true(lambda: _owns_all(nodes[1]), "the failover")
        await wait_until_true(lambda: _are_alone(nodes[:1]), "the node to go on alone")
        await go_on([there])
        await _get_more([apart], 20)
        proxy.abort()
        proxy.restore()
        await settled(nodes)
        await go_on(clients)
        assert_all_complete([there])
        assert [client.losses for client in clients] == [0, 0]
        for symbol in SYMBOLS:
            # What it was given meanwhile has numbers of its own.
            assert_complete(apart, symbol, epochs=2)
            # The sequence of all has no hole: it got what it had missed.
            assert epochs(there, symbol) == epochs(apart, symbol)[:1]


async def test_lost_connections_to_redis_cost_no_update(redis_url: str, crowd: Crowd) -> None:
    async with _one_by_a_proxy(redis_url) as (nodes, proxy):
        await settled(nodes)
        clients = await watching(crowd, nodes)
        for _ in range(5):
            assert proxy.abort() > 0
            await go_on(clients, 2)
        await wait_until_true(lambda: _are_together(nodes), "both to hear each other")
        await go_on(clients)
        assert_all_complete(clients)
        page = await metrics(nodes[0])
        assert page["quote_bus_losses_total"] >= 1
        assert page["quote_bus_gaps_total"] == 0


async def test_deaf_node_is_not_ready_and_heals_itself(crowd: Crowd) -> None:
    with running_redis() as server, redis.Redis(port=server.port) as admin:
        async with running_nodes(server.url, 2) as nodes:
            await settled(nodes)
            clients = await watching(crowd, nodes)
            for node in nodes:
                assert (await readiness(node))[0] == 200
            # Redis answers, but lets nobody hear: it cuts those off who do, and refuses them.
            admin.acl_setuser("default", enabled=True, reset_channels=True, channels=[MEMBERS])
            await wait_until_true(lambda: _are(nodes, 503), "both to be unready")
            _, dependencies = await readiness(nodes[0])
            assert dependencies["redis"]["ready"]
            assert dependencies["quotes"]["state"].startswith("deaf for")
            admin.acl_setuser("default", enabled=True, channels=["*"])
            await wait_until_true(lambda: _are(nodes, 200), "both to be ready")
            await go_on(clients)
            assert [client.losses for client in clients] == [0, 0]
            assert_all_complete(clients)


async def _are(nodes: Sequence[Server], status: int) -> bool:
    return all([(await readiness(node))[0] == status for node in nodes])
