"""Nodes that share a history: who streams a symbol stores it, and nobody else does."""

import aiohttp
import psycopg
import pytest

from tests.cluster_node.nodes import SYMBOLS, metrics, running_nodes, settled
from tests.support.processes import Server, wait_until_true

#: Nodes are processes: a busy machine takes its time with them.
pytestmark = pytest.mark.timeout(180)

_EVENTS = ",".join(f"stock_update_{symbol}" for symbol in SYMBOLS)


def _countings(url: str) -> dict[str, int]:
    """How many countings there are of each symbol."""
    with psycopg.connect(url) as connection:
        return dict(
            connection.execute(
                "SELECT symbol, count(DISTINCT run) FROM minutes GROUP BY symbol"
            ).fetchall()
        )


async def _wrote(node: Server) -> bool:
    return (await metrics(node))['history_written_total{kind="ticks"}'] > 0


async def _handed_over(nodes: list[Server]) -> float:
    """How many partitions the nodes have lost: to each other, or for a moment to nobody."""
    return sum(
        [(await metrics(each))['cluster_handovers_total{direction="lost"}'] for each in nodes]
    )


async def test_each_symbol_is_stored_by_the_node_that_streams_it(
    redis_url: str, postgres_url: str
) -> None:
    async def all_stored() -> bool:
        return len(_countings(postgres_url)) == len(SYMBOLS)

    async def some_twice() -> bool:
        return 2 in _countings(postgres_url).values()

    async with running_nodes(redis_url, 2, history_url=postgres_url) as nodes:
        await settled(nodes)
        before = await _handed_over(nodes)
        first, second = nodes
        url = f"{second.url}/api/stream?events={_EVENTS}"
        async with aiohttp.ClientSession() as session, session.get(url):
            await wait_until_true(lambda: _wrote(first), "ticks of the one")
            await wait_until_true(lambda: _wrote(second), "ticks of the other")
            await wait_until_true(all_stored, "minutes of all symbols")
            # Each owner counts anew; on a machine that is too busy to renew leases there are more.
            most = 1 + await _handed_over(nodes) - before
            assert max(_countings(postgres_url).values()) <= most
            first.child.kill()
            await wait_until_true(some_twice, "the failover")

    # Those of the node that was killed are counted on by the other one.
    assert set(_countings(postgres_url).values()) == {1, 2}
