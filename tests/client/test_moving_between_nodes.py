"""A client of many nodes goes from one to another, and neither misses nor repeats anything."""

from collections.abc import Callable, Sequence

from stockstream.client import StockClient
from stockstream.model import StockUpdate
from tests.client.clients import Reader, Told, reading
from tests.cluster_node.balancer import balancing
from tests.cluster_node.nodes import SYMBOLS, node, running_nodes, settled
from tests.support.processes import wait_until


async def go_on(reader: Reader[StockUpdate], updates: int = 5) -> None:
    """Wait until there are so many more updates of each symbol."""
    wanted = {symbol: len(of(symbol, reader.got)) + updates for symbol in SYMBOLS}
    await reader.until(
        lambda got: all(len(of(symbol, got)) >= count for symbol, count in wanted.items()),
        "updates",
    )


def of(symbol: str, got: Sequence[StockUpdate]) -> list[StockUpdate]:
    return [update for update in got if update.symbol == symbol]


async def test_killed_drained_and_new_nodes_are_one_to_a_client(redis_url: str) -> None:
    async with running_nodes(redis_url, 2) as nodes, balancing(nodes[0].url) as balancer:
        await settled(nodes)
        # Waits that are as long as a program's, so that updates come meanwhile.
        client = StockClient(f"http://127.0.0.1:{balancer.port}", reconnect_interval=0.5)
        told = Told(client)
        async with client, reading(client.updates(*SYMBOLS)) as reader:
            await go_on(reader)
            balancer.choose(nodes[1].url)
            await _move(client, reader, nodes[0].child.kill)
            async with node(redis_url, "n2") as third:
                balancer.choose(third.url)
                await _move(client, reader, nodes[1].child.terminate)

            for symbol in SYMBOLS:
                updates = of(symbol, reader.got)
                seqs = [update.seq for update in updates]
                assert seqs == list(range(seqs[0], seqs[0] + len(seqs))), symbol
                assert len({update.epoch for update in updates}) == 1
            assert client.skipped == 0
            assert not told.errors


async def _move(
    client: StockClient, reader: Reader[StockUpdate], leave: Callable[[], None]
) -> None:
    connections = client.connections
    leave()
    await wait_until(lambda: client.connections > connections, "another connection")
    await go_on(reader)
