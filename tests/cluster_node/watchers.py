"""JavaScript clients that watch every symbol of the cluster, and what they must have seen."""

from collections.abc import Sequence
from functools import partial

import socketio

from tests.cluster_node.nodes import SYMBOLS, port_of
from tests.recovery.clients import Crowd, JsClient
from tests.support.processes import Server


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


async def hear_news(clients: Sequence[JsClient], redis_url: str, number: int) -> None:
    """Have another program emit, which has no clients of its own, until all have heard of it."""
    writer = socketio.AsyncRedisManager(redis_url, write_only=True)
    try:
        await writer.emit("news", {"number": number})
        for client in clients:
            await client.until(partial(_has_heard, client, number), "the news")
    finally:
        await writer.redis.aclose()


def _has_heard(client: JsClient, number: int) -> bool:
    return ({"number": number},) in client.events("news")


def total(client: JsClient) -> int:
    """Return how many updates a client has got."""
    return sum(len(client.updates(symbol)) for symbol in SYMBOLS)


def epochs(client: JsClient, symbol: str) -> list[str]:
    """Return the sequences of a symbol that a client has seen, in this order."""
    return list(dict.fromkeys(update["epoch"] for update in client.updates(symbol)))


def assert_complete(client: JsClient, symbol: str, *, epochs: int = 1) -> None:
    """Insist that a client got a snapshot and then each update once, in order, without a gap.

    Args:
        client: who got them.
        symbol: whose updates.
        epochs: how many sequences there may be; each but the first one begins with its first.
    """
    updates = client.updates(symbol)
    assert [u["seq"] for u in updates if "snapshot" in u] == [updates[0]["seq"]]
    runs: dict[str, list[int]] = {}
    for update in updates:
        runs.setdefault(update["epoch"], []).append(update["seq"])
    assert len(runs) <= epochs, runs
    for number, seqs in enumerate(runs.values()):
        first = 1 if number else seqs[0]
        assert seqs == list(range(first, first + len(seqs))), (symbol, runs)


def assert_all_complete(clients: Sequence[JsClient], *, epochs: int = 1) -> None:
    """Insist on it for each client and symbol."""
    for client in clients:
        for symbol in SYMBOLS:
            assert_complete(client, symbol, epochs=epochs)
