"""Measures what a year of minutes over HTTP costs: its client, and prices meanwhile."""

import asyncio
import json
import sys
import time
from itertools import pairwise
from statistics import median, quantiles
from typing import NamedTuple

from stockstream.serving import tune_collector
from tests.gateway.nodes import running

#: Reads all pages, `rounds` times, and prints the milliseconds and bytes that each time took.
_CLIENT = """
import http.client, json, re, sys, time
host, path, coding, rounds = json.loads(sys.argv[1])
connection = http.client.HTTPConnection(host)
taken = []
for _ in range(rounds):
    begin, size, following = time.perf_counter(), 0, path
    while following:
        connection.request("GET", following, headers={"Accept-Encoding": coding})
        answer = connection.getresponse()
        size += len(answer.read())
        assert answer.status == 200, answer.status
        link = re.search("<([^>]*)>", answer.getheader("Link", ""))
        following = link and re.sub("^https?://[^/]*", "", link[1])
    taken.append([(time.perf_counter() - begin) * 1_000, size])
print(json.dumps(taken))
"""
#: Seconds between two looks at how late the event loop is.
_TURN = 0.001


class OverHttp(NamedTuple):
    """What a client waits for all pages, what they weigh, and how late everything else is."""

    ms: float
    megabytes: float
    #: ms that a turn of the server's event loop was late: 99 %, and the longest.
    late: float
    latest: float


async def over_http(url: str, path: str, rounds: int, coding: str = "identity") -> OverHttp:
    """Ask a node with this history for all pages; the client is a process of its own."""
    async with running(alone=False, history_url=url, max_requests_per_second=10_000) as node:
        # As a server does it.
        tune_collector()
        turns = asyncio.create_task(_turns())
        order = json.dumps([node.url.partition("//")[2], path, coding, rounds + 1])
        client = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _CLIENT, order, stdout=asyncio.subprocess.PIPE
        )
        out, _ = await client.communicate()
        turns.cancel()
        late = await turns
    # The first time, the server has to open its database.
    taken = json.loads(out)[1:]
    return OverHttp(
        ms=median(ms for ms, _ in taken),
        megabytes=taken[0][1] / 1_000_000,
        late=quantiles(late, n=100)[98],
        latest=max(late),
    )


async def _turns() -> list[float]:
    """Until cancelled, look at the time every turn; return how late each look was, in ms."""
    looks = [time.perf_counter()]
    try:
        while True:
            await asyncio.sleep(_TURN)
            looks.append(time.perf_counter())
    except asyncio.CancelledError:
        return [(later - one - _TURN) * 1_000 for one, later in pairwise(looks)]
