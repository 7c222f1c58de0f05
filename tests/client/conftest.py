"""A server that does what a test tells it to."""

from collections.abc import AsyncIterator

import pytest

from tests.support.quote_server import QuoteServer, quote_server


@pytest.fixture
async def server() -> AsyncIterator[QuoteServer]:
    async with quote_server() as running:
        yield running
