"""Fixtures that run a test against the reference server and against our engine.

A conftest takes them over by importing them by name.
"""

from collections.abc import Iterator

import pytest

from tests.support.target_process import (
    TargetProcess,
    engine_target,
    missing_for_node,
    node_target,
)
from tests.support.wire_client import Endpoint


def engine_only(reason: str) -> pytest.MarkDecorator:
    """Run a test against our engine alone; `reason` says what the reference does instead."""
    assert reason
    return pytest.mark.parametrize("target", ["engine", "attached"], indirect=True)


@pytest.fixture(scope="session")
def node_process() -> Iterator[TargetProcess]:
    """The reference server, started once."""
    if missing := missing_for_node():
        pytest.skip(missing)
    with node_target() as process:
        yield process


@pytest.fixture(scope="session")
def engine_process() -> Iterator[TargetProcess]:
    """Our engine, started once."""
    with engine_target() as process:
        yield process


@pytest.fixture(scope="session")
def attached_process() -> Iterator[TargetProcess]:
    """The same, but aiohttp reads the handshakes of WebSockets as well."""
    with engine_target("attached") as process:
        yield process


# Not parametrized for the session: in random order the servers would be restarted all the time.
@pytest.fixture(params=["node", "engine", "attached"])
def target(request: pytest.FixtureRequest) -> TargetProcess:
    """Each of the servers in turn; the reference only where `--reference` asks for it."""
    process: TargetProcess = request.getfixturevalue(f"{request.param}_process")
    return process


@pytest.fixture
def ordinary(target: TargetProcess) -> Endpoint:
    """Pings every 25 s: what closes here within seconds was not closed by the heartbeat."""
    return Endpoint(target.port("ordinary"))


@pytest.fixture
def short(target: TargetProcess) -> Endpoint:
    """Pings every 300 ms, 200 ms for the answer."""
    return Endpoint(target.port("short"))


@pytest.fixture
def brisk(target: TargetProcess) -> Endpoint:
    """Pings every 3 s, 3 s for the answer.

    A JavaScript client whose WebSocket breaks just when it has given up polling for it notices
    nothing before.
    """
    return Endpoint(target.port("brisk"))


@pytest.fixture
def deadlines(target: TargetProcess) -> Endpoint:
    """Ordinary pings; CONNECT, upgrade, headers and bodies must come within 500 ms."""
    return Endpoint(target.port("deadlines"))
