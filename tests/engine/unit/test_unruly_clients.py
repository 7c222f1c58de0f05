"""Clients that take too much, too little, or what is not theirs, and a server that lives on."""

import asyncio
import socket
from typing import Any

import aiohttp
import pytest

from stockstream.engine import (
    AsyncServer,
    Limits,
    Message,
)
from tests.engine.unit.served import open_raw, serve, until


async def test_client_that_outruns_its_handlers_is_read_no_further() -> None:
    server = AsyncServer(async_handlers=False, limits=Limits(queued_events=10))
    gate = asyncio.Event()
    seen: list[int] = []

    async def event(_sid: str, number: int) -> None:
        await gate.wait()
        seen.append(number)

    server.on("event", event)

    async with serve(server) as served, served.connected() as client:
        await client.send(*[f'42["event",{n}]' for n in range(1_000)])
        connection = server.connection(client.sid)
        assert connection is not None
        await until(lambda: connection.held)
        assert len(connection.context.jobs) <= 10
        gate.set()
        await until(lambda: len(seen) == 1_000)
    assert seen == list(range(1_000))


async def test_polling_client_that_outruns_its_handlers_waits_for_its_post() -> None:
    server = AsyncServer(async_handlers=False, limits=Limits(queued_events=10, close_seconds=0.05))
    gate = asyncio.Event()
    seen: list[int] = []

    async def event(_sid: str, number: int) -> None:
        await gate.wait()
        seen.append(number)

    server.on("event", event)

    async with serve(server) as served:
        url = await served.polling()
        async with served.http.post(url, data="40"):
            pass
        async with served.http.get(url):
            pass
        body = "\x1e".join(f'42["event",{n}]' for n in range(100))
        post = asyncio.create_task(served.http.post(url, data=body))
        connection = next(iter(server.eio.hub.sessions.values()))
        await until(lambda: connection.held)
        assert not post.done()
        gate.set()
        assert await (await post).text() == "ok"
        await until(lambda: len(seen) == 100)
    assert seen == list(range(100))


async def test_acknowledgements_that_are_owed_are_limited() -> None:
    server = AsyncServer(limits=Limits(pending_acknowledgements=3))
    async with serve(server) as served, served.connected() as client:
        for _ in range(10):
            await server.emit("question", to=client.sid, callback=lambda: None)
        assert len(server.manager.callbacks[client.sid]) == 4
        assert server.metrics.forgotten_acknowledgements == 7


async def test_reader_that_does_not_read_costs_no_more_than_its_limits() -> None:
    limits = Limits(unread_bytes=100_000, transport_bytes=10_000)
    server = AsyncServer(limits=limits)
    reasons: list[str] = []

    async def disconnect(_sid: str, reason: str) -> None:
        reasons.append(reason)

    server.on("disconnect", disconnect)

    async with serve(server) as served, served.connected() as client:
        transport = client.socket._response.connection.transport  # type: ignore[union-attr]
        transport.pause_reading()  # type: ignore[union-attr]
        connection = server.connection(client.sid)
        assert connection is not None
        while connection.open:
            connection.send(Message("2" + "x" * 5_000))
            assert connection.unread_bytes <= limits.unread_bytes
            await asyncio.sleep(0)
        await until(served.is_empty)
        transport.resume_reading()  # type: ignore[union-attr]
    assert reasons == ["slow consumer"]


async def test_burst_of_storming_clients_gets_503_and_those_inside_are_served() -> None:
    server = AsyncServer(limits=Limits(handshakes_per_second=0.001, handshake_burst=1))

    async def echo(_sid: str) -> int:
        return 1

    server.on("echo", echo)

    async with serve(server) as served, served.connected() as client:
        for transport in ("polling", "websocket"):
            url = f"{served.url}?EIO=4&transport={transport}"
            if transport == "polling":
                async with served.http.get(url) as response:
                    assert response.status == 503
                    assert int(response.headers["Retry-After"]) > 0
            else:
                with pytest.raises(aiohttp.WSServerHandshakeError, match="503"):
                    await served.http.ws_connect(url)
        await client.send('421["echo"]')
        assert await client.receive() == "431[1]"
    assert server.metrics.refused_rate == 2


@pytest.mark.parametrize(
    ("proxies", "forwarded", "expected"),
    [
        ((), "203.0.113.9", "127.0.0.1"),
        (("127.0.0.0/8",), "203.0.113.9", "203.0.113.9"),
        (("127.0.0.0/8",), "10.9.9.9, 203.0.113.9", "203.0.113.9"),
        (("127.0.0.0/8", "10.0.0.0/8"), "198.51.100.1, 203.0.113.9, 10.1.1.1", "203.0.113.9"),
        (("127.0.0.0/8",), "garbage", "127.0.0.1"),
        (("10.0.0.0/8",), "203.0.113.9", "127.0.0.1"),
    ],
)
async def test_forwarded_address_is_believed_from_trusted_proxies_only(
    proxies: tuple[str, ...], forwarded: str, expected: str
) -> None:
    server = AsyncServer(trusted_proxies=proxies)
    seen: list[str] = []

    async def connect(sid: str, environ: Any) -> None:
        assert environ["aiohttp.request"].path == "/socket.io/"
        assert environ.get("HTTP_X_COLOUR") == "blue"
        seen.append(environ["REMOTE_ADDR"])
        environ["user"] = "somebody"

    server.on("connect", connect)

    headers = {"X-Forwarded-For": forwarded, "X-Colour": "blue"}
    async with serve(server) as served, served.connected(**headers) as client:
        connection = server.connection(client.sid)
        assert connection is not None
        assert connection.remote_address == expected
        environ = server.get_environ(client.sid)
        assert environ is not None
        assert environ["user"] == "somebody"
        assert "aiohttp.request" not in environ
    assert seen == [expected]


async def test_packets_that_cross_with_a_disconnect_do_no_harm() -> None:
    server = AsyncServer(namespaces=["/", "/other"])
    async with serve(server) as served, served.connected() as client:
        await server.disconnect(client.sid)
        assert await client.receive() == "41"
        await client.send('42["on its way"]', "41", "40/other,")
        assert (await client.receive()).startswith("40/other,")
        await client.connect()


async def test_socket_that_is_reset_ends_its_session() -> None:
    server = AsyncServer()
    async with serve(server) as served, served.connected() as client:
        raw = client.socket.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.socket._response.connection.transport.abort()  # type: ignore[union-attr]
        await until(served.is_empty)


async def test_client_that_is_still_sending_too_much_sees_why_it_is_closed() -> None:
    server = AsyncServer(max_http_buffer_size=1_000)
    async with serve(server) as served:
        reader, writer, _ = await open_raw(served.url)
        # The head of a frame of three million bytes, and a part of it.
        writer.write(b"\x81\xff" + (3_000_000).to_bytes(8, "big") + bytes(4) + b"x" * 1_000)
        assert await reader.readexactly(4) == b"\x88\x02" + (1009).to_bytes(2, "big")
        assert await reader.read() == b""
        for _ in range(29):
            writer.write(b"x" * 100_000)
            await writer.drain()
        writer.close()
        await writer.wait_closed()
        await until(lambda: len(server.eio.hub.closing_due) == 0)
    assert server.metrics.violations == 1
