"""Whole nodes on each kind of Redis: behind Sentinel, and on a cluster of three masters."""

import re

import pytest
import redis

from stockstream.cluster import keys
from tests.cluster_node.nodes import SYMBOLS, metrics, running_nodes, settled
from tests.cluster_node.watchers import (
    assert_all_complete,
    assert_complete,
    go_on,
    hear_news,
    watching,
)
from tests.recovery.clients import Crowd
from tests.support.processes import ROOT, wait_until
from tests.support.redis_cluster import running_cluster, running_sentinels
from tests.support.redis_server import running_redis

#: Nodes are processes: a busy machine takes its time with them.
pytestmark = pytest.mark.timeout(180)


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


async def test_rights_that_the_operations_guide_names_are_enough(crowd: Crowd) -> None:
    guide = (ROOT / "docs" / "operations.md").read_text()
    (commands,) = re.findall(r"commands `([^`]*)`", guide)
    rights = f"~stockstream:* ~stock:* &stockstream:* &socketio {commands}"
    with running_redis() as server, redis.Redis(port=server.port) as admin:
        rules = ("on", ">secret", "resetkeys", "resetchannels", *rights.split())
        admin.execute_command("ACL", "SETUSER", "node", *rules)
        admin.execute_command("ACL", "SETUSER", "default", "nopass", "resetchannels", "-@all")
        url = f"redis://node:secret@127.0.0.1:{server.port}/0"
        async with running_nodes(url, 2) as nodes:
            await settled(nodes)
            clients = await watching(crowd, nodes)
            await hear_news(clients, url, 1)
            assert_all_complete(clients)
            pages = [await metrics(node) for node in nodes]
            assert [page['commits_total{outcome="failed"}'] for page in pages] == [0, 0]
