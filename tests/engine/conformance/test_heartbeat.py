"""The heartbeat (Engine.IO protocol, "Heartbeat"), with pings every 300 ms."""

import asyncio

from tests.support.wire_client import (
    PATIENCE,
    WEBSOCKET,
    ClosedByServer,
    Endpoint,
    lifecycle_until,
)


async def test_websocket_that_answers_pings_stays_open(short: Endpoint) -> None:
    async with short.opened() as socket:
        for _ in range(4):
            assert await socket.receive() == "2"
            await socket.send("3")
        await socket.connect()


async def test_polling_client_that_answers_pings_stays_open(short: Endpoint) -> None:
    session = await short.polling()
    for _ in range(4):
        assert await session.receive() == ["2"]
        await session.send("3")


async def test_websocket_that_does_not_answer_is_closed(short: Endpoint) -> None:
    async with short.opened() as socket:
        assert await socket.until_closed() == ["2"]


async def test_polling_client_that_does_not_answer_is_closed(short: Endpoint) -> None:
    session = await short.polling()
    assert await session.receive() == ["2"]
    async with asyncio.timeout(PATIENCE):
        while (response := await session.get()).status == 200:
            assert set(response.packets) <= {"1", "6"}
    assert response.status == 400


async def test_polling_client_that_never_comes_back_is_noticed(short: Endpoint) -> None:
    session = await short.polling()
    await session.send("40")
    (answer,) = await session.receive()
    sid = answer.split('"')[3]
    async with short.connected() as observer:
        observer.answers_pings = True
        assert await lifecycle_until(observer, sid, "disconnect") == ["connect", "disconnect"]


async def test_websocket_that_only_listens_is_noticed_by_others(short: Endpoint) -> None:
    async with short.connected() as silent, short.connected() as observer:
        observer.answers_pings = True
        seen = await lifecycle_until(observer, silent.sid, "disconnect")
    assert seen == ["connect", "disconnect"]


async def test_other_packets_do_not_replace_the_pong_for_ever(short: Endpoint) -> None:
    async with short.connected() as socket:
        async with asyncio.timeout(PATIENCE):
            try:
                while True:
                    await socket.send('42["echo"]')
                    await socket.receive()
            except (ClosedByServer, ConnectionError):
                pass


async def test_heartbeat_goes_on_after_the_upgrade(short: Endpoint) -> None:
    session = await short.polling()
    async with short.websocket(f"{WEBSOCKET}&sid={session.sid}") as socket:
        await socket.send("2probe")
        assert await socket.receive() == "3probe"
        await socket.send("5")
        for _ in range(2):
            assert await socket.receive() == "2"
            await socket.send("3")
        assert await socket.until_closed() == ["2"]
