"""The hardened Socket.IO server, as its users and their clients see it."""

import asyncio
import logging
from typing import Any

import pytest
import socketio

from stockstream.engine import (
    AsyncServer,
    ConfigurationError,
    EncodeError,
    Limits,
    Manager,
    SessionNotFoundError,
    UnsupportedError,
)
from tests.engine.unit.served import serve, until
from tests.support.redis_server import running_redis


async def test_failing_handler_is_logged_once_and_harms_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = AsyncServer()

    async def fail(_sid: str) -> None:
        raise LookupError("on purpose")

    server.on("fail", fail)

    async with serve(server) as served, served.connected() as client:
        await client.send('421["fail"]', '422["fail"]', "41")
        await until(lambda: not server.manager.is_connected(client.sid, "/"))
        await until(lambda: len(server._inbox) == 0)
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(errors) == 2
    assert client.sid in errors[0].getMessage()
    assert "'fail'" in errors[0].getMessage()
    assert server.metrics.handler_errors == 2


async def test_failing_connect_handler_refuses(caplog: pytest.LogCaptureFixture) -> None:
    server = AsyncServer()

    async def connect(_sid: str, _environ: Any) -> None:
        raise LookupError("on purpose")

    server.on("connect", connect)

    async with serve(server) as served, served.opened() as client:
        await client.send("40")
        assert await client.receive() == '44{"message":"Internal server error"}'
        assert len(caplog.records) >= 1
    await until(served.is_empty)


async def test_events_start_in_order_while_one_waits() -> None:
    server = AsyncServer()
    gate = asyncio.Event()
    started: list[int] = []

    async def event(_sid: str, number: int) -> int:
        started.append(number)
        if number == 0:
            await gate.wait()
        return number

    server.on("event", event)

    async with serve(server) as served, served.connected() as client:
        await client.send(*[f'42{n}["event",{n}]' for n in range(20)])
        answers = [await client.receive() for _ in range(19)]
        gate.set()
        answers.append(await client.receive())
    assert started == list(range(20))
    assert answers == [f"43{n}[{n}]" for n in [*range(1, 20), 0]]


async def test_handlers_run_in_turn_without_async_handlers() -> None:
    server = AsyncServer(async_handlers=False)
    running: list[int] = []

    async def event(_sid: str, number: int) -> int:
        running.append(number)
        await asyncio.sleep(0)
        assert running[-1] == number
        return number

    server.on("event", event)

    async with serve(server) as served, served.connected() as client:
        await client.send(*[f'42{n}["event",{n}]' for n in range(20)])
        assert [await client.receive() for _ in range(20)] == [f"43{n}[{n}]" for n in range(20)]


async def test_handler_may_wait_for_an_acknowledgement_of_its_own_client() -> None:
    server = AsyncServer()

    async def ask(sid: str) -> Any:
        return await server.call("question", "why", to=sid)

    server.on("ask", ask)

    async with serve(server) as served, served.connected() as client:
        await client.send('427["ask"]')
        assert await client.receive() == '421["question","why"]'
        await client.send('431["because"]')
        assert await client.receive() == '437["because"]'
        await client.send('431["again"]', '439["never asked"]', '430["the counter"]')
        await until(lambda: server.metrics.unknown_acknowledgements == 3)


async def test_rooms_work_as_ever() -> None:
    server = AsyncServer()
    async with serve(server) as served:
        async with served.connected() as one, served.connected() as two:
            await server.enter_room(one.sid, "a")
            assert server.rooms(one.sid) == [one.sid, "a"]
            await server.emit("x", 1, room="a")
            await server.emit("x", (2, 3), to=two.sid)
            await server.emit("x", skip_sid=one.sid)
            assert await one.receive() == '42["x",1]'
            assert [await two.receive(), await two.receive()] == ['42["x",2,3]', '42["x"]']
            with pytest.raises(ValueError, match="sid room"):
                await server.enter_room(one.sid, two.sid)
            await server.close_room("a")
            assert server.rooms(one.sid) == [one.sid]
            await server.emit("x", b"\x01", to=[one.sid, two.sid])
            assert await one.receive() == '451-["x",{"_placeholder":true,"num":0}]'
            assert await one.receive() == b"\x01"
        await until(served.is_empty)
        with pytest.raises(SessionNotFoundError):
            await server.enter_room(one.sid, "a")


async def test_broadcast_does_not_reach_who_was_not_let_in_yet() -> None:
    server = AsyncServer()
    gate = asyncio.Event()

    emitted = asyncio.Event()

    async def connect(sid: str, _environ: Any, _auth: Any) -> None:
        await server.emit("own", to=sid)
        emitted.set()
        await gate.wait()

    server.on("connect", connect)

    async with serve(server) as served, served.opened() as client:
        await client.send("40")
        await emitted.wait()
        await server.emit("secret")
        gate.set()
        assert (await client.receive()).startswith("40{")
        # What its own handler sent to it waited for the answer to its CONNECT.
        assert await client.receive() == '42["own"]'


async def test_what_was_sent_to_a_client_that_is_refused_never_leaves() -> None:
    server = AsyncServer()

    async def connect(sid: str, _environ: Any, _auth: Any) -> bool:
        await server.emit("own", to=sid)
        return False

    server.on("connect", connect)

    async with serve(server) as served, served.opened() as client:
        await client.send("40")
        assert (await client.receive()).startswith("44{")
        await client.send("40")
        assert (await client.receive()).startswith("44{")


async def test_client_that_leaves_during_its_connect_handler_is_cleaned_up() -> None:
    server = AsyncServer()
    gate = asyncio.Event()
    calls: list[str] = []

    async def connect(_sid: str, _environ: Any) -> None:
        calls.append("connect")
        await gate.wait()

    server.on("connect", connect)

    async def disconnect(_sid: str) -> None:
        calls.append("disconnect")

    server.on("disconnect", disconnect)

    async with serve(server) as served:
        async with served.opened() as client:
            await client.send("40")
            await until(lambda: calls == ["connect"])
        await until(lambda: not server.eio.hub.sessions)
        gate.set()
        await until(served.is_empty)
    assert calls == ["connect", "disconnect"]


async def test_class_based_namespaces_and_catch_all_handlers_work() -> None:
    server = AsyncServer()

    class Chat(socketio.AsyncNamespace):  # type: ignore[misc]
        async def on_say(self, _sid: str, text: str) -> str:
            return text.upper()

    server.register_namespace(Chat("/chat"))

    async def anything(event: str, _sid: str, *args: Any) -> Any:
        return [event, *args]

    server.on("*", anything)

    async with serve(server) as served, served.connected() as client:
        await client.connect("40/chat,")
        await client.send(
            '42/chat,1["say","hi"]', '42/chat,2["unknown"]', '423["x",1]', '424["*",2]'
        )
        assert await client.receive() == '43/chat,1["HI"]'
        assert await client.receive() == '433[["x",1]]'
        assert await client.receive() == '434[["*",2]]'


async def test_sessions_belong_to_their_client() -> None:
    server = AsyncServer()
    async with serve(server) as served, served.connected() as client:
        async with server.session(client.sid) as session:
            session["user"] = 1
        assert await server.get_session(client.sid) == {"user": 1}
        with pytest.raises(SessionNotFoundError):
            await server.get_session("nobody")


async def test_value_that_cannot_be_sent_is_refused_to_the_emitter() -> None:
    server = AsyncServer()
    async with serve(server) as served, served.connected() as client:
        with pytest.raises(EncodeError):
            await server.emit("x", float("nan"))
        await server.emit("x", 1)
        assert await client.receive() == '42["x",1]'


async def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="trusted_proxies"):
        AsyncServer(trusted_proxies=["everybody"])
    with pytest.raises(ConfigurationError, match="async_mode"):
        AsyncServer(async_mode="sanic")
    with pytest.raises(UnsupportedError):
        AsyncServer().instrument()


async def test_managers_of_python_socketio_are_adapted() -> None:
    plain = socketio.AsyncManager()
    assert isinstance(AsyncServer(plain).manager, Manager)
    redis = socketio.AsyncRedisManager("redis://127.0.0.1:1")
    adopted = AsyncServer(redis).manager
    assert isinstance(adopted, Manager)
    assert isinstance(adopted, socketio.AsyncRedisManager)


async def test_cookie_with_the_session_id_is_set() -> None:
    server = AsyncServer(
        cookie={"name": "stick", "Path": "/", "HttpOnly": True, "Secure": False},
        limits=Limits(close_seconds=0.05),
    )
    async with serve(server) as served:
        response = await served.http.get(served.url + "?EIO=4&transport=polling")
        cookie = response.headers["Set-Cookie"]
    assert cookie.startswith("stick=")
    assert cookie.endswith("; Path=/; HttpOnly")


async def test_same_origin_is_the_host_that_was_asked_for() -> None:
    server = AsyncServer(limits=Limits(close_seconds=0.05))
    async with serve(server) as served:
        url = served.url + "?EIO=4&transport=polling"
        own = served.url.removesuffix("/socket.io/")
        for origin, status in ((own, 200), ("https://evil.example", 403), ("null", 403)):
            async with served.http.get(url, headers={"Origin": origin}) as response:
                assert response.status == status
    assert server.metrics.refused_origin == 2


async def test_emit_of_another_process_over_redis_reaches_clients() -> None:
    with running_redis() as redis:
        server = AsyncServer(socketio.AsyncRedisManager(redis.url))
        outside = socketio.AsyncRedisManager(redis.url, write_only=True)
        async with serve(server) as served, served.connected() as client:
            await server.enter_room(client.sid, "a")
            received: asyncio.Task[Any] = asyncio.create_task(client.receive())
            while not received.done():
                # Until the server's subscription stands nobody hears it.
                await outside.emit("news", {"n": 1}, room="a")
                await asyncio.wait([received], timeout=0.05)
            assert await received == '42["news",{"n":1}]'
        await outside.redis.aclose()
