"""Whole nodes on each kind of Redis: behind Sentinel, and on a cluster of three masters."""

from stockstream.cluster import keys
from tests.cluster_node.nodes import SYMBOLS, running_nodes, settled
from tests.cluster_node.watchers import (
    assert_all_complete,
    assert_complete,
    go_on,
    hear_news,
    watching,
)
from tests.recovery.clients import Crowd
from tests.support.processes import wait_until
from tests.support.redis_cluster import running_cluster, running_sentinels


async def test_nodes_share_a_redis_cluster_whose_slots_move_and_an_owner_that_dies(
    crowd: Crowd,
) -> None:
    with running_cluster() as servers:
        async with running_nodes(servers.url, 2) as nodes:
            await settled(nodes)
            clients = await watching(crowd, nodes)
            # To whichever master another program speaks.
            for number, master in enumerate(servers.masters):
                await hear_news(clients, master.url, number)
            servers.move(keys.OFFSET)
            await go_on(clients)
            assert_all_complete(clients)
            nodes[0].child.kill()
            await go_on(clients[1:], 10)
            assert_all_complete(clients[1:])


async def test_nodes_follow_their_redis_to_a_replica(crowd: Crowd) -> None:
    with running_sentinels() as servers:
        async with running_nodes(servers.url, 2) as nodes:
            await settled(nodes)
            clients = await watching(crowd, nodes)
            servers.master.kill()
            await wait_until(lambda: servers.master_port() == servers.replica.port, "the promotion")
            await settled(nodes)
            await go_on(clients, 10)
            await hear_news(clients, servers.replica.url, 1)
            assert [client.losses for client in clients] == [0, 0]
            for client in clients:
                for symbol in SYMBOLS:
                    # The replica may lack what the master accepted last: the sequence is new then.
                    assert_complete(client, symbol, epochs=3)
