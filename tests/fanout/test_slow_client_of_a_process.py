"""A client that stops reading, before `stockstream serve` with a busy market and usual buffers."""

import asyncio
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from tests.acceptance.http import get, metrics
from tests.fanout.client import Client, connected
from tests.support.processes import POLL_INTERVAL, Server, running_server

SYMBOLS = [f"S{number}" for number in range(60)]
BUSY = {
    "STOCKSTREAM_UPDATE_INTERVAL": "0.05",
    "STOCKSTREAM_SIMULATED_CHANGE_PROBABILITY": "1",
    # However slow the machine is.
    "STOCKSTREAM_SLOW_CONSUMER_TIMEOUT": "600",
}
#: Bytes by which the server's memory may grow while a client is stalled: its own buffers, and what
#: Python's allocator needs to settle. The updates that the client is not given are many times that.
GROWTH = 16_000_000


@pytest.mark.slow
async def test_stalled_client_costs_little_and_sees_the_newest_prices_when_it_reads_again() -> None:
    async with running_server(env=BUSY) as server:
        port = urlsplit(server.url).port
        assert port is not None
        async with connected(port) as slow, connected(port, narrow=False) as reader:
            for client in (slow, reader):
                client.subscribe(*SYMBOLS)
                await client.answered()
            slow.stop_reading()
            await conflated_until(server, 500)
            process = psutil.Process(server.child.pid)
            before = process.memory_info().rss
            await conflated_until(server, 3_000)
            assert process.memory_info().rss - before < GROWTH

            newest = {symbol: reader.seqs(symbol)[-1] for symbol in SYMBOLS}
            slow.read_on()
            await slow.until(lambda: has_reached(slow, newest), "the newest prices")

            slow.unsubscribe(*SYMBOLS)
            await slow.answered()
            info = await info_of(server, slow)
            # What was waiting when it unsubscribed was counted, and is missing nowhere.
            assert 0 < sum(gaps(slow, symbol) for symbol in SYMBOLS) <= info["conflated"]
            assert info["dropped"] == 0
            assert sum(gaps(reader, symbol) for symbol in SYMBOLS) == 0


async def conflated_until(server: Server, count: int) -> None:
    """Wait until so many updates were replaced by later ones."""
    while (await metrics(server.url))["stockstream_engine_total|what=conflated"] < count:
        await asyncio.sleep(POLL_INTERVAL)


async def info_of(server: Server, client: Client) -> dict[str, Any]:
    status, info = await get(f"{server.url}/api/stats/clients/{client.id}")
    assert status == 200
    found: dict[str, Any] = info
    return found


def has_reached(client: Client, newest: dict[str, int]) -> bool:
    return all(max(client.seqs(symbol), default=0) >= seq for symbol, seq in newest.items())


def gaps(client: Client, symbol: str) -> int:
    """Return how many numbers are missing, and insist that they only grow."""
    steps = [later - sooner for sooner, later in pairwise(client.seqs(symbol))]
    assert min(steps) >= 1
    return sum(steps) - len(steps)
