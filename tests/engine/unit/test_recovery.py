"""Clients that lost their connection are given their sessions back."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import msgpack
import pytest

from stockstream.engine import AsyncServer, Connection
from tests.engine.unit.served import Client, Served, serve, until

COMEBACK = '40{"pid":"private","offset":"7"}'

Find = Callable[[], Awaitable[str | None]]


class Sessions:
    """Gives back what a test wants; notes all that happens, in order."""

    def __init__(self, find: Find) -> None:
        self._find = find
        self.happened: list[Any] = []

    def open(self, sid: str) -> str:
        self.happened.append("open")
        return f"private-{sid}"

    async def recover(self, connection: Connection, pid: str, offset: str) -> str | None:
        assert connection.open
        self.happened.append(("recover", pid, offset))
        return await self._find()


def server_with(sessions: Sessions, **options: Any) -> AsyncServer:
    """Return a server whose handlers note who comes and goes."""
    server = AsyncServer(recovery=sessions, **options)

    async def connect(sid: str, _environ: Any, _auth: Any) -> None:
        sessions.happened.append(("connect", sid))

    async def disconnect(sid: str, reason: str) -> None:
        sessions.happened.append(("disconnect", sid, reason))

    server.on("connect", connect)
    server.on("disconnect", disconnect)
    return server


def session_in(packet: str) -> dict[str, str]:
    """Return what a CONNECT tells a client."""
    assert packet.startswith("40{"), packet
    session: dict[str, str] = json.loads(packet[2:])
    return session


async def come_back(served: Served) -> dict[str, str]:
    """Claim a session; returns the one that is given."""
    async with served.opened() as client:
        await client.send(COMEBACK)
        return session_in(await client.receive())


async def give_back() -> str | None:
    return "earlier"


async def know_nobody() -> str | None:
    return None


async def test_new_client_is_told_a_private_id() -> None:
    sessions = Sessions(know_nobody)
    async with serve(server_with(sessions)) as served, served.opened() as client:
        await client.send("40")
        session = session_in(await client.receive())
        assert session["pid"] == f"private-{session['sid']}"
        assert sessions.happened == ["open", ("connect", session["sid"])]


async def test_session_is_looked_for_before_the_connect_handler_and_goes_on() -> None:
    sessions = Sessions(give_back)
    async with serve(server_with(sessions)) as served:
        assert await come_back(served) == {"sid": "earlier", "pid": "private"}
        assert sessions.happened[:2] == [("recover", "private", "7"), ("connect", "earlier")]


async def test_client_whose_session_is_not_known_gets_a_new_one() -> None:
    sessions = Sessions(know_nobody)
    async with serve(server_with(sessions)) as served:
        session = await come_back(served)
        assert session["pid"] == f"private-{session['sid']}"
        assert sessions.happened[:2] == [("recover", "private", "7"), "open"]


async def test_failing_recovery_is_logged_once_and_gives_a_new_session(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail() -> str | None:
        raise LookupError("on purpose")

    server = server_with(Sessions(fail))
    async with serve(server) as served, served.opened() as client:
        await client.send(COMEBACK)
        session = session_in(await client.receive())
        assert session["pid"] == f"private-{session['sid']}"
        # Nothing of it is left: the client may leave, and connect again.
        await client.send("41", "40")
        assert (await client.receive()).startswith("40{")
    assert len([record for record in caplog.records if "'recovery'" in record.getMessage()]) == 1
    assert server.metrics.handler_errors == 1


async def test_id_that_is_in_use_is_not_given_to_a_second_client() -> None:
    sessions = Sessions(give_back)
    async with serve(server_with(sessions)) as served, served.opened() as client:
        await client.send(COMEBACK)
        assert session_in(await client.receive())["sid"] == "earlier"
        assert (await come_back(served))["sid"] != "earlier"


@pytest.mark.parametrize("auth", ["", "{}", '{"pid":1,"offset":"7"}', '{"pid":"x"}'])
async def test_client_that_claims_nothing_gets_a_new_session(auth: str) -> None:
    sessions = Sessions(give_back)
    async with serve(server_with(sessions)) as served, served.opened() as client:
        await client.send("40" + auth)
        assert session_in(await client.receive())["sid"] != "earlier"
        assert sessions.happened[0] == "open"


async def test_second_connect_while_the_session_is_looked_for_closes() -> None:
    gate = asyncio.Event()

    async def wait() -> str | None:
        await gate.wait()
        return "earlier"

    sessions = Sessions(wait)
    server = server_with(sessions)
    async with serve(server) as served:
        async with served.opened() as client:
            await client.send(COMEBACK)
            await until(lambda: bool(sessions.happened))
            await client.send(COMEBACK)
            assert await client.receive() is None
        assert server.metrics.violations == 1
        gate.set()
        await until(served.is_empty)
    # The handler whose client left meanwhile is told so.
    assert sessions.happened[1:] == [
        ("connect", "earlier"),
        ("disconnect", "earlier", "transport close"),
    ]


async def test_other_namespace_is_open_while_the_session_is_looked_for() -> None:
    gate = asyncio.Event()

    async def wait() -> str | None:
        await gate.wait()
        return "earlier"

    server = server_with(Sessions(wait), namespaces=["/", "/other"])
    async with serve(server) as served, served.opened() as client:
        await client.send(COMEBACK, "40/other,")
        assert (await client.receive()).startswith("40/other,{")
        gate.set()
        assert session_in(await client.receive())["sid"] == "earlier"


async def test_dropped_client_has_left_when_drop_returns_and_may_come_back_at_once() -> None:
    lost: list[Client] = []

    async def take_over() -> str | None:
        sid = lost[0].sid
        await server.drop(sid)
        assert sessions.happened[-1] == ("disconnect", sid, "transport close")
        assert server.connection(sid) is None
        return sid

    sessions = Sessions(take_over)
    server = server_with(sessions)
    async with serve(server) as served, served.connected() as half_open:
        lost.append(half_open)
        async with served.opened() as again:
            await again.send(COMEBACK)
            assert session_in(await again.receive())["sid"] == half_open.sid
            assert await half_open.receive() is None
            await server.emit("still", to=half_open.sid)
            assert await again.receive() == '42["still"]'
            assert server.manager.is_connected(half_open.sid, "/")


async def test_drop_waits_for_a_client_that_is_leaving_by_itself() -> None:
    gate = asyncio.Event()
    left: list[str] = []
    server = AsyncServer()

    async def disconnect(sid: str) -> None:
        await gate.wait()
        left.append(sid)

    server.on("disconnect", disconnect)
    async with serve(server) as served:
        async with served.connected() as client:
            pass
        await until(lambda: not server.eio.hub.sessions)
        drop = asyncio.create_task(server.drop(client.sid))
        done, _ = await asyncio.wait([drop], timeout=0)
        assert not done
        gate.set()
        await drop
        assert left == [client.sid]
        assert server.manager.member(client.sid, "/") is None
        await server.drop(client.sid)


async def test_messagepack_client_gets_its_session_back() -> None:
    sessions = Sessions(give_back)
    server = server_with(sessions, serializer="msgpack")
    claim = {"type": 0, "nsp": "/", "data": {"pid": "private", "offset": "7"}}
    async with serve(server) as served, served.opened() as client:
        await client.send(msgpack.packb(claim))
        answer = msgpack.unpackb(await client.receive())
    assert answer["type"] == 0
    assert answer["data"] == {"sid": "earlier", "pid": "private"}
    assert sessions.happened[0] == ("recover", "private", "7")
