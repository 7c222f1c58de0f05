"""The JavaScript clients and the usual server of the acceptance tests."""

from collections.abc import AsyncIterator

import pytest

from tests.acceptance.crowd import WAYS, Crowd, Way, running_crowd
from tests.support.processes import Server, running_server

#: Prices change at every tick and come often: what takes a minute for people takes seconds here.
BUSY = {
    "STOCKSTREAM_UPDATE_INTERVAL": "0.05",
    "STOCKSTREAM_SIMULATED_CHANGE_PROBABILITY": "1",
    "STOCKSTREAM_MAX_CONNECTIONS_PER_ADDRESS": "1000",
    "STOCKSTREAM_SUBSCRIPTION_TIMEOUT": "0.2",
}


@pytest.fixture
async def crowd() -> AsyncIterator[Crowd]:
    """A process that connects JavaScript clients."""
    async with running_crowd() as clients:
        yield clients


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """A server with a busy simulated market."""
    async with running_server(env=BUSY) as running:
        yield running


@pytest.fixture(params=WAYS, ids=str)
def way(request: pytest.FixtureRequest) -> Way:
    """Each version of the client, each way to connect."""
    found: Way = request.param
    return found


@pytest.fixture
async def lazy_server() -> AsyncIterator[Server]:
    """A server with a market in which every third quote brings a new price."""
    lazy = {**BUSY, "STOCKSTREAM_SIMULATED_CHANGE_PROBABILITY": "0.34"}
    async with running_server(env=lazy) as running:
        yield running
