"""Nodes of one cluster are killed, stopped and drained; clients lose nothing."""

from collections.abc import Sequence
from itertools import pairwise

import pytest

from tests.cluster_node.balancer import balancing
from tests.cluster_node.nodes import SYMBOLS, metrics, owned, running_nodes, settled
from tests.cluster_node.watchers import assert_all_complete, go_on, watching
from tests.recovery.clients import Crowd, assert_recovered
from tests.support.processes import Server, wait_until_true

#: Nodes are processes: a busy machine takes its time with them.
pytestmark = pytest.mark.timeout(180)


async def _own_all(nodes: Sequence[Server]) -> bool:
    return sum(await owned(nodes)) == 64


async def test_killed_owner_is_replaced_and_no_client_of_any_node_misses_a_number(
    redis_url: str, crowd: Crowd
) -> None:
    async with running_nodes(redis_url, 3) as nodes, balancing(nodes[0].url) as balancer:
        await settled(nodes)
        victim, *others = nodes
        there = await watching(crowd, others)
        old = await crowd.connect(balancer.port)
        await old.subscribe(*SYMBOLS)
        await go_on([old])
        new = await crowd.connect(balancer.port)
        await new.subscribe(*SYMBOLS)
        # Nothing but its first snapshots has reached this one.
        await go_on([new], 1)
        balancer.choose(others[0].url)
        victim.child.kill()
        # How long it takes is what `./scripts/chaos` measures.
        await wait_until_true(lambda: _own_all(others), "the failover")
        for client in (old, new):
            assert_recovered([await client.connected(1), await client.connected(2)])
        clients = [old, new, *there]
        await go_on(clients, 20)
        assert_all_complete(clients)


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
        assert_all_complete(clients)
        assert not (await metrics(stopped))["cluster_alone"]


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
        assert_all_complete([moved, there])
        stamps = [[u["timestamp"] for u in there.updates(symbol)[1:]] for symbol in SYMBOLS]
        # The next owner streams at once: hardly a tick is left out.
        assert max(b - a for each in stamps for a, b in pairwise(each)) <= 500
