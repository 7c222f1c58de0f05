"""The WebSocket transport (Engine.IO protocol, "WebSocket")."""

import json

import pytest

from tests.support.target_fixtures import engine_only
from tests.support.wire_client import WEBSOCKET, Endpoint, lifecycle_until


async def test_each_packet_has_a_frame_of_its_own(ordinary: Endpoint) -> None:
    async with ordinary.connected() as socket:
        await socket.send('42["echo",1]', '42["echo",2]')
        assert [await socket.receive() for _ in range(2)] == ['42["echo",1]', '42["echo",2]']


async def test_binary_payloads_are_sent_as_they_are(ordinary: Endpoint) -> None:
    async with ordinary.connected() as socket:
        await socket.send('42["binaryOut"]')
        assert json.loads((await socket.receive_text())[4:]) == [
            "bytes",
            {"_placeholder": True, "num": 0},
        ]
        assert await socket.receive() == b"\x01\x02\x03\x04"


@engine_only("the reference takes it for an upgrade and closes after the upgrade timeout")
async def test_second_websocket_for_a_session_is_closed_and_the_first_lives(
    ordinary: Endpoint,
) -> None:
    async with ordinary.connected() as first:
        sid = first.handshake["sid"]
        async with ordinary.websocket(f"{WEBSOCKET}&sid={sid}") as second:
            assert await second.until_closed() == []
        assert await first.is_alive()


@engine_only("the reference leaves the WebSocket open until the next ping is not answered")
async def test_close_packet_closes_the_websocket(ordinary: Endpoint) -> None:
    async with ordinary.connected() as observer, ordinary.connected() as socket:
        await socket.send("1")
        assert await socket.until_closed() == []
        assert await lifecycle_until(observer, socket.sid, "disconnect")


async def test_websocket_that_closes_ends_the_session(ordinary: Endpoint) -> None:
    async with ordinary.connected() as observer:
        async with ordinary.connected() as socket:
            pass
        seen = await lifecycle_until(observer, socket.sid, "disconnect")
    assert seen == ["connect", "disconnect"]


@pytest.mark.parametrize("packet", ["abc", "", "7", "9", "x", "2", "2probe", b"\x04hello", b""])
async def test_invalid_packet_closes_the_websocket(ordinary: Endpoint, packet: str | bytes) -> None:
    async with ordinary.connected() as socket:
        await socket.send(packet)
        assert await socket.until_closed() == []


async def test_pong_that_nobody_waits_for_is_ignored(ordinary: Endpoint) -> None:
    async with ordinary.connected() as socket:
        await socket.send("3")
        assert await socket.is_alive()


async def test_message_of_exactly_the_announced_limit_is_taken(ordinary: Endpoint) -> None:
    async with ordinary.connected() as socket:
        packet = '42["noReturn","' + "x" * (1_000_000 - 17) + '"]'
        assert len(packet) == 1_000_000
        await socket.send(packet)
        assert await socket.is_alive()


@pytest.mark.parametrize("size", [1_000_001, 3_000_000])
async def test_message_over_the_announced_limit_closes_the_websocket(
    ordinary: Endpoint, size: int
) -> None:
    async with ordinary.connected() as socket:
        await socket.send("4" + "x" * (size - 1))
        assert await socket.until_closed() == []
