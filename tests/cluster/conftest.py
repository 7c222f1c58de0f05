"""Redis of each kind, and links to it."""

from collections.abc import AsyncIterator, Iterator
from typing import Final

import pytest

from stockstream.cluster.link import RedisLink, open_link
from tests.support.redis_cluster import RedisClusterServers, running_cluster

#: Seconds that a call of Redis may take: what a busy machine needs is no fault.
_TIMEOUT: Final = 20.0


@pytest.fixture(scope="session")
def shared_cluster() -> Iterator[RedisClusterServers]:
    """One Redis Cluster for the whole run; ask for `cluster_servers` instead."""
    with running_cluster() as servers:
        yield servers


@pytest.fixture
def cluster_servers(shared_cluster: RedisClusterServers) -> RedisClusterServers:
    """A running, empty Redis Cluster of three masters."""
    shared_cluster.flush()
    return shared_cluster


@pytest.fixture(params=["single", "cluster"])
async def link(request: pytest.FixtureRequest) -> AsyncIterator[RedisLink]:
    """A link to an empty Redis, of each kind in turn."""
    if request.param == "single":
        url = request.getfixturevalue("redis_url")
    else:
        url = request.getfixturevalue("cluster_servers").url
    async with open_link(url, timeout=_TIMEOUT) as opened:
        yield opened


@pytest.fixture
async def single(redis_url: str) -> AsyncIterator[RedisLink]:
    """A link to an empty Redis."""
    async with open_link(redis_url, timeout=_TIMEOUT) as opened:
        yield opened
