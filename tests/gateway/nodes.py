"""A node in this very process, and clients that speak to it over real sockets."""

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

import aiohttp

from stockstream.app import Node
from stockstream.config import Settings
from stockstream.model import Symbol
from stockstream.serving import running_node
from tests.support.providers import FakePoller, FakeProvider
from tests.support.wire_client import Endpoint, Socket


@dataclass(frozen=True, kw_only=True)
class Running:
    """A node and how to reach it."""

    node: Node
    #: What it is told about prices.
    poller: FakePoller
    url: str
    http: aiohttp.ClientSession

    async def get(
        self, path: str, method: str = "GET", headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any]:
        """Return status and JSON of a request."""
        async with self.http.request(method, self.url + path, headers=headers) as response:
            return response.status, await response.json()

    @asynccontextmanager
    async def opened(self, headers: Mapping[str, str] | None = None) -> AsyncIterator[Socket]:
        """Open a WebSocket session, without connecting to a namespace."""
        port = urlsplit(self.url).port
        assert port is not None
        async with Endpoint(port).websocket(headers=headers) as socket:
            assert (await socket.receive_text()).startswith("0{")
            yield socket

    @asynccontextmanager
    async def client(self, auth: object = None) -> AsyncIterator["Client"]:
        """Connect over WebSocket; the first event has been taken."""
        async with self.opened() as socket:
            await socket.connect(auth="" if auth is None else json.dumps(auth))
            client = Client(socket)
            client.welcome = await client.event("connected")
            yield client


class Client:
    """A Socket.IO client, packet by packet."""

    def __init__(self, socket: Socket) -> None:
        self._socket = socket
        self._numbers = itertools.count()
        self.welcome: dict[str, Any] = {}
        #: Every event that came, in order.
        self.events: list[tuple[str, Any]] = []
        #: How many of each name were handed out.
        self._taken: Counter[str] = Counter()

    @property
    def id(self) -> str:
        """Its id, as the server told it."""
        client_id: str = self.welcome["clientId"]
        return client_id

    @property
    def close_code(self) -> int | None:
        """How the server closed the WebSocket; None while it is open."""
        code: int | None = self._socket._websocket.close_code
        return code

    async def send(self, event: str, *payload: Any) -> None:
        """Send an event without asking for an acknowledgement."""
        await self._socket.send("42" + json.dumps([event, *payload]))

    async def ask(self, event: str, *payload: Any) -> Any:
        """Send an event and return its acknowledgement."""
        number = next(self._numbers)
        await self._socket.send(f"42{number}" + json.dumps([event, *payload]))
        while True:
            packet = await self._socket.receive_text()
            if packet.startswith(f"43{number}["):
                answers = json.loads(packet[2 + len(str(number)) :])
                return answers[0] if answers else None
            self._note(packet)

    async def event(self, name: str) -> Any:
        """Return the payload of the next event of that name, which may have come already."""
        number = self._taken[name]
        while len(self.payloads(name)) <= number:
            self._note(await self._socket.receive_text())
        self._taken[name] += 1
        return self.payloads(name)[number]

    def payloads(self, name: str) -> list[Any]:
        """Return the payloads of the events of that name that came so far."""
        return [payload for came, payload in self.events if came == name]

    def _note(self, packet: str) -> None:
        assert packet.startswith("42"), packet
        name, payload, *_ = json.loads(packet[2:])
        self.events.append((name, payload))


def settings(**values: Any) -> Settings:
    """Return settings on a free port, the given ones among them."""
    defaults = {"host": "127.0.0.1", "port": 0, "node_id": "test-node", "update_interval": 0.05}
    return Settings(**{**defaults, **values})


@contextmanager
def provided(provider: FakeProvider) -> Iterator[None]:
    """Have nodes get their prices from this provider."""
    with patch("stockstream.app.open_provider", return_value=provider):
        yield


@asynccontextmanager
async def running(
    provider: FakeProvider | None = None, *, alone: bool = True, **values: Any
) -> AsyncIterator[Running]:
    """Run a node with these settings; where it is alone, it must leave no task behind.

    Unless told otherwise, its provider says that AAPL is at 10 and MSFT at 20.
    """
    before = asyncio.all_tasks()
    poller = FakePoller()
    poller.prices = {Symbol("AAPL"): 10.0, Symbol("MSFT"): 20.0}
    with provided(provider or FakeProvider(poller=poller)):
        async with running_node(settings(**values)) as (node, url), aiohttp.ClientSession() as http:
            yield Running(node=node, poller=poller, url=url, http=http)
    # Connections of clients take a moment to end.
    if alone:
        await until(lambda: asyncio.all_tasks() <= before)


async def until(condition: Callable[[], bool]) -> None:
    """Return once it is so; the test's own timeout is the limit."""
    while not condition():
        await asyncio.sleep(0.001)
