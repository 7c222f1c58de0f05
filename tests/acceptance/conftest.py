"""The JavaScript clients and the usual server of the acceptance tests."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from stockstream.providers.tick_file import HEADER
from tests.acceptance.crowd import WAYS, Crowd, Way, running_crowd
from tests.support.processes import Server, running_server

#: Prices change at every tick and come often: what takes a minute for people takes seconds here.
BUSY = {
    "STOCKSTREAM_UPDATE_INTERVAL": "0.05",
    "STOCKSTREAM_SIMULATED_CHANGE_PROBABILITY": "1",
    "STOCKSTREAM_MAX_CONNECTIONS_PER_ADDRESS": "1000",
    "STOCKSTREAM_SUBSCRIPTION_TIMEOUT": "0.2",
}


@asynccontextmanager
async def shown_server(*args: str, **settings: str) -> AsyncIterator[Server]:
    """Run a busy server with further settings; pytest shows its output where a test fails."""
    env = {f"STOCKSTREAM_{name.upper()}": value for name, value in settings.items()}
    async with running_server(*args, env={**BUSY, **env}) as running:
        try:
            yield running
        finally:
            sys.stdout.write(running.child.output())


@pytest.fixture
async def crowd() -> AsyncIterator[Crowd]:
    """A process that connects JavaScript clients."""
    async with running_crowd() as clients:
        yield clients


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """A server with a busy simulated market."""
    async with shown_server() as running:
        yield running


@pytest.fixture(params=WAYS, ids=str)
def way(request: pytest.FixtureRequest) -> Way:
    """Each version of the client, each way to connect."""
    found: Way = request.param
    return found


@pytest.fixture
async def lazy_server() -> AsyncIterator[Server]:
    """A server with a market in which every third quote brings a new price."""
    async with shown_server(simulated_change_probability="0.34") as running:
        yield running


@pytest.fixture
async def burst_server(tmp_path: Path) -> AsyncIterator[Server]:
    """A server that plays 200 prices of EURUSD within two seconds, the last of them 1.5, and ends.

    The first price stands for a second, so that clients can subscribe before the burst.
    """
    recording = tmp_path / "burst.csv"
    burst = [f"{1_400_000_001_000 + 10 * n},EURUSD,{1.2 + n / 1e4:.4f},,," for n in range(200)]
    first, last = "1400000000000,EURUSD,1.1,,,", "1400000003010,EURUSD,1.5,,,"
    recording.write_text("\n".join([HEADER, first, *burst, last]) + "\n")
    async with shown_server("--provider", "replay", "--replay-file", str(recording)) as running:
        yield running


@pytest.fixture
async def patient() -> AsyncIterator[Server]:
    """A server that keeps streaming for long after the last client left."""
    async with shown_server(subscription_timeout="600") as running:
        yield running
