"""Unmodified JavaScript clients get their prices through each load balancer."""

import asyncio
from collections.abc import Sequence

import pytest

from tests.acceptance.crowd import WAYS, WEBSOCKET, Crowd, JsClient, Way
from tests.acceptance.http import metrics
from tests.deploy.balancers import Balancer
from tests.deploy.places import place_of
from tests.support.processes import Server

POLLING = Way(transports=("polling",))

EVENT = "stock_update_AAPL"


async def nodes_of(clients: Sequence[JsClient], nodes: Sequence[Server]) -> set[str]:
    places = await asyncio.gather(*(place_of(client, nodes) for client in clients))
    return {place.server.url for place in places}


@pytest.mark.parametrize("way", [POLLING, *WAYS], ids=str)
async def test_client_gets_snapshot_and_updates(
    balancer: Balancer, crowd: Crowd, shared_nodes: list[Server], way: Way
) -> None:
    client = await crowd.connect(balancer.url, way)
    await client.subscribe(EVENT)
    updates = await client.updates_of("AAPL", 5)
    if len(way.transports) > 1:
        await client.hear("upgrade")
    place = await place_of(client, shared_nodes)
    assert updates[0]["snapshot"] is True
    assert [update["seq"] - updates[0]["seq"] for update in updates] == list(range(len(updates)))
    assert place.client["transport"] == way.transports[-1]
    assert "disconnect" not in client.kinds()
    await client.close()


async def test_no_polling_request_reaches_a_node_that_does_not_know_its_session(
    balancer: Balancer, crowd: Crowd, shared_nodes: list[Server]
) -> None:
    sample = "stockstream_engine_total|what=refused_request"
    before = [(await metrics(node.url))[sample] for node in shared_nodes]
    clients = [await crowd.connect(balancer.url, POLLING) for _ in range(9)]
    for client in clients:
        await client.subscribe(EVENT)
    for client in clients:
        await client.updates_of("AAPL", 20)
    assert [(await metrics(node.url))[sample] for node in shared_nodes] == before
    assert not any("disconnect" in client.kinds() for client in clients)
    for client in clients:
        await client.close()


async def test_websocket_clients_of_one_address_are_spread_over_the_nodes(
    balancer: Balancer, crowd: Crowd, shared_nodes: list[Server]
) -> None:
    clients = [await crowd.connect(balancer.url, WEBSOCKET) for _ in range(9)]
    assert len(await nodes_of(clients, shared_nodes)) == 3


@pytest.mark.parametrize("kind", ["haproxy"])
async def test_haproxy_spreads_polling_clients_of_one_address_too(
    balancer: Balancer, crowd: Crowd, shared_nodes: list[Server]
) -> None:
    clients = [await crowd.connect(balancer.url, POLLING) for _ in range(9)]
    assert len(await nodes_of(clients, shared_nodes)) == 3
    for client in clients:
        await client.close()
