"""Fixtures for all tests."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support.postgres_server import PostgresServer, running_postgres
from tests.support.recordings import RECORDED_DAY, RECORDINGS
from tests.support.redis_server import RedisServer, running_redis
from tests.support.timescale_server import TimescaleServer, running_timescale

# No server that a test starts leaves a file behind, or reads what another one left.
os.environ.setdefault("STOCKSTREAM_HISTORY_URL", "memory")

# Neither a slow example nor a slow machine makes a test fail; the test's own timeout bounds both.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.fixture(scope="session", autouse=True)
def _own_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What servers keep where nothing else is said is the run's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--reference",
        action="store_true",
        help="run the engine's cases against Node's own socket.io server as well",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the reference out unless it is asked for: it checks the cases, not this server."""
    if config.getoption("--reference"):
        return
    kept = [item for item in items if not _is_reference(item)]
    if len(kept) < len(items):
        config.hook.pytest_deselected(items=[item for item in items if _is_reference(item)])
        items[:] = kept


def _is_reference(item: pytest.Item) -> bool:
    callspec = getattr(item, "callspec", None)
    return callspec is not None and callspec.params.get("target") == "node"


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("recordings") and not RECORDED_DAY.exists():
        pytest.skip(f"needs {RECORDED_DAY.name} in ../shared/data")


@pytest.fixture
def recordings() -> Path:
    """The folder with the recorded data, for tests that are marked `recordings`."""
    return RECORDINGS


@pytest.fixture(scope="session")
def shared_redis() -> Iterator[RedisServer]:
    """One Redis for the whole run; ask for `redis_server` instead."""
    with running_redis() as server:
        yield server


@pytest.fixture
def redis_server(shared_redis: RedisServer) -> RedisServer:
    """A running, empty Redis. Tests that stop or pause one use `running_redis` for their own."""
    shared_redis.flush()
    return shared_redis


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """The address of a running, empty Redis."""
    return redis_server.url


@pytest.fixture(scope="session")
def shared_postgres() -> Iterator[PostgresServer]:
    """One PostgreSQL for the whole run; ask for `postgres_url` instead."""
    with running_postgres() as server:
        yield server


@pytest.fixture
def postgres_url(shared_postgres: PostgresServer) -> str:
    """The address of an empty database. Tests that stop a server use `running_postgres`."""
    return shared_postgres.new_database()


@pytest.fixture(scope="session")
def shared_timescale() -> Iterator[TimescaleServer]:
    """One TimescaleDB for the whole run; ask for `timescale_url` instead."""
    with running_timescale() as server:
        yield server


@pytest.fixture
def timescale_url(shared_timescale: TimescaleServer) -> str:
    """The address of a TimescaleDB without any history."""
    shared_timescale.empty()
    return shared_timescale.url
