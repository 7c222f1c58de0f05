"""Fixtures for tests of stores."""

from collections.abc import AsyncIterator

import pytest

from tests.storage.stores import StoreUnderTest, memory_store, redis_store


@pytest.fixture(params=["memory", "redis"])
async def under_test(request: pytest.FixtureRequest) -> AsyncIterator[StoreUnderTest]:
    """Each kind of store in turn, empty."""
    if request.param == "memory":
        opened = memory_store()
    else:
        opened = redis_store(request.getfixturevalue("redis_url"))
    async with opened as store:
        yield store
