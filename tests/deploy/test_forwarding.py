"""What reaches the nodes through each load balancer, and what comes back."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from tests.deploy.balancers import RUNNING, Balancer, http_session, unverified_tls
from tests.deploy.places import find
from tests.support.npm import run_node
from tests.support.processes import Server


async def test_node_knows_a_clients_address_and_believes_none_that_the_client_claims(
    balancer: Balancer, shared_nodes: list[Server]
) -> None:
    claims = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Host": "evil.example"}
    async with (
        http_session("127.0.0.77") as session,
        session.ws_connect(
            f"{balancer.url}/socket.io/?EIO=4&transport=websocket", headers=claims
        ) as websocket,
    ):
        await websocket.receive_str()
        await websocket.send_str("40")
        welcome = ""
        while '"connected"' not in welcome:
            welcome = await websocket.receive_str()
        client_id = json.loads(welcome.removeprefix("42"))[1]["clientId"]
        place = await find(client_id, shared_nodes)
    assert place.client["remoteAddress"] == "127.0.0.77"


async def test_pages_of_the_same_host_may_connect_and_no_others(balancer: Balancer) -> None:
    handshake = f"{balancer.url}/socket.io/?EIO=4&transport=polling"
    forged = {"Origin": "http://evil.example", "X-Forwarded-Host": "evil.example"}
    async with http_session() as session:
        async with session.get(handshake, headers={"Origin": balancer.url}) as response:
            assert response.status == 200
        async with session.get(handshake, headers=forged) as response:
            assert response.status == 403


@pytest.mark.parametrize("path", ["/metrics", "/api/stats", "/api/stats/clients/x"])
async def test_what_is_for_operators_is_hidden(balancer: Balancer, path: str) -> None:
    async with http_session() as session, session.get(balancer.url + path) as response:
        assert response.status == 404


async def test_balancer_is_ready_while_its_nodes_are(balancer: Balancer) -> None:
    async with http_session() as session, session.get(f"{balancer.url}/readyz") as response:
        assert response.status == 200


async def test_events_of_a_stream_pass_as_they_come(balancer: Balancer) -> None:
    # After these few bytes there is nothing more: whoever gathers them would keep them.
    url = f"{balancer.url}/api/stream?events=performance_alert"
    headers = {"Accept-Encoding": "gzip"}
    async with http_session() as session, session.get(url, headers=headers) as response:
        assert response.status == 200
        assert response.content_type == "text/event-stream"
        assert "Content-Encoding" not in response.headers
        parts = [await response.content.readuntil(b"\n\n") for _ in range(4)]
    assert [part.split(b"\n")[0] for part in parts[1:3]] == [
        b"event: connected",
        b"event: subscribed",
    ]
    assert parts[3].startswith(b"id: ")


async def test_browsers_may_speak_http_2(balancer: Balancer, kind: str) -> None:
    async with run_node("../deploy/http2.js", balancer.tls_url) as browser:
        answer = await browser.read()
        assert (answer["status"], answer["body"][:7]) == (200, '0{"sid"')
        # Where it is not offered, browsers open a connection of HTTP/1.1 for a WebSocket.
        assert answer["webSocketsOffered"] is (kind == "haproxy")
        if kind == "haproxy":
            answer = await browser.read()
            assert (answer["status"], answer["body"][2:9]) == (200, '0{"sid"')


async def test_websocket_over_tls_is_answered(balancer: Balancer) -> None:
    url = f"{balancer.tls_url}/socket.io/?EIO=4&transport=websocket"
    async with (
        http_session() as session,
        session.ws_connect(url, ssl=unverified_tls()) as websocket,
    ):
        assert (await websocket.receive_str()).startswith('0{"sid"')
        # A polite end over TLS outlives the session, and so the loop: cut the connection instead.
        connection = websocket._response.connection
        assert connection is not None
        assert connection.transport is not None
        connection.transport.abort()


@asynccontextmanager
async def streaming_server(go_on: asyncio.Event) -> AsyncIterator[str]:
    """Serve one event, and a second when told to; before each, nothing but silence."""

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(f"data: {request.headers['X-Forwarded-Proto']}\n\n".encode())
        await go_on.wait()
        await response.write(b"data: second\n\n")
        return response

    async def ready(_: web.Request) -> web.Response:
        return web.Response()

    app = web.Application()
    app.router.add_get("/api/stream", stream)
    app.router.add_get("/readyz", ready)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    go_on.set()
    await runner.cleanup()


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_each_server_sent_event_arrives_when_it_is_sent(
    kind: str, tmp_path: Path, scheme: str
) -> None:
    go_on = asyncio.Event()
    async with streaming_server(go_on) as node:
        with RUNNING[kind]([node] * 3, tmp_path) as balancer:
            url = balancer.tls_url if scheme == "https" else balancer.url
            # The session ends before the balancer does: asyncio would wait half a minute for the
            # end of a TLS connection whose other side is gone.
            async with (
                http_session() as session,
                session.get(f"{url}/api/stream", ssl=unverified_tls()) as response,
            ):
                # The server sends nothing more until this one has arrived.
                assert await response.content.readuntil(b"\n\n") == f"data: {scheme}\n\n".encode()
                go_on.set()
                assert await response.read() == b"data: second\n\n"
