"""A server that is asked to end, and the one that is started after it."""

import os

import aiohttp
import pytest

from tests.acceptance.conftest import BUSY, shown_server
from tests.acceptance.crowd import WAYS, Crowd, Way, assert_complete
from tests.support.ports import free_port
from tests.support.processes import STOCKSTREAM, running_child

#: The documented `SHUTDOWN_TIMEOUT`, and what a process takes to end when all is done, on a busy
#: machine too; less than a client that is not there any more is waited for (45 s).
WITHIN = 10.0 + 25.0


async def listening(url: str) -> bool:
    try:
        async with aiohttp.ClientSession() as session, session.get(f"{url}/healthz") as response:
            return response.status == 200
    except aiohttp.ClientConnectionError:
        return False


async def test_clients_hear_of_the_end_and_the_process_ends_well(crowd: Crowd, way: Way) -> None:
    async with shown_server() as server:
        client = await crowd.connect(server.url, way)
        await client.subscribe("stock_update_AAPL")
        if len(way.transports) == 2:
            await client.hear("upgrade")
        await client.updates_of("AAPL", 3)

        server.child.terminate()

        (reason,) = await client.hear("disconnect")
        # After "io server disconnect" a client would not come back by itself.
        assert reason == "transport close"
        assert await server.child.exit_status(WITHIN) == 0
        assert_complete(client.updates("AAPL"))
        assert "Traceback" not in server.child.output()


async def test_clients_come_back_to_the_server_started_anew(crowd: Crowd) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [*STOCKSTREAM, "serve", "--port", str(port)]
    env = {key: value for key, value in os.environ.items() if "STOCKSTREAM" not in key} | BUSY
    with running_child(command, env) as first:
        clients = [await crowd.begin(url, way, reconnection=True) for way in WAYS]
        for client in clients:
            await client.event("connected")
        first.terminate()
        for client in clients:
            await client.hear("disconnect")
        assert await first.exit_status(WITHIN) == 0
    heard = [len(client.heard) for client in clients]
    with running_child(command, env) as second:
        for client, start in zip(clients, heard, strict=True):
            await client.event("connected", start)
            await client.subscribe("stock_update_AAPL")
            await client.updates_of("AAPL", 2)
        assert "Traceback" not in second.output()


async def test_nobody_new_is_let_in_while_the_server_ends(crowd: Crowd) -> None:
    async with shown_server() as server:
        witness = await crowd.connect(server.url)
        server.child.terminate()
        await witness.hear("disconnect")

        newcomer = await crowd.begin(server.url)

        await newcomer.hear("connect_error")
        assert "connected" not in newcomer.kinds()
        assert await server.child.exit_status(WITHIN) == 0


@pytest.mark.slow
async def test_client_that_reads_nothing_does_not_hold_up_the_end(crowd: Crowd) -> None:
    async with shown_server() as server:
        url = f"{server.url}/socket.io/?EIO=4&transport=websocket"
        async with aiohttp.ClientSession() as session, session.ws_connect(url) as deaf:
            await deaf.send_str("40")
            await deaf.send_str('42["subscribe",{"events":["stock_update_AAPL"]}]')
            server.child.terminate()
            assert await server.child.exit_status(WITHIN) == 0


async def test_idle_server_ends_well_and_frees_its_port() -> None:
    async with shown_server() as server:
        assert await listening(server.url)
        server.child.terminate()
        assert await server.child.exit_status(WITHIN) == 0
        assert not await listening(server.url)
