"""The proxy does to the bytes what it is told to, and nothing else."""

import asyncio
import contextlib
import random
import socket
from collections.abc import AsyncIterator

import pytest

from tests.support.fault_proxy import RESET_ON_CLOSE, FaultProxy, Faults
from tests.support.processes import wait_until

PATIENCE = 40.0

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class EchoServer:
    """Sends back what it gets and remembers the pieces it came in."""

    def __init__(self) -> None:
        self.port = 0
        self.connections = 0
        self.resets = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        except ConnectionResetError:
            self.resets += 1
        finally:
            writer.close()


@pytest.fixture
async def echo() -> AsyncIterator[EchoServer]:
    echo = EchoServer()
    server = await asyncio.start_server(echo.serve, "127.0.0.1", 0)
    echo.port = server.sockets[0].getsockname()[1]
    async with server:
        yield echo


@contextlib.asynccontextmanager
async def connection(proxy: FaultProxy) -> AsyncIterator[Streams]:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def round_trip(streams: Streams, data: bytes) -> bytes:
    reader, writer = streams
    writer.write(data)
    async with asyncio.timeout(PATIENCE):
        return await reader.readexactly(len(data))


class Pauses:
    """A sleep that takes no time and remembers what was asked of it."""

    def __init__(self) -> None:
        self.asked: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.asked.append(seconds)


async def test_bytes_pass_unchanged_without_faults(echo: EchoServer) -> None:
    data = random.Random(1).randbytes(300_000)
    async with FaultProxy(echo.port) as proxy, connection(proxy) as streams:
        assert await round_trip(streams, data) == data


async def test_sliced_bytes_arrive_in_order_and_whole(echo: EchoServer) -> None:
    data = random.Random(2).randbytes(5_000)
    async with (
        FaultProxy(echo.port, faults=Faults(segment_bytes=7)) as proxy,
        connection(proxy) as streams,
    ):
        assert await round_trip(streams, data) == data


async def test_each_piece_is_delayed_by_up_to_the_given_time(echo: EchoServer) -> None:
    pauses = Pauses()
    faults = Faults(segment_bytes=10, delay_seconds=3.0)
    async with (
        FaultProxy(echo.port, faults=faults, sleep=pauses.sleep) as proxy,
        connection(proxy) as streams,
    ):
        await round_trip(streams, bytes(50))
    assert len(pauses.asked) >= 10
    assert all(0 <= seconds <= 3 for seconds in pauses.asked)
    assert len(set(pauses.asked)) > 5


async def test_same_seed_gives_the_same_delays(echo: EchoServer) -> None:
    async def delays(seed: int) -> list[float]:
        pauses = Pauses()
        async with (
            FaultProxy(
                echo.port, faults=Faults(delay_seconds=1.0), seed=seed, sleep=pauses.sleep
            ) as proxy,
            connection(proxy) as streams,
        ):
            for _ in range(5):
                await round_trip(streams, b"x")
        return pauses.asked

    assert await delays(7) == await delays(7)
    assert await delays(7) != await delays(8)


async def test_rate_limits_the_bytes_of_a_second(echo: EchoServer) -> None:
    pauses = Pauses()
    async with (
        FaultProxy(echo.port, faults=Faults(rate=1_000.0), sleep=pauses.sleep) as proxy,
        connection(proxy) as streams,
    ):
        await round_trip(streams, bytes(4_000))
    # 4,000 bytes there and 4,000 back.
    assert sum(pauses.asked) == pytest.approx(8.0)


async def test_abort_resets_both_sides(echo: EchoServer) -> None:
    async with FaultProxy(echo.port) as proxy, connection(proxy) as streams:
        await round_trip(streams, b"hello")
        assert proxy.abort() == 1
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(ConnectionResetError):
                await streams[0].read()
        await wait_until(lambda: echo.resets == 1, "the reset on the server's side")
        await wait_until(lambda: proxy.open_connections == 0, "the end of the connection")
        assert proxy.aborted == 1


async def test_connection_is_reset_after_so_many_bytes(echo: EchoServer) -> None:
    faults = Faults(segment_bytes=1, abort_after_bytes=(25, 25))
    async with FaultProxy(echo.port, faults=faults) as proxy, connection(proxy) as streams:
        reader, writer = streams
        writer.write(bytes(100))
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.readexactly(25), PATIENCE)
        assert proxy.aborted == 1


def test_each_connection_draws_its_own_limit_from_the_seed() -> None:
    def limits(seed: int) -> list[int | None]:
        proxy = FaultProxy(1, faults=Faults(abort_after_bytes=(10, 10_000)), seed=seed)
        return [proxy.draw_limit() for _ in range(5)]

    assert limits(3) == limits(3)
    assert len(set(limits(3))) > 1


async def test_blackhole_holds_bytes_back_until_it_ends(echo: EchoServer) -> None:
    async with FaultProxy(echo.port) as proxy, connection(proxy) as streams:
        await round_trip(streams, b"before")
        proxy.blackhole()
        answer = asyncio.create_task(round_trip(streams, b"during"))
        # A second connection shows that the proxy still runs, and passes nothing on either.
        async with connection(proxy):
            await wait_until(lambda: echo.connections == 2, "the second connection")
            assert not answer.done()
            proxy.restore()
            assert await answer == b"during"


async def test_end_of_one_side_reaches_the_other(echo: EchoServer) -> None:
    async with FaultProxy(echo.port) as proxy, connection(proxy) as (reader, writer):
        writer.write(b"last words")
        writer.write_eof()
        async with asyncio.timeout(PATIENCE):
            assert await reader.read() == b"last words"


async def test_server_that_does_not_listen_looks_like_a_reset() -> None:
    async with FaultProxy(1) as proxy, connection(proxy) as (reader, _):
        async with asyncio.timeout(PATIENCE):
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""


async def test_leaving_the_proxy_ends_what_is_still_open(echo: EchoServer) -> None:
    async with FaultProxy(echo.port) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        await round_trip((reader, writer), b"x")
        proxy.blackhole()
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(ConnectionResetError):
            await reader.read()
    writer.close()
    assert proxy.open_connections == 0


async def test_a_client_that_has_gone_before_it_was_connected_leaves_nothing_open() -> None:
    ended = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal ended
        with contextlib.suppress(ConnectionError):
            await reader.read()
        ended += 1
        writer.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        gone = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
    accepted.setblocking(False)
    gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    gone.close()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, FaultProxy(server.sockets[0].getsockname()[1]) as proxy:
        await proxy._serve(accepted)
        await wait_until(lambda: ended == 1, "the end of its counterpart")


async def test_connections_that_come_while_the_proxy_ends_are_closed(echo: EchoServer) -> None:
    clients = []
    async with FaultProxy(echo.port) as proxy:
        for _ in range(3):
            client = socket.create_connection(("127.0.0.1", proxy.port))
            client.setblocking(False)
            clients.append(client)
        # Two are accepted, without a task of theirs having begun; one has not been accepted.
        proxy._accept()
        proxy._accept()
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(PATIENCE):
        for client in clients:
            with contextlib.suppress(ConnectionResetError):
                assert await loop.sock_recv(client, 1) == b""
            client.close()
