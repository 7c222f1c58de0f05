"""Nodes that share a history: who streams a symbol stores it, and nobody else does."""

from collections.abc import Sequence

import aiohttp
import psycopg

from tests.cluster_node.nodes import SYMBOLS, metrics, running_nodes, settled
from tests.support.processes import Server, wait_until_true

_EVENTS = ",".join(f"stock_update_{symbol}" for symbol in SYMBOLS)


async def _wrote(nodes: Sequence[Server], count: int) -> None:
    """Wait until each node has stored so many ticks more."""
    name = 'history_written_total{kind="ticks"}'
    before = [(await metrics(node))[name] for node in nodes]

    async def enough() -> bool:
        now = [(await metrics(node))[name] for node in nodes]
        return all(late - early >= count for early, late in zip(before, now, strict=True))

    await wait_until_true(enough, "ticks that are stored")


def _counts(url: str, column: str, table: str) -> dict[str, int]:
    """Of each symbol, how many different values of a column there are."""
    query = f"SELECT symbol, count(DISTINCT {column}) FROM {table} GROUP BY symbol"  # noqa: S608
    with psycopg.connect(url) as connection:
        return dict(connection.execute(query.encode()).fetchall())


async def test_each_symbol_is_stored_by_the_node_that_streams_it(
    redis_url: str, postgres_url: str
) -> None:
    async with running_nodes(redis_url, 2, history_url=postgres_url) as nodes:
        await settled(nodes)
        first, second = nodes
        url = f"{second.url}/api/stream?events={_EVENTS}"
        async with aiohttp.ClientSession() as session, session.get(url):
            await _wrote(nodes, 60)
            runs = _counts(postgres_url, "run", "minutes")
            assert runs == dict.fromkeys(SYMBOLS, 1)
            first.child.kill()
            await settled([second])
            await _wrote([second], 120)

    # Those of the node that was killed are counted on by the other one.
    assert set(_counts(postgres_url, "run", "minutes").values()) == {1, 2}
    # No tick came twice: the second of one moment would have another number.
    assert _counts(postgres_url, "number", "ticks") == dict.fromkeys(SYMBOLS, 1)
