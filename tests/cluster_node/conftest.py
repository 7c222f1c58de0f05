"""The process of the JavaScript clients."""

from collections.abc import AsyncIterator

import pytest

from tests.recovery.clients import Crowd, running_crowd


@pytest.fixture
async def crowd() -> AsyncIterator[Crowd]:
    """A process that connects JavaScript clients."""
    async with running_crowd() as clients:
        yield clients
