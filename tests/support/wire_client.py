"""Clients that put exact bytes on the wire: raw HTTP, long-polling and WebSocket."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import aiohttp

#: Seconds after which something that must happen counts as missing: above what a busy
#: machine needs, below the ordinary ping timings (25 s and 20 s), so that no case can
#: pass because of a ping timeout.
PATIENCE = 18.0

SEPARATOR = "\x1e"
POLLING = "EIO=4&transport=polling"
WEBSOCKET = "EIO=4&transport=websocket"


class ClosedByServer(Exception):
    """The server ended the connection while the case waited for a packet."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Response:
    """One HTTP response, read to its end."""

    #: Status code.
    status: int
    #: Header values by lower-case name.
    headers: Mapping[str, str]
    #: The whole body.
    body: bytes

    @property
    def text(self) -> str:
        """The body as UTF-8."""
        return self.body.decode()

    @property
    def packets(self) -> list[str]:
        """The Engine.IO packets of a polling payload."""
        return self.text.split(SEPARATOR)


class Exchange:
    """One HTTP request on a TCP connection of its own, sent as slowly as the case likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take over an open connection."""
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        """Write the bytes as one segment."""
        self._writer.write(data)
        await self._writer.drain()

    async def response(self) -> Response:
        """Read the response; raises `ClosedByServer` when there is none, or half of one."""
        try:
            async with asyncio.timeout(PATIENCE):
                status, headers = await self.response_head()
                return Response(status=status, headers=headers, body=await self._body(headers))
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise ClosedByServer from error

    async def response_head(self) -> tuple[int, dict[str, str]]:
        """Read status and headers and nothing that follows."""
        async with asyncio.timeout(PATIENCE):
            return _parse_head(await self._reader.readuntil(b"\r\n\r\n"))

    async def exactly(self, count: int) -> bytes:
        """Read so many bytes."""
        async with asyncio.timeout(PATIENCE):
            return await self._reader.readexactly(count)

    async def ended(self) -> None:
        """Wait until the server ends the connection, whatever it sends before."""
        async with asyncio.timeout(PATIENCE):
            with contextlib.suppress(ConnectionError):
                while await self._reader.read(65_536):
                    pass

    def abort(self) -> None:
        """Reset the connection."""
        self._writer.transport.abort()

    async def _body(self, headers: Mapping[str, str]) -> bytes:
        if "content-length" in headers:
            return await self._reader.readexactly(int(headers["content-length"]))
        if headers.get("transfer-encoding") == "chunked":
            return b"".join([chunk async for chunk in self._chunks()])
        return await self._reader.read()

    async def _chunks(self) -> AsyncIterator[bytes]:
        while size := int(await self._reader.readline(), 16):
            yield await self._reader.readexactly(size)
            await self._reader.readline()
        await self._reader.readline()


def _parse_head(head: bytes) -> tuple[int, dict[str, str]]:
    status_line, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.split(":", 1) for line in lines if line)
    return int(status_line.split()[1]), {name.lower(): value.strip() for name, value in pairs}


class Endpoint:
    """One listening server."""

    def __init__(self, port: int, *, path: str = "/socket.io/") -> None:
        """Talk to 127.0.0.1:`port`."""
        self.port = port
        self.path = path

    @contextlib.asynccontextmanager
    async def exchange(self) -> AsyncIterator[Exchange]:
        """Open a TCP connection for one hand-made request."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield Exchange(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    def head(self, method: str, query: str, headers: Mapping[str, str] | None = None) -> bytes:
        """Request line and headers, up to the blank line."""
        lines = [f"{method} {self.path}?{query} HTTP/1.1", "Host: test", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        return "\r\n".join([*lines, "", ""]).encode()

    async def request(
        self,
        method: str,
        query: str,
        body: str | bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """Send one request in one piece and read the response."""
        data = body.encode() if isinstance(body, str) else body
        sized = {"Content-Length": str(len(data)), **(headers or {})}
        async with self.exchange() as exchange:
            await exchange.send(self.head(method, query, sized if data else headers) + data)
            return await exchange.response()

    async def handshake(self) -> dict[str, Any]:
        """Open a polling session and return its handshake."""
        response = await self.request("GET", POLLING)
        assert response.status == 200, response
        assert response.text[0] == "0"
        opened: dict[str, Any] = json.loads(response.text[1:])
        return opened

    async def polling(self) -> "Polling":
        """Open a polling session."""
        return Polling(self, (await self.handshake())["sid"])

    async def connected_polling(self, namespace: str = "/") -> "Polling":
        """Open a polling session and connect it to a namespace."""
        session = await self.polling()
        await session.send("40" if namespace == "/" else f"40{namespace},")
        (answer,) = await session.receive()
        assert answer.startswith("40"), answer
        return session

    @contextlib.asynccontextmanager
    async def websocket(
        self, query: str = WEBSOCKET, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator["Socket"]:
        """Open a WebSocket; raises aiohttp.WSServerHandshakeError when it is refused."""
        url = f"http://127.0.0.1:{self.port}{self.path}?{query}"
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(url, headers=headers, max_msg_size=0) as websocket,
        ):
            yield Socket(websocket)

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator["Socket"]:
        """Open a WebSocket session and take its handshake."""
        async with self.websocket() as socket:
            socket.handshake = json.loads((await socket.receive_text())[1:])
            yield socket

    @contextlib.asynccontextmanager
    async def connected(self, namespace: str = "/", auth: str = "") -> AsyncIterator["Socket"]:
        """Open a WebSocket session that is connected to a namespace."""
        async with self.opened() as socket:
            await socket.connect(namespace, auth)
            yield socket


class Polling:
    """One long-polling session."""

    def __init__(self, endpoint: Endpoint, sid: str) -> None:
        """Speak for the session `sid`."""
        self.endpoint = endpoint
        self.sid = sid

    @property
    def query(self) -> str:
        """Query string of each of its requests."""
        return f"{POLLING}&sid={self.sid}"

    async def get(self) -> Response:
        """Poll once."""
        return await self.endpoint.request("GET", self.query)

    async def post(self, body: str | bytes, headers: Mapping[str, str] | None = None) -> Response:
        """Send one payload."""
        typed = {"Content-Type": "text/plain;charset=UTF-8", **(headers or {})}
        return await self.endpoint.request("POST", self.query, body, typed)

    async def send(self, *packets: str) -> None:
        """Send packets and insist on success."""
        response = await self.post(SEPARATOR.join(packets))
        assert (response.status, response.text) == (200, "ok")

    async def receive(self) -> list[str]:
        """Poll once and insist on success."""
        response = await self.get()
        assert response.status == 200, response
        return response.packets

    async def receive_many(self, count: int) -> list[str]:
        """Poll until at least so many packets came."""
        packets: list[str] = []
        while len(packets) < count:
            packets += await self.receive()
        return packets

    @contextlib.asynccontextmanager
    async def pending_poll(self) -> AsyncIterator[Exchange]:
        """Start a poll and leave it open; the server has seen it when the block starts."""
        async with self.endpoint.exchange() as exchange:
            await exchange.send(self.endpoint.head("GET", self.query))
            await self._poll_is_pending()
            yield exchange

    async def _poll_is_pending(self) -> None:
        # Requests of one client are read in the order of their arrival: once this one was
        # answered, the poll before it has been seen. A pong is a packet without effect.
        await self.send("3")

    async def is_closed(self) -> bool:
        """Whether the server has forgotten the session."""
        return (await self.post("3")).status == 400


class Socket:
    """One WebSocket."""

    def __init__(self, websocket: aiohttp.ClientWebSocketResponse) -> None:
        """Take over an open WebSocket."""
        self._websocket = websocket
        #: Engine.IO handshake, once it was taken.
        self.handshake: dict[str, Any] = {}
        #: Socket.IO id, once connected to a namespace.
        self.sid = ""
        #: Whether `receive` answers pings by itself instead of handing them out.
        self.answers_pings = False

    async def send(self, *packets: str | bytes) -> Self:
        """Send each packet in a frame of its own."""
        for packet in packets:
            if isinstance(packet, str):
                await self._websocket.send_str(packet)
            else:
                await self._websocket.send_bytes(packet)
        return self

    async def receive(self) -> str | bytes:
        """Take the next packet; raises `ClosedByServer` when there will be none."""
        async with asyncio.timeout(PATIENCE):
            packet = await self._next_packet()
            while self.answers_pings and packet == "2":
                await self.send("3")
                packet = await self._next_packet()
        return packet

    async def _next_packet(self) -> str | bytes:
        message = await self._websocket.receive()
        if message.type in {aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY}:
            packet: str | bytes = message.data
            return packet
        raise ClosedByServer

    async def receive_text(self) -> str:
        """Take the next packet, which must be text."""
        packet = await self.receive()
        assert isinstance(packet, str), packet
        return packet

    async def connect(self, namespace: str = "/", auth: str = "") -> None:
        """Connect to a namespace with an optional JSON payload."""
        prefix = "0" if namespace == "/" else f"0{namespace},"
        await self.send(f"4{prefix}{auth}")
        answer = await self.receive_text()
        assert answer.startswith(f"4{prefix}{{"), answer
        self.sid = json.loads(answer[len(prefix) + 1 :])["sid"]

    async def call(self, event: str, *args: object) -> list[Any]:
        """Send an event to the main namespace and return the arguments of its acknowledgement."""
        await self.send(f"427{json.dumps([event, *args])}")
        answer = await self.receive_text()
        assert answer.startswith("437["), answer
        result: list[Any] = json.loads(answer[3:])
        return result

    async def until_closed(self) -> list[str | bytes]:
        """Wait until the server closes and return the packets that came before.

        Raises `TimeoutError` when it does not.
        """
        packets = []
        async with asyncio.timeout(PATIENCE):
            with contextlib.suppress(ClosedByServer):
                while True:
                    packets.append(await self.receive())
        return packets

    async def is_alive(self) -> bool:
        """Whether the session still answers an event; nothing else may be on its way."""
        try:
            return await self.call("echoAck", "alive") == ["alive"]
        except (ClosedByServer, ConnectionError):
            return False


def payload(packets: Iterable[str]) -> str:
    """Join packets into a polling payload."""
    return SEPARATOR.join(packets)


async def lifecycle_until(observer: Socket, sid: str, last: str) -> list[str]:
    """Ask a bystander's connection what happened to `sid`, until `last` did.

    Raises `TimeoutError` when it does not happen.
    """
    async with asyncio.timeout(PATIENCE):
        while True:
            (seen,) = await observer.call("lifecycle", sid)
            if last in seen:
                names: list[str] = seen
                return names
