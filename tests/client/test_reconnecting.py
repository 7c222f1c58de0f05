"""Connections of a client that are lost, refused, broken or never answered."""

import socket

import pytest
from aiohttp import web

from stockstream.client import ConnectionState, StateChange
from stockstream.errors import (
    NotConnectedError,
)
from tests.client.clients import Told, Waits, client_of, in_state, reading
from tests.support.ports import free_port
from tests.support.processes import wait_until
from tests.support.quote_server import QuoteServer


async def test_after_a_lost_connection_it_goes_on_where_it_was(server: QuoteServer) -> None:
    async with client_of(server.url) as client:
        told = Told(client)
        async with reading(client.updates("AAPL", "MSFT")) as reader:
            await server.wait_for_subscriptions(1)
            await server.send("AAPL", 187.2, 7)
            await reader.until(lambda got: got, "the update")
            await server.stop()
            await in_state(client, ConnectionState.RECONNECTING)
            await server.start()
            await server.wait_for_subscriptions(2)
            await server.send("AAPL", 187.3, 8)
            await reader.until(lambda got: len(got) == 2, "the next update")

    since = {"stock_update_AAPL": {"epoch": "e1", "seq": 7}}
    assert server.requests[1][1]["since"] == since
    assert [s for s in told.states if s is not ConnectionState.RECONNECTING] == [
        ConnectionState.CONNECTING,
        ConnectionState.CONNECTED,
        ConnectionState.CONNECTED,
        ConnectionState.DISCONNECTED,
    ]


async def test_waits_grow_from_a_second_to_half_a_minute_and_start_anew_after_success() -> None:
    server = QuoteServer()
    waits = Waits(passing=False)
    async with client_of(server.url, waits) as client:
        for attempt in range(1, 11):
            await waits.wait_for(attempt)
            waits.go_on()
        await waits.wait_for(11)
        await server.start()
        waits.go_on()
        await in_state(client, ConnectionState.CONNECTED)
        await server.stop()
        await waits.wait_for(12)

    *growing, last = waits.seconds
    assert all(wait <= longest for wait, longest in zip(growing, (1, 2, 4, 8, 16), strict=False))
    assert all(15 <= wait <= 30 for wait in growing[5:])
    assert len(set(growing)) == len(growing)
    assert last <= 1


async def test_it_gives_up_where_it_is_told_to_and_can_be_begun_again(server: QuoteServer) -> None:
    await server.stop()
    async with (
        client_of(server.url, max_reconnect_attempts=2) as client,
        reading(client.updates("AAPL")) as reader,
    ):
        with pytest.raises(NotConnectedError, match="Cannot connect"):
            await client.connect()
        await wait_until(lambda: reader.error, "the end of the stream")
        assert isinstance(reader.error, NotConnectedError)
        assert client.state is ConnectionState.DISCONNECTED
        with pytest.raises(NotConnectedError):
            await client.get_stock_data("AAPL")
        await server.start()
        await client.connect()

        assert client.is_connected


async def test_the_servers_reason_for_refusing_a_connection_is_told(server: QuoteServer) -> None:
    server.refusing = True
    waits = Waits(passing=False)
    async with client_of(server.url, waits) as client:
        told = Told(client)
        await waits.wait_for(1)
        assert told.changes[-1] == StateChange(
            state=ConnectionState.RECONNECTING, reason="full for today", retry_in=waits.seconds[0]
        )
        server.refusing = False
        waits.go_on()
        await in_state(client, ConnectionState.CONNECTED)


@pytest.mark.parametrize(
    ("status", "body"),
    [(404, "not found"), (200, ""), (200, "<html>"), (500, '{"no": "json'), (200, "4garbage")],
)
async def test_whatever_else_listens_there_it_tries_again(status: int, body: str) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(status=status, text=body)

    waits = Waits()
    async with served(answer) as url, client_of(url, waits):
        await waits.wait_for(2)


@pytest.mark.parametrize(
    "frames",
    [["garbage"], ["0{}"], ["0[]"], ['0{"pingInterval":1,"pingTimeout":"x"}'], ["1"], [b"\x00"]]
    + [['0{"pingInterval":1000,"pingTimeout":1000}', answer] for answer in ("4garbage", "41", "9")],
)
async def test_a_server_that_breaks_the_protocol_is_left_and_tried_again(
    frames: list[str | bytes],
) -> None:
    async def answer(request: web.Request) -> web.WebSocketResponse:
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)
        for frame in frames:
            if isinstance(frame, bytes):
                await websocket.send_bytes(frame)
            else:
                await websocket.send_str(frame)
        await websocket.receive()
        await websocket.close()
        return websocket

    waits = Waits()
    async with served(answer) as url, client_of(url, waits) as client:
        await waits.wait_for(2)
        assert client.connections == 0


async def test_a_server_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stockstream.client.connection.OPEN_TIMEOUT", 0.05)
    # The kernel accepts the connection, and that is all that ever happens.
    with socket.create_server(("127.0.0.1", 0)) as hung:
        waits = Waits(passing=False)
        async with client_of(f"http://127.0.0.1:{hung.getsockname()[1]}", waits) as client:
            told = Told(client)
            await waits.wait_for(1)

    assert told.changes[1].reason == "the server does not answer"


async def test_a_subscription_that_is_never_answered_ends_the_connection(
    server: QuoteServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stockstream.client.connection.ANSWER_TIMEOUT", 0.2)
    server.silent = True
    waits = Waits(passing=False)
    async with client_of(server.url, waits) as client, reading(client.updates("AAPL")):
        told = Told(client)
        await waits.wait_for(1)
        assert told.changes[-1].reason == "the server does not answer to subscribe"
        await wait_until(lambda: not server.sids, "the goodbye")


class served:  # noqa: N801 - reads as a function
    """Answers every request on a free port with one handler."""

    def __init__(self, handler: object) -> None:
        self._app = web.Application()
        self._app.router.add_route("*", "/{path:.*}", handler)  # type: ignore[arg-type]
        self._runner = web.AppRunner(self._app, shutdown_timeout=0.1)

    async def __aenter__(self) -> str:
        await self._runner.setup()
        port = free_port()
        await web.TCPSite(self._runner, "127.0.0.1", port).start()
        return f"http://127.0.0.1:{port}"

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()
