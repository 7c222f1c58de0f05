"""Nodes that tests of the doors share."""

from collections.abc import AsyncIterator

import pytest

from tests.gateway.nodes import Running, running
from tests.support.tokens import SECRET


@pytest.fixture
async def guarded() -> AsyncIterator[Running]:
    """A node that asks for tokens."""
    async with running(auth="jwt", jwt_secret=SECRET, jwt_leeway=0, alone=False) as node:
        yield node
