"""An engine of a test's own on a real port, and a small client for it."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web
from yarl import URL

from stockstream.engine import AsyncServer


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition; the test's timeout is the limit."""
    while not condition():
        await asyncio.sleep(0.005)


class Client:
    """A WebSocket client that speaks packets."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.sid = ""

    async def send(self, *packets: str | bytes) -> None:
        for packet in packets:
            if isinstance(packet, str):
                await self.socket.send_str(packet)
            else:
                await self.socket.send_bytes(packet)

    async def receive(self) -> Any:
        """Return the next packet, None at the end."""
        message = await self.socket.receive()
        closing = {aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSING}
        return None if message.type in closing | {aiohttp.WSMsgType.ERROR} else message.data

    async def connect(self, packet: str = "40") -> None:
        """Connect to a namespace."""
        await self.send(packet)
        answer = await self.receive()
        assert answer is not None
        assert answer.startswith("40"), answer
        self.sid = json.loads(answer[answer.index("{") :])["sid"]


class Served:
    """A server and its address."""

    def __init__(self, server: AsyncServer, port: int, session: aiohttp.ClientSession) -> None:
        self.server = server
        self.url = f"http://127.0.0.1:{port}/socket.io/"
        self.http = session

    @asynccontextmanager
    async def opened(self, **headers: str) -> AsyncIterator[Client]:
        """Open a WebSocket session."""
        url = self.url + "?EIO=4&transport=websocket"
        async with self.http.ws_connect(url, headers=headers) as socket:
            client = Client(socket)
            assert (await client.receive()).startswith("0{")
            yield client

    @asynccontextmanager
    async def connected(self, **headers: str) -> AsyncIterator[Client]:
        """Open a WebSocket session and connect to the main namespace."""
        async with self.opened(**headers) as client:
            await client.connect()
            yield client

    async def polling(self) -> str:
        """Open a polling session; returns the URL with its id."""
        async with self.http.get(self.url + "?EIO=4&transport=polling") as response:
            opening = await response.text()
        sid = json.loads(opening[1:])["sid"]
        return f"{self.url}?EIO=4&transport=polling&sid={sid}"

    def is_empty(self) -> bool:
        """Whether the server remembers no client."""
        return not self.server.eio.hub.sessions and not list(self.server.manager.get_namespaces())


async def open_raw(
    url: str, offer: str = ""
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, str]:
    """Shake hands by hand; returns the head of the answer, too."""
    reader, writer = await asyncio.open_connection("127.0.0.1", URL(url).port)
    writer.write(
        b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: test\r\n"
        b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
        + offer.encode()
        + b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEA==\r\n\r\n"
    )
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    await reader.readuntil(b"}")
    return reader, writer, head


@asynccontextmanager
async def serve(
    server: AsyncServer,
    *,
    middlewares: tuple[Any, ...] = (),
    runner: Callable[..., web.AppRunner] | None = None,
    **options: Any,
) -> AsyncIterator[Served]:
    """Serve on a free port, by a runner of the engine's or by aiohttp's own."""
    app = web.Application(middlewares=middlewares)
    server.attach(app)
    running = runner(app, [server], **options) if runner else web.AppRunner(app, **options)
    await running.setup()
    try:
        await web.TCPSite(running, "127.0.0.1", 0).start()
        async with aiohttp.ClientSession() as session:
            served = Served(server, running.addresses[0][1], session)
            yield served
    finally:
        await running.cleanup()
