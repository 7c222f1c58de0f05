"""A server that is killed at any moment has kept all that it acknowledged, and each change once.

``KILLS`` in the environment says how often each is killed; the suite's own number is small.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from random import Random
from typing import Any

import aiohttp
import pytest

from tests.support.processes import Server, running_server

KILLS = int(os.environ.get("KILLS", "3"))
#: A page of history tells so many versions at most.
MOST_VERSIONS = 1_000
#: Answers that a life lasts, about; what has been under way meanwhile is anybody's guess.
LIFE = 30


class Device:
    """Sends one change after the other, and each again until it is answered."""

    def __init__(self, number: int, documents: int) -> None:
        self._number = number
        self._names = [f"d{number}.{each}" for each in range(documents)]
        self._versions = dict.fromkeys(self._names, 0)
        self._numbers = count(1)
        self._batch: list[dict[str, Any]] = []
        #: What was acknowledged, by document, in order.
        self.acknowledged: dict[str, list[str]] = {name: [] for name in self._names}

    async def send(self, session: aiohttp.ClientSession, url: str) -> None:
        """Send a batch of changes, of which it is not known whether they have been sent before."""
        self._batch = self._batch or [self._change(name) for name in self._names]
        async with session.post(f"{url}/api/sync", json={"items": self._batch}) as response:
            assert response.status == 200, await response.text()
            results = (await response.json())["results"]
        for item, result in zip(self._batch, results, strict=True):
            assert result["status"] in ("applied", "duplicate"), result
            assert result["version"]["version"] == item["baseVersion"] + 1
            self._versions[item["documentId"]] += 1
            self.acknowledged[item["documentId"]].append(item["id"])
        self._batch = []

    def _change(self, name: str) -> dict[str, Any]:
        number = next(self._numbers)
        return {
            "id": f"{self._number}-{number}",
            "type": "note",
            "documentId": name,
            "data": {"n": number},
            "baseVersion": self._versions[name],
            "timestamp": number,
        }


@asynccontextmanager
async def server_of(database_url: str) -> AsyncIterator[Server]:
    settings = {
        "DATABASE_URL": database_url,
        "SYNC_HISTORY": "10000",
        "MAX_SYNCS_PER_SECOND": "100000",
        "MAX_REQUESTS_PER_SECOND": "100000",
    }
    env = {f"STOCKSTREAM_{name}": value for name, value in settings.items()}
    async with running_server(env=env) as server:
        yield server


async def send_until_it_is_gone(device: Device, server: Server) -> None:
    async with aiohttp.ClientSession() as session:
        try:
            while True:
                await device.send(session, server.url)
        except aiohttp.ClientError:
            assert not server.child.running


async def check(session: aiohttp.ClientSession, server: Server, device: Device) -> None:
    """Each document's history is what was acknowledged, then at most what was under way."""
    for name, acknowledged in device.acknowledged.items():
        url = f"{server.url}/api/sync/history/note/{name}?limit={MOST_VERSIONS}"
        async with session.get(url) as response:
            page = await response.json() if response.status == 200 else {"versions": []}
        kept = [each["itemId"] for each in reversed(page["versions"])]
        under_way = [each for each in kept[-1:] if each not in acknowledged[-1:]]
        assert kept == (acknowledged + under_way)[-MOST_VERSIONS:]


@pytest.mark.timeout(60 + 5 * KILLS)
async def test_nothing_that_was_acknowledged_is_lost_when_a_server_is_killed(
    database_url: str,
) -> None:
    random = Random(KILLS)
    devices = [Device(number, documents=1 + number) for number in range(4)]
    for _ in range(KILLS):
        async with server_of(database_url) as server:
            async with aiohttp.ClientSession() as session:
                for device in devices:
                    await check(session, server, device)
            before = total(devices)
            sending = [
                asyncio.create_task(send_until_it_is_gone(device, server)) for device in devices
            ]
            while total(devices) < before + LIFE:
                assert server.child.running, server.child.output()
                await asyncio.sleep(0.001)
            # Anywhere in whatever it does then.
            await asyncio.sleep(random.random() * 0.02)
            server.child.kill()
            await asyncio.gather(*sending)
    async with server_of(database_url) as server, aiohttp.ClientSession() as session:
        for device in devices:
            await device.send(session, server.url)
            await check(session, server, device)
    assert total(devices) >= KILLS * LIFE


def total(devices: list[Device]) -> int:
    return sum(len(ids) for device in devices for ids in device.acknowledged.values())
