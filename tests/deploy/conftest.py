"""Three nodes, and the load balancers in front of them."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from tests.acceptance.crowd import Crowd, running_crowd
from tests.deploy.balancers import RUNNING, Balancer
from tests.support.processes import Server, running_server
from tests.support.redis_server import running_redis

#: Prices change at every tick. Only the balancer is trusted: it connects from 127.0.0.1.
SETTINGS = {
    "STOCKSTREAM_UPDATE_INTERVAL": "0.1",
    "STOCKSTREAM_SIMULATED_CHANGE_PROBABILITY": "1",
    "STOCKSTREAM_TRUSTED_PROXIES": "127.0.0.1/32",
}


@asynccontextmanager
async def running_nodes(count: int = 3) -> AsyncIterator[list[Server]]:
    """Run so many servers with a Redis of their own; they start at the same time."""
    async with AsyncExitStack() as stack:
        redis = stack.enter_context(running_redis())
        env = {**SETTINGS, "STOCKSTREAM_REDIS_URL": redis.url}
        starting = (stack.enter_async_context(running_server(env=env)) for _ in range(count))
        nodes = await asyncio.gather(*starting)
        yield nodes
        # They drain at the same time, too.
        for node in nodes:
            node.child.terminate()


@pytest.fixture(scope="session")
def shared_nodes() -> Iterator[list[Server]]:
    """Three nodes for the whole run, for tests that leave them as they are."""
    # The nodes are processes: they belong to no event loop, only waiting for them needs one.
    with asyncio.Runner() as runner:
        context = running_nodes()
        yield runner.run(context.__aenter__())
        runner.run(context.__aexit__(None, None, None))


@pytest.fixture
async def own_nodes() -> AsyncIterator[list[Server]]:
    """Three nodes that a test may kill."""
    async with running_nodes() as nodes:
        yield nodes


@pytest.fixture(params=RUNNING)
def kind(request: pytest.FixtureRequest) -> str:
    """Each load balancer."""
    name: str = request.param
    return name


@pytest.fixture
def balancer(kind: str, shared_nodes: list[Server], tmp_path: Path) -> Iterator[Balancer]:
    """Each load balancer, in front of the shared nodes."""
    with RUNNING[kind]([node.url for node in shared_nodes], tmp_path) as running:
        yield running


@pytest.fixture
async def crowd() -> AsyncIterator[Crowd]:
    """A process that connects JavaScript clients."""
    async with running_crowd() as clients:
        yield clients
