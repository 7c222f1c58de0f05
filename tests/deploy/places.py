"""On which node a client is, asked at each node by itself."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import aiohttp

from tests.acceptance.crowd import JsClient
from tests.support.processes import Server


class Place(NamedTuple):
    """Where a client is connected."""

    #: The node.
    server: Server
    #: What the node knows of the client (`GET /api/stats/clients/<id>`).
    client: dict[str, Any]


async def find(client_id: str, servers: Iterable[Server]) -> Place:
    """Return the node that has this client; exactly one must."""
    found = []
    async with aiohttp.ClientSession() as session:
        for server in servers:
            async with session.get(f"{server.url}/api/stats/clients/{client_id}") as response:
                if response.status == 200:
                    found.append(Place(server, await response.json()))
    assert len(found) == 1, f"{client_id} is on {len(found)} nodes"
    return found[0]


async def place_of(client: JsClient, servers: Iterable[Server]) -> Place:
    """Return where a client is that has been welcomed, by its latest welcome."""
    welcome = client.events("connected")[-1][0]
    return await find(welcome["clientId"], servers)
