"""WebSocket handshakes are answered before aiohttp sees them, everything else is aiohttp's."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from stockstream.engine import AppRunner, AsyncServer, Limits, Message
from stockstream.engine.core.frames import TEXT
from tests.engine.unit.served import Served, open_raw, serve, until

HANDSHAKE = (
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: test\r\n"
    b"Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEA==\r\n"
)
CONNECT = bytes([0x80 | TEXT, 0x80 | 2, 0, 0, 0, 0]) + b"40"


class Fronted:
    """A server behind its front, and what its application has seen."""

    def __init__(self, served: Served, seen: list[str]) -> None:
        self.server = served.server
        self.served = served
        #: Paths of the requests that reached the application.
        self.seen = seen

    async def say(self, *parts: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection and send bytes, each part in a segment of its own."""
        port = int(self.served.url.split(":")[2].split("/")[0])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0)
        return reader, writer

    async def answer(self, *parts: bytes) -> str:
        """Return the head of the answer."""
        reader, writer = await self.say(*parts)
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        writer.close()
        return head

    @property
    def waiting(self) -> int:
        """Connections whose first request has not come."""
        return len(self.server.eio.hub.head_due)


@asynccontextmanager
async def fronted(server: AsyncServer | None = None) -> AsyncIterator[Fronted]:
    """Serve behind a front."""
    seen: list[str] = []

    @web.middleware
    async def watch(request: web.Request, handler: Any) -> web.StreamResponse:
        seen.append(request.path_qs)
        response: web.StreamResponse = await handler(request)
        return response

    server = server or AsyncServer(limits=Limits(close_seconds=0.05))
    async with serve(server, middlewares=(watch,), runner=AppRunner) as served:
        yield Fronted(served, seen)


async def test_websocket_handshake_does_not_go_through_the_application() -> None:
    async with fronted() as front, front.served.connected() as client:
        assert client.sid
        assert front.seen == []
        assert front.server.metrics.opened_websocket == 1


async def test_all_other_requests_do() -> None:
    async with fronted() as front:
        await front.served.polling()
        async with front.served.http.get(front.served.url.replace("socket.io/", "")) as response:
            assert response.status == 404
        assert front.seen == ["/socket.io/?EIO=4&transport=polling", "/"]


async def test_polling_session_moves_to_a_websocket_that_the_application_never_sees() -> None:
    async with fronted() as front:
        poll = await front.served.polling()
        url = poll.replace("transport=polling", "transport=websocket")
        # On a connection of its own, as a browser does it.
        async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
            await socket.send_str("2probe")
            assert await socket.receive_str() == "3probe"
            await socket.send_str("5")
            await socket.send_str("40")
            assert (await socket.receive_str()).startswith("40{")
        assert front.seen == ["/socket.io/?EIO=4&transport=polling"]


async def test_head_may_come_byte_by_byte() -> None:
    async with fronted() as front:
        head = HANDSHAKE + b"\r\n"
        answer = await front.answer(*(head[at : at + 1] for at in range(len(head))))
        assert answer.startswith("HTTP/1.1 101 ")
        assert "Sec-WebSocket-Accept: " in answer
        assert front.seen == []


async def test_what_a_client_sends_behind_its_handshake_is_taken() -> None:
    async with fronted() as front:
        front.server.on("connect", lambda *_: None)
        reader, writer = await front.say(HANDSHAKE + b"\r\n" + CONNECT)
        await reader.readuntil(b'40{"sid":')
        writer.close()


@pytest.mark.parametrize(
    "request_",
    [
        HANDSHAKE + b"Content-Length: 2\r\n\r\nhi",
        HANDSHAKE + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        HANDSHAKE + b"Expect: 100-continue\r\n\r\n",
        HANDSHAKE.replace(b"HTTP/1.1", b"HTTP/1.0") + b"\r\n",
        HANDSHAKE.replace(b"GET", b"POST") + b"\r\n",
        HANDSHAKE.replace(b"Upgrade: websocket", b"Upgrade: h2c") + b"\r\n",
        HANDSHAKE.replace(b"/socket.io/?", b"http://test/socket.io/?") + b"\r\n",
    ],
    ids=lambda request: request[:20].decode() + request[-24:].decode(),
)
async def test_handshake_with_something_unusual_is_left_to_aiohttp(request_: bytes) -> None:
    async with fronted() as front:
        await front.answer(request_)
        assert len(front.seen) == 1


@pytest.mark.parametrize(
    "request_",
    [
        HANDSHAKE + b"A: b\r\n folded\r\n\r\n",
        HANDSHAKE + b"A: b\x00\r\n\r\n",
        HANDSHAKE + b"A : b\r\n\r\n",
        HANDSHAKE + b"Host: other\r\n\r\n",
        HANDSHAKE.replace(b"Host: test", b"X: y") + b"\r\n",
        HANDSHAKE + b"X: " + b"y" * 8_192 + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    ],
    ids=["folded", "NUL", "blank before the colon", "two hosts", "no host", "long", "TLS"],
)
async def test_what_is_no_http_is_answered_by_aiohttp(request_: bytes) -> None:
    async with fronted() as front:
        assert " 400 " in await front.answer(request_)
        assert front.server.metrics.opened_websocket == 0


@pytest.mark.parametrize("start", [b"", b"GE", b"GET /socket.io/?EIO=4", HANDSHAKE])
async def test_head_that_does_not_come_is_not_waited_for(start: bytes) -> None:
    async with fronted(AsyncServer(limits=Limits(header_seconds=0.05))) as front:
        reader, writer = await front.say(start)
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await reader.readexactly(1)
        writer.close()
        assert front.server.metrics.slow_heads == 1
        assert front.waiting == 0


async def test_who_hangs_up_before_a_request_is_forgotten() -> None:
    async with fronted() as front:
        _, writer = await front.say(b"GET /sock")
        await until(lambda: front.waiting == 1)
        writer.close()
        await until(lambda: front.waiting == 0)
        assert front.server.metrics.slow_heads == 0


async def test_shutdown_does_not_wait_for_who_has_not_asked_for_anything() -> None:
    async with fronted() as front:
        reader, writer = await front.say(b"GET /sock")
        await until(lambda: front.waiting == 1)
        await front.server.shutdown()
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await reader.readexactly(1)
        writer.close()


@pytest.mark.parametrize(
    ("limits", "status"),
    [
        (Limits(connections=1), "503 Service Unavailable"),
        (Limits(connections_per_address=1), "429 Too Many Requests"),
        (Limits(handshake_burst=1, handshakes_per_second=0.01), "503 Service Unavailable"),
    ],
)
async def test_who_finds_no_room_is_told_when_to_come_back(limits: Limits, status: str) -> None:
    async with fronted(AsyncServer(limits=limits, cors_allowed_origins="*")) as front:
        _, inside, _ = await open_raw(front.served.url)
        reader, writer = await front.say(HANDSHAKE + b"Origin: https://a.example\r\n\r\n")
        head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
        lines = head.split("\r\n")
        assert lines[0] == f"HTTP/1.1 {status}"
        assert "Retry-After: 30" in lines
        assert "Access-Control-Allow-Origin: *" in lines
        assert body.startswith('{"code": 3, "message": "Too many')
        inside.close()
        writer.close()


@pytest.mark.parametrize("runner", [AppRunner, None], ids=["front", "aiohttp"])
async def test_environ_is_the_same_whoever_has_read_the_handshake(runner: Any) -> None:
    seen: list[dict[str, Any]] = []
    server = AsyncServer(trusted_proxies=["127.0.0.1"])

    async def connect(_sid: str, environ: Any) -> None:
        seen.append(dict(environ))

    server.on("connect", connect)
    async with serve(server, runner=runner) as served:
        query = "EIO=4&transport=websocket&a=%C3%A9+b&transport=x&empty="
        head = HANDSHAKE.replace(b"EIO=4&transport=websocket", query.encode())
        more = (
            "X-Forwarded-For: 192.0.2.7\r\nX-Name: \t한글 \r\nCookie: a=b\r\nX-Name: again\r\n\r\n"
        )
        reader, writer = await Fronted(served, []).say(head + more.encode() + CONNECT)
        await reader.readuntil(b'40{"sid":')
        writer.close()
    (environ,) = seen
    assert environ.pop("aiohttp.request", None) is None or runner is None
    assert environ["REMOTE_ADDR"] == "192.0.2.7"
    assert environ["QUERY_STRING"] == query
    assert environ["PATH_INFO"] == "/socket.io/"
    assert environ["HTTP_X_NAME"] == "한글,again"
    assert environ["HTTP_COOKIE"] == "a=b"
    assert environ["HTTP_HOST"] == "test"
    assert environ["wsgi.url_scheme"] == "http"


async def test_acceptance_leaves_before_the_greetings_which_leave_together() -> None:
    async with fronted() as front:
        server = front.server
        written: list[tuple[int, bool]] = []

        async def connect(sid: str, *_: object) -> None:
            await server.emit("early", to=sid)
            asyncio.get_running_loop().call_soon(greet, sid)

        def greet(sid: str) -> None:
            connection = server.connection(sid)
            assert connection is not None
            connection.send(Message('2["late"]'))
            written.append((connection.messages_out, connection.writable))

        server.on("connect", connect)
        async with front.served.connected() as client:
            assert [await client.receive(), await client.receive()] == ['42["early"]', '42["late"]']
            connection = server.connection(client.sid)
            assert connection is not None
            await until(lambda: connection.writable)
    assert written == [(1, False)]
