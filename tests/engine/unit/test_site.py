"""A site takes all connections that come at once, and serves them one after the other."""

import asyncio
import errno
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from stockstream.engine import Site
from stockstream.engine.shell import site as site_module
from tests.engine.unit.served import until


class Greeter(asyncio.Protocol):
    """Counts on a list, and says hello."""

    def __init__(self, greeted: list[int]) -> None:
        self._greeted = greeted

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._greeted.append(transport.get_extra_info("peername")[1])
        transport.write(b"hello")
        transport.close()


class Exhausted(socket.socket):
    """A listening socket of a process that has too many open files, once."""

    tries = 0

    def accept(self) -> tuple[socket.socket, Any]:
        self.tries += 1
        if self.tries == 1:
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


def listening(kind: type[socket.socket] = socket.socket) -> socket.socket:
    made = kind()
    made.bind(("127.0.0.1", 0))
    made.listen(100)
    return made


def dial(there: socket.socket) -> socket.socket:
    made = socket.create_connection(there.getsockname())
    made.setblocking(False)
    return made


async def hear(connection: socket.socket) -> bytes:
    heard = await asyncio.get_running_loop().sock_recv(connection, 100)
    connection.close()
    return heard


@asynccontextmanager
async def serving(*hosts: str) -> AsyncIterator[web.AppRunner]:
    async def hello(_request: web.Request) -> web.Response:
        return web.Response(text="hello")

    app = web.Application()
    app.router.add_get("/", hello)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        for host in hosts:
            await Site(runner, host, 0).start()
        yield runner
    finally:
        await runner.cleanup()


async def test_all_that_came_at_once_are_served_in_their_order() -> None:
    there, greeted = listening(), list[int]()
    clients = [dial(there) for _ in range(50)]
    server = site_module._Listener(lambda: Greeter(greeted), [there])
    ports = [client.getsockname()[1] for client in clients]

    assert [await hear(client) for client in clients] == [b"hello"] * 50
    assert greeted == ports
    server.close()


async def test_closed_site_lets_go_of_those_whose_turn_has_not_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(site_module, "_HANDED_ON", 0)
    there, greeted = listening(), list[int]()
    server = site_module._Listener(lambda: Greeter(greeted), [there])
    clients = [dial(there) for _ in range(3)]
    await until(lambda: len(server._waiting) == 3)

    server.close()

    assert [await hear(client) for client in clients] == [b""] * 3
    assert greeted == []


async def test_no_more_than_so_many_wait_in_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site_module, "_HANDED_ON", 0)
    monkeypatch.setattr(site_module, "_WAITING", 2)
    there = listening()
    clients = [dial(there) for _ in range(3)]
    server = site_module._Listener(lambda: Greeter([]), [there])
    await until(lambda: len(server._waiting) == 2)
    for _ in range(10):
        await asyncio.sleep(0)

    assert len(server._waiting) == 2
    server.close()
    for each in clients:
        each.close()


async def test_process_without_a_file_to_spare_takes_connections_again_later(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(site_module, "_PAUSE", 0.01)
    there = listening(Exhausted)
    server = site_module._Listener(lambda: Greeter([]), [there])

    assert await hear(dial(there)) == b"hello"
    assert [record.getMessage() for record in caplog.records] == [
        "taking no connections for 0.01 s: Too many open files"
    ]
    server.close()


async def test_site_serves_an_application_of_aiohttp() -> None:
    async with serving("127.0.0.1", "localhost") as runner:
        for host, port, *_ in runner.addresses:
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
            assert (await reader.read()).endswith(b"hello")
            writer.close()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(host, port)


async def test_small_writes_are_not_held_back() -> None:
    transports: list[asyncio.BaseTransport] = []

    class Noting(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            transports.append(transport)

    there = listening()
    server = site_module._Listener(Noting, [there])
    client = dial(there)
    await until(lambda: bool(transports))

    connection = transports[0].get_extra_info("socket")
    assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    transports[0].close()
    server.close()
    client.close()


async def test_address_that_is_taken_is_an_error_and_nothing_stays_open() -> None:
    async with serving("127.0.0.1") as runner:
        port = runner.addresses[0][1]
        site = Site(runner, "127.0.0.1", port)
        with pytest.raises(OSError, match="in use") as caught:
            await site.start()
        assert caught.value.errno == errno.EADDRINUSE
        assert site.name == f"http://127.0.0.1:{port}"
        assert len(runner.addresses) == 1
