"""Nodes of one cluster lose each other, Redis, and their lives; clients lose nothing."""

import time
from collections.abc import Sequence
from functools import partial

from tests.cluster_node.balancer import balancing
from tests.cluster_node.nodes import (
    SYMBOLS,
    assert_complete,
    metrics,
    owned,
    port_of,
    readiness,
    running_nodes,
    settled,
)
from tests.recovery.clients import Crowd, JsClient, assert_recovered
from tests.support.processes import Server, wait_until_true
from tests.support.redis_server import running_redis


async def watching(crowd: Crowd, nodes: Sequence[Server]) -> list[JsClient]:
    """Connect a client to each node that watches everything, and wait for the first updates."""
    clients = [await crowd.connect(port_of(node)) for node in nodes]
    for client in clients:
        await client.subscribe(*SYMBOLS)
    await go_on(clients)
    return clients


async def go_on(clients: Sequence[JsClient], updates: int = 5) -> None:
    """Wait until each client has got so many more updates of each symbol."""
    for client in clients:
        await _goes_on(client, updates)


async def _goes_on(client: JsClient, updates: int) -> None:
    wanted = {symbol: len(client.updates(symbol)) + updates for symbol in SYMBOLS}

    def has_them() -> bool:
        return all(len(client.updates(symbol)) >= count for symbol, count in wanted.items())

    await client.until(has_them, "updates")


def total(client: JsClient) -> int:
    """Return how many updates a client has got."""
    return sum(len(client.updates(symbol)) for symbol in SYMBOLS)


async def test_owner_that_is_killed_is_replaced_within_3_s_and_no_number_is_missing(
    redis_url: str, crowd: Crowd
) -> None:
    async with running_nodes(redis_url, 3) as nodes:
        await settled(nodes)
        victim, *others = nodes
        clients = await watching(crowd, others)
        victim.child.kill()
        killed = time.monotonic()
        await wait_until_true(lambda: _own_all(others), "the failover")
        assert time.monotonic() - killed < 3 + 1  # the looking itself takes time
        await go_on(clients)
        for client in clients:
            for symbol in SYMBOLS:
                assert_complete(client, symbol)


async def _own_all(nodes: Sequence[Server]) -> bool:
    return sum(await owned(nodes)) == 64


async def test_owner_that_is_stopped_and_wakes_up_writes_nothing_and_hears_what_it_missed(
    redis_url: str, crowd: Crowd
) -> None:
    async with running_nodes(redis_url, 2) as nodes:
        await settled(nodes)
        clients = await watching(crowd, nodes)
        stopped, other = nodes
        stopped.child.pause()
        await wait_until_true(lambda: _own_all([other]), "the failover")
        await go_on(clients[1:])
        stopped.child.resume()
        await settled(nodes)
        await go_on(clients)
        for client in clients:
            for symbol in SYMBOLS:
                assert_complete(client, symbol)
        assert not (await metrics(stopped))["cluster_alone"]


async def test_client_of_a_killed_node_goes_on_at_another_one(redis_url: str, crowd: Crowd) -> None:
    async with running_nodes(redis_url, 2) as nodes, balancing(nodes[0].url) as balancer:
        await settled(nodes)
        client = await crowd.connect(balancer.port)
        await client.subscribe(*SYMBOLS)
        await go_on([client])
        balancer.choose(nodes[1].url)
        nodes[0].child.kill()
        assert_recovered([await client.connected(1), await client.connected(2)])
        await go_on([client], 20)
        for symbol in SYMBOLS:
            assert_complete(client, symbol)


async def test_drained_node_hands_over_and_its_clients_go_on_elsewhere_without_a_gap(
    redis_url: str, crowd: Crowd
) -> None:
    async with running_nodes(redis_url, 2) as nodes, balancing(nodes[0].url) as balancer:
        await settled(nodes)
        moved = await crowd.connect(balancer.port)
        (there,) = await watching(crowd, nodes[1:])
        await moved.subscribe(*SYMBOLS)
        await go_on([moved, there])
        balancer.choose(nodes[1].url)
        nodes[0].child.terminate()
        assert_recovered([await moved.connected(1), await moved.connected(2)])
        assert await nodes[0].child.exit_status() == 0
        await go_on([moved, there])
        for client in (moved, there):
            for symbol in SYMBOLS:
                assert_complete(client, symbol)
        gaps = [
            later["timestamp"] - earlier["timestamp"]
            for symbol in SYMBOLS
            for earlier, later in zip(
                there.updates(symbol)[1:], there.updates(symbol)[2:], strict=False
            )
        ]
        # The next owner streams at once: hardly a tick is left out.
        assert max(gaps) <= 500


async def test_redis_that_restarts_empty_costs_no_client_an_update_of_its_own_node(
    crowd: Crowd,
) -> None:
    with running_redis() as server:
        async with running_nodes(server.url, 2) as nodes:
            await settled(nodes)
            clients = await watching(crowd, nodes)
            server.kill()
            await wait_until_true(lambda: _are_alone(nodes), "both to go on alone")
            status, dependencies = await readiness(nodes[0])
            assert status == 200
            assert not dependencies["redis"]["ready"]
            assert not dependencies["quotes"]["ready"]
            for client in clients:
                wanted = total(client) + 20
                await client.until(partial(_has, client, wanted), "updates while Redis is gone")
            server.start()
            await settled(nodes)
            await go_on(clients, 10)
            for client in clients:
                assert client.losses == 0
                for symbol in SYMBOLS:
                    assert_complete(client, symbol, epochs=2)
            assert [(await readiness(node))[0] for node in nodes] == [200, 200]


async def _are_alone(nodes: Sequence[Server]) -> bool:
    return all([(await metrics(node))["cluster_alone"] for node in nodes])


def _has(client: JsClient, updates: int) -> bool:
    return total(client) >= updates
