"""Who may enter is decided before anything of an earlier session is touched."""

import asyncio
import json
from typing import Any

import pytest

from stockstream.engine import AsyncServer, Connection
from tests.engine.unit.served import serve, until
from tests.engine.unit.test_recovery import COMEBACK, Sessions, give_back, server_with


def refuse(why: str, **data: Any) -> Any:
    async def admit(*_: Any) -> None:
        raise ConnectionRefusedError(why, data)

    return admit


async def test_a_client_that_is_refused_hears_why_and_touches_no_session() -> None:
    sessions = Sessions(give_back)
    server = server_with(sessions, admit=refuse("not you", code="unauthorized"))
    async with serve(server) as served, served.opened() as client:
        await client.send(COMEBACK)
        told = '44{"message":"not you","data":{"code":"unauthorized"}}'
        assert await client.receive() == told
        assert sessions.happened == []
        # It may try again on the same connection.
        await client.send("40")
        assert await client.receive() == told


async def test_what_is_found_out_about_a_client_is_there_for_its_session() -> None:
    found: list[Any] = []

    async def admit(connection: Connection, environ: Any, auth: Any) -> str:
        assert environ["HTTP_X_TEST"] == "header"
        return f"user {auth['name']}"

    server = AsyncServer(admit=admit)

    async def connect(sid: str, _environ: Any, _auth: Any) -> None:
        connection = server.connection(sid)
        assert connection is not None
        found.append(server.admitted(connection))

    server.on("connect", connect)
    async with serve(server) as served, served.opened(**{"X-Test": "header"}) as client:
        await client.connect('40{"name":"alice"}')
        assert found == ["user alice"]


async def test_nobody_enters_twice_while_it_is_being_decided() -> None:
    asked, decided = asyncio.Event(), asyncio.Event()

    async def admit(*_: Any) -> None:
        asked.set()
        await decided.wait()

    async with serve(server_with(Sessions(give_back), admit=admit)) as served:
        async with served.opened() as client:
            await client.send("40")
            await asked.wait()
            await client.send("40")
            assert await client.receive() is None
        decided.set()
        await until(served.is_empty)


async def test_an_event_before_the_decision_breaks_the_protocol() -> None:
    decided = asyncio.Event()

    async def admit(*_: Any) -> None:
        await decided.wait()

    async with serve(server_with(Sessions(give_back), admit=admit)) as served:
        async with served.opened() as client:
            await client.send("40", '42["subscribe"]')
            assert await client.receive() is None
        decided.set()


async def test_a_client_that_left_meanwhile_gets_no_session() -> None:
    asked, decided = asyncio.Event(), asyncio.Event()

    async def admit(*_: Any) -> None:
        asked.set()
        await decided.wait()

    sessions = Sessions(give_back)
    server = server_with(sessions, admit=admit)
    async with serve(server) as served:
        async with served.opened() as client:
            await client.send(COMEBACK)
            await asked.wait()
        await until(lambda: not server.eio.hub.sessions)
        decided.set()
        await until(served.is_empty)
        assert sessions.happened == []


async def test_a_failure_lets_nobody_in(caplog: pytest.LogCaptureFixture) -> None:
    async def admit(*_: Any) -> None:
        raise LookupError("on purpose")

    server = server_with(Sessions(give_back), admit=admit)
    async with serve(server) as served, served.opened() as client:
        await client.send("40")
        answer = await client.receive()
        assert json.loads(answer[2:]) == {"message": "Internal server error"}
    assert "on purpose" in caplog.text
