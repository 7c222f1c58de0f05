"""The WebSocket's transport is taken over from aiohttp, and nothing of aiohttp stays behind."""

import asyncio
import gc
import logging
import weakref
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop
from aiohttp import WSMsgType, web

from stockstream.engine import AsyncServer, Limits
from stockstream.engine.core.connection import Connection
from stockstream.engine.shell.protocol import WebSocketProtocol
from stockstream.engine.shell.takeover import TakeoverResponse
from tests.engine.unit.served import serve, until

Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    def runner(main: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=request.param) as loop:
            loop.run(asyncio.wait_for(main, 50))

    return runner


def alive(*kinds: type) -> int:
    """Count objects of some kinds."""
    gc.collect()
    return sum(isinstance(each, kinds) for each in gc.get_objects())


@pytest.mark.parametrize("cancellation", [False, True])
def test_aiohttp_forgets_a_connection_that_became_a_websocket(
    run: Run, caplog: pytest.LogCaptureFixture, *, cancellation: bool
) -> None:
    requests: list[weakref.ref[web.Request]] = []

    @web.middleware
    async def watch(request: web.Request, handler: Any) -> web.StreamResponse:
        requests.append(weakref.ref(request))
        response: web.StreamResponse = await handler(request)
        await asyncio.sleep(0)
        return response

    async def main() -> None:
        server = AsyncServer()

        async def echo(_sid: str, text: str) -> str:
            return text

        server.on("echo", echo)

        async with serve(server, middlewares=(watch,), handler_cancellation=cancellation) as served:
            async with served.connected() as client:
                connection = server.connection(client.sid)
                assert connection is not None
                await client.send('421["echo","still here"]')
                assert await client.receive() == '431["still here"]'
                await until(lambda: len(asyncio.all_tasks()) <= 2)
                gc.collect()
                assert requests[0]() is None
                assert connection.writable
            await until(served.is_empty)

    caplog.set_level(logging.INFO)
    run(main())
    lines = [record for record in caplog.records if record.name == "aiohttp.access"]
    assert len([line for line in lines if '" 101 ' in line.getMessage()]) == 1
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_clients_that_come_and_go_leave_nothing(run: Run) -> None:
    async def main() -> None:
        server = AsyncServer()

        async def join(sid: str, room: str) -> None:
            await server.enter_room(sid, room)

        server.on("join", join)

        async def visit(number: int) -> None:
            async with served.connected() as client:
                await client.send(f'421["join","room{number % 7}"]')
                assert await client.receive() == "431[]"

        async with serve(server) as served:
            await visit(0)
            await until(served.is_empty)
            before = alive(Connection, WebSocketProtocol, TakeoverResponse, web.Request)
            tasks = len(asyncio.all_tasks())
            for _ in range(4):
                await asyncio.gather(*(visit(number) for number in range(50)))
            await until(served.is_empty)
            await until(lambda: len(asyncio.all_tasks()) <= tasks)
            assert server.manager.rooms == {}
            assert server.manager.callbacks == {}
            assert len(server._inbox) == 0
            hub = server.eio.hub
            assert not hub.ping_due
            assert not hub.connect_due
            assert alive(Connection, WebSocketProtocol, TakeoverResponse, web.Request) <= before
            assert server.metrics.opened_websocket == server.metrics.closed == 201

    run(main())


def test_bytes_behind_the_handshake_are_not_lost(run: Run) -> None:
    async def main() -> None:
        server = AsyncServer()

        async def echo(_sid: str, text: str) -> str:
            return text

        server.on("echo", echo)

        async with serve(server) as served:
            port = int(served.url.split(":")[2].split("/")[0])
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(
                b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: test\r\n"
                b"Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
                b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEA==\r\n\r\n"
                b"\x81\x82\0\0\0\x0040"
            )
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 101 ")
            assert b'40{"sid"' in await reader.readuntil(b'40{"sid"')
            writer.close()
            await until(served.is_empty)

    run(main())


def test_shutdown_does_not_wait_for_a_client_that_is_changing_over(run: Run) -> None:
    async def main() -> None:
        # Nobody may be waited for: the test would be over before.
        server = AsyncServer(limits=Limits(close_seconds=1_000))
        async with serve(server) as served:
            url = await served.polling()
            url = url.replace("transport=polling", "transport=websocket")
            async with served.http.ws_connect(url) as socket:
                await socket.send_str("2probe")
                assert await socket.receive_str() == "3probe"
                stopping = asyncio.create_task(server.shutdown())
                await until(lambda: not server.eio.hub.accepting)
                await socket.send_str("5")
                assert (await socket.receive()).type is WSMsgType.CLOSE
                assert socket.close_code == 1001
                await stopping
            assert served.is_empty()

    run(main())


@pytest.mark.parametrize("first", [False, True], ids=["while shutting down", "before"])
def test_shutdown_does_not_wait_for_a_client_that_vanished_while_changing_over(
    run: Run, *, first: bool
) -> None:
    async def main() -> None:
        server = AsyncServer(limits=Limits(close_seconds=1_000))
        async with serve(server) as served:
            url = await served.polling()
            url = url.replace("transport=polling", "transport=websocket")
            socket = await served.http.ws_connect(url)
            await socket.send_str("2probe")
            assert await socket.receive_str() == "3probe"
            if first:
                await socket.close()
                await until(lambda: server.metrics.upgrades_failed == 1)
            stopping = asyncio.create_task(server.shutdown())
            await until(lambda: not server.eio.hub.accepting)
            await socket.close()
            await stopping
            assert served.is_empty()

    run(main())


def test_shutdown_tells_everybody_and_ends(run: Run) -> None:
    reasons: list[str] = []

    async def main() -> None:
        server = AsyncServer()

        async def disconnect(_sid: str, reason: str) -> None:
            reasons.append(reason)

        server.on("disconnect", disconnect)

        async with serve(server) as served, served.connected() as client:
            url = await served.polling()
            async with served.http.post(url, data="40") as response:
                assert await response.text() == "ok"
            async with served.http.get(url) as response:
                assert (await response.text()).startswith("40{")
            poll = asyncio.create_task(served.http.get(url))
            connection = next(
                each for each in server.eio.hub.sessions.values() if each.transport == "polling"
            )
            await until(lambda: connection._polled is not None)
            stopping = asyncio.create_task(server.shutdown(reason="restart"))
            assert await client.receive() is None
            assert client.socket.close_code == 1001
            assert await (await poll).text() == "1"
            await stopping
            async with served.http.get(served.url + "?EIO=4&transport=polling") as refused:
                assert refused.status == 503
                assert refused.headers["Retry-After"]
        assert served.is_empty()

    run(main())
    assert reasons == ["restart", "restart"]
