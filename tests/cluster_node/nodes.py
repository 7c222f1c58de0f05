"""Nodes of one cluster, each a process of its own, and what they say of themselves."""

import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from tests.support.processes import DEADLINE, Server, running_server, wait_until_true

#: Prices change at every tick, ten times a second, and failover is as quick as it is for everybody.
BUSY = {
    "STOCKSTREAM_UPDATE_INTERVAL": "0.1",
    "STOCKSTREAM_SIMULATED_CHANGE_PROBABILITY": "1",
    "STOCKSTREAM_SUBSCRIPTION_TIMEOUT": "2",
    "STOCKSTREAM_SHUTDOWN_TIMEOUT": "5",
}
SYMBOLS = tuple(f"S{number}" for number in range(12))


@asynccontextmanager
async def running_nodes(redis_url: str, count: int, **settings: str) -> AsyncIterator[list[Server]]:
    """Run nodes; pytest shows their output where a test fails."""
    env = {f"STOCKSTREAM_{name.upper()}": value for name, value in settings.items()}
    async with AsyncExitStack() as stack:
        nodes = [
            await stack.enter_async_context(node(redis_url, f"n{number}", **env))
            for number in range(count)
        ]
        yield nodes


@asynccontextmanager
async def node(redis_url: str, name: str, **env: str) -> AsyncIterator[Server]:
    """Run one node."""
    own = {"STOCKSTREAM_REDIS_URL": redis_url, "STOCKSTREAM_NODE_ID": name}
    async with running_server(env={**BUSY, **own, **env}) as server:
        try:
            yield server
        finally:
            sys.stdout.write(server.child.output())


def port_of(server: Server) -> int:
    port = urlsplit(server.url).port
    assert port is not None
    return port


async def metrics(server: Server) -> dict[str, float]:
    """Return the metrics of a node by name and labels, without the prefix."""
    async with aiohttp.ClientSession() as session, session.get(f"{server.url}/metrics") as answer:
        page = await answer.text()
    lines = [line.rpartition(" ") for line in page.splitlines() if not line.startswith("#")]
    return {name.removeprefix("stockstream_"): float(value) for name, _, value in lines}


async def readiness(server: Server) -> tuple[int, dict[str, Any]]:
    """Return the status of /readyz, and the dependencies by name."""
    async with aiohttp.ClientSession() as session, session.get(f"{server.url}/readyz") as answer:
        return answer.status, (await answer.json())["dependencies"]


async def owned(nodes: Sequence[Server]) -> list[float]:
    """Return how many partitions each node owns."""
    return [(await metrics(each))["cluster_partitions_owned"] for each in nodes]


async def settled(nodes: Sequence[Server], total: int = 64) -> None:
    """Wait until everything is owned, and shared evenly."""

    async def even() -> bool:
        counts = await owned(nodes)
        return sum(counts) == total and max(counts) - min(counts) <= 1

    await wait_until_true(even, "partitions shared evenly", DEADLINE)
