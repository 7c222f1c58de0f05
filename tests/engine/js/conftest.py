"""The servers and the JavaScript clients."""

import pytest

from tests.support.js_client import ClientKind
from tests.support.target_fixtures import (
    brisk,
    engine_process,
    node_process,
    ordinary,
    short,
)
from tests.support.target_process import TargetProcess, missing_for_node

__all__ = ["brisk", "engine_process", "node_process", "ordinary", "short", "target"]

KINDS = [
    ClientKind(version=version, transports=transports, upgrade=len(transports) == 2)
    for version in (4, 3)
    for transports in (("polling",), ("websocket",), ("polling", "websocket"))
]


@pytest.fixture(params=["node", "engine"])
def target(request: pytest.FixtureRequest) -> TargetProcess:
    """The reference, where it is asked for, and our engine as it is meant to be run."""
    process: TargetProcess = request.getfixturevalue(f"{request.param}_process")
    return process


@pytest.fixture(autouse=True)
def needs_node() -> None:
    """Skip where there is no node: the clients run in it."""
    if missing := missing_for_node():
        pytest.skip(missing)


@pytest.fixture(params=KINDS, ids=str)
def kind(request: pytest.FixtureRequest) -> ClientKind:
    """Each version over each transport."""
    found: ClientKind = request.param
    return found
