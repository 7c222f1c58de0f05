"""Who streams what: roles, demand of other nodes, and how often the provider is asked."""

import math
import time
from collections.abc import Sequence

import pytest

from tests.cluster_node.nodes import SYMBOLS, metrics, owned, port_of, running_nodes, settled
from tests.cluster_node.watchers import assert_all_complete, go_on, watching
from tests.recovery.clients import Crowd
from tests.support.processes import Server, wait_until_true

#: Nodes are processes: a busy machine takes its time with them.
pytestmark = pytest.mark.timeout(180)

#: As in `nodes.BUSY`: seconds between two questions for a symbol.
INTERVAL = 0.1


async def _produced(nodes: Sequence[Server]) -> list[float]:
    return [(await metrics(each))["cluster_symbols_produced"] for each in nodes]


async def _quotes(nodes: Sequence[Server]) -> list[float]:
    """Return how many quotes each node has got from the provider."""
    return [(await metrics(each))["quotes_accepted_total"] for each in nodes]


async def test_gateway_serves_what_a_feed_streams(redis_url: str, crowd: Crowd) -> None:
    async with (
        running_nodes(redis_url, 1, role="feed", node_id="feed") as (feed,),
        running_nodes(redis_url, 1, role="gateway") as gateways,
    ):
        nodes = [feed, *gateways]
        await wait_until_true(lambda: _owns_alone(nodes), "the feed to own everything")
        clients = await watching(crowd, gateways)
        await go_on(clients)
        assert_all_complete(clients)
        assert await _produced(nodes) == [len(SYMBOLS), 0]
        assert (await _quotes(nodes))[1:] == [0]


async def _owns_alone(nodes: Sequence[Server]) -> bool:
    return await owned(nodes) == [64] + [0] * (len(nodes) - 1)


async def test_provider_is_asked_once_for_a_symbol_and_interval_by_all_nodes_together(
    redis_url: str, crowd: Crowd
) -> None:
    async with running_nodes(redis_url, 2) as nodes:
        await settled(nodes)
        begun = time.monotonic()
        clients = await watching(crowd, nodes)
        assert sum(await _produced(nodes)) == len(SYMBOLS)
        assert all(count > 0 for count in await _produced(nodes))
        await go_on(clients, 20)
        quotes = sum(await _quotes(nodes))
        most = math.ceil((time.monotonic() - begun) / INTERVAL) + 1
        assert quotes <= most * len(SYMBOLS)
        # An owner that goes costs one question more at most.
        nodes[0].child.kill()
        await go_on(clients[1:], 30)
        own = {symbol: clients[1].updates(symbol) for symbol in SYMBOLS}
        most = math.ceil((time.monotonic() - begun) / INTERVAL) + 1 + 1
        assert max(len(updates) for updates in own.values()) <= most


async def test_demand_of_a_node_disappears_with_its_clients_and_with_itself(
    redis_url: str, crowd: Crowd
) -> None:
    async with running_nodes(redis_url, 2) as nodes:
        await settled(nodes)
        left, killed = await watching(crowd, nodes)
        extra = await crowd.connect(port_of(nodes[1]))
        await extra.subscribe("ONLY_HERE")
        await extra.until(lambda: len(extra.updates("ONLY_HERE")) > 2, "updates")
        assert sum(await _produced(nodes)) == len(SYMBOLS) + 1
        await extra.do("goodbye")
        await wait_until_true(lambda: _produce(nodes, len(SYMBOLS)), "one symbol to end")
        await left.do("goodbye")
        await go_on([killed])
        assert sum(await _produced(nodes)) == len(SYMBOLS)
        nodes[1].child.kill()
        await wait_until_true(lambda: _produce(nodes[:1], 0), "the dead node's demand to end")


async def _produce(nodes: Sequence[Server], count: int) -> bool:
    return sum(await _produced(nodes)) == count


async def test_unchanged_price_is_not_sent_again_by_the_next_owner(
    redis_url: str, crowd: Crowd
) -> None:
    async with running_nodes(redis_url, 2, simulated_change_probability="0") as nodes:
        await settled(nodes)
        client = await crowd.connect(port_of(nodes[1]))
        await client.subscribe(*SYMBOLS)
        await go_on([client], 1)
        nodes[0].child.kill()
        await wait_until_true(lambda: _owns_alone([nodes[1]]), "the failover")
        before = sum(await _quotes(nodes[1:]))
        await wait_until_true(
            lambda: _has_quotes(nodes[1], before + 3 * len(SYMBOLS)), "quotes by the next owner"
        )
        # A round trip: whatever was sent before it has arrived.
        await client.ask("subscribe", {"events": ["performance_alert"]})
        assert [len(client.updates(symbol)) for symbol in SYMBOLS] == [1] * len(SYMBOLS)


async def _has_quotes(server: Server, count: float) -> bool:
    return sum(await _quotes([server])) >= count
