"""What the server says over HTTP."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from tests.support.processes import DEADLINE, POLL_INTERVAL

Stats = dict[str, Any]


async def get(url: str) -> tuple[int, Any]:
    """Return status and JSON body."""
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return response.status, await response.json()


async def stats(url: str) -> Stats:
    """Return the documented statistics."""
    status, body = await get(f"{url}/api/stats")
    assert status == 200, body
    found: Stats = body
    return found


async def stats_when(url: str, condition: Callable[[Stats], object], what: str) -> Stats:
    """Wait until the statistics meet a condition, and return them."""
    deadline = time.monotonic() + DEADLINE
    while not condition(found := await stats(url)):
        assert time.monotonic() < deadline, f"waited in vain for {what}: {found}"
        await asyncio.sleep(POLL_INTERVAL)
    return found


async def metrics(url: str) -> dict[str, float]:
    """Return the samples of the Prometheus page; labels are part of the name."""
    async with aiohttp.ClientSession() as session, session.get(f"{url}/metrics") as response:
        assert response.status == 200
        page = await response.text()
    return {
        sample.name + "".join(f"|{key}={value}" for key, value in sorted(sample.labels.items())): (
            sample.value
        )
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


async def conflated(url: str) -> int:
    """Return how many updates were replaced by later ones because a client could not take them."""
    return round((await metrics(url))["stockstream_engine_total|what=conflated"])
