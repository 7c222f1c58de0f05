"""The upgrade from long-polling to WebSocket (Engine.IO protocol, "Upgrade")."""

import contextlib
from collections.abc import AsyncIterator

import pytest

from tests.support.target_fixtures import engine_only
from tests.support.wire_client import WEBSOCKET, Endpoint, Polling, Socket, lifecycle_until


@contextlib.asynccontextmanager
async def probed(session: Polling) -> AsyncIterator[Socket]:
    """Open the second transport and exchange the probe."""
    async with session.endpoint.websocket(f"{WEBSOCKET}&sid={session.sid}") as socket:
        await socket.send("2probe")
        assert await socket.receive() == "3probe"
        yield socket


@contextlib.asynccontextmanager
async def upgraded(session: Polling) -> AsyncIterator[Socket]:
    """Move the session to a WebSocket."""
    async with probed(session) as socket:
        await socket.send("5")
        yield socket


async def test_session_moves_to_the_websocket(ordinary: Endpoint) -> None:
    session = await ordinary.connected_polling()
    async with probed(session) as socket:
        assert await session.receive() == ["6"]
        await socket.send("5")
        assert (await socket.call("whoAmI"))[2] == "websocket"


async def test_pending_poll_is_released_with_a_noop(ordinary: Endpoint) -> None:
    session = await ordinary.connected_polling()
    async with session.pending_poll() as poll, probed(session) as socket:
        released = await poll.response()
        assert (released.status, released.text) == (200, "6")
        await socket.send("5")
        assert await socket.is_alive()


async def test_no_noop_is_left_over_for_the_websocket(ordinary: Endpoint) -> None:
    session = await ordinary.connected_polling()
    async with upgraded(session) as socket:
        await socket.send('42["echo","first"]')
        assert await socket.receive() == '42["echo","first"]'


async def test_client_that_does_not_wait_for_the_probe_answer_is_upgraded(
    ordinary: Endpoint,
) -> None:
    session = await ordinary.connected_polling()
    async with ordinary.websocket(f"{WEBSOCKET}&sid={session.sid}") as socket:
        await socket.send("2probe", "5", '42["echo","x"]')
        assert [await socket.receive() for _ in range(2)] == ["3probe", '42["echo","x"]']


async def test_session_can_connect_after_the_upgrade(ordinary: Endpoint) -> None:
    session = await ordinary.polling()
    async with upgraded(session) as socket:
        await socket.connect()
        assert await socket.is_alive()


async def test_polling_after_the_upgrade_is_answered_400_and_harms_nobody(
    ordinary: Endpoint,
) -> None:
    session = await ordinary.connected_polling()
    async with upgraded(session) as socket:
        assert await socket.is_alive()
        assert (await session.get()).status == 400
        assert (await session.post('42["echo","stray"]')).status == 400
        assert await socket.is_alive()


async def test_poll_that_races_the_upgrade_takes_no_message(ordinary: Endpoint) -> None:
    session = await ordinary.connected_polling()
    async with upgraded(session) as socket:
        response = await session.get()
        assert response.status == 400
        assert await socket.is_alive()


async def test_second_websocket_after_the_upgrade_is_closed(ordinary: Endpoint) -> None:
    session = await ordinary.connected_polling()
    async with upgraded(session) as socket:
        assert await socket.is_alive()
        async with ordinary.websocket(f"{WEBSOCKET}&sid={session.sid}") as second:
            assert await second.until_closed() == []
        assert await socket.is_alive()


async def test_second_websocket_during_the_upgrade_is_closed(ordinary: Endpoint) -> None:
    session = await ordinary.connected_polling()
    async with probed(session) as socket:
        async with ordinary.websocket(f"{WEBSOCKET}&sid={session.sid}") as second:
            assert await second.until_closed() == []
        await socket.send("5")
        assert await socket.is_alive()


@pytest.mark.parametrize(
    "packet", ["2", "2prob", "3probe", "40", '42["echo"]', "1", "6", "abc", "", b"\x01"]
)
async def test_anything_but_the_probe_closes_the_websocket_and_polling_goes_on(
    ordinary: Endpoint, packet: str | bytes
) -> None:
    session = await ordinary.connected_polling()
    async with ordinary.websocket(f"{WEBSOCKET}&sid={session.sid}") as socket:
        await socket.send(packet)
        assert await socket.until_closed() == []
    await session.send('42["echo","still here"]')
    assert await session.receive() == ['42["echo","still here"]']


@engine_only("the reference upgrades without a probe")
async def test_upgrade_without_a_probe_closes_the_websocket(ordinary: Endpoint) -> None:
    session = await ordinary.connected_polling()
    async with ordinary.websocket(f"{WEBSOCKET}&sid={session.sid}") as socket:
        await socket.send("5")
        assert await socket.until_closed() == []
    assert not await session.is_closed()


@pytest.mark.parametrize("packet", ["40", '42["echo"]', "2", "3", "1", "abc"])
async def test_anything_but_the_upgrade_after_the_probe_closes_the_websocket(
    ordinary: Endpoint, packet: str
) -> None:
    session = await ordinary.connected_polling()
    async with probed(session) as socket:
        await socket.send(packet)
        assert await socket.until_closed() == []
    await session.send('42["echo","still here"]')
    packets = await session.receive_many(1)
    if packets == ["6"]:
        packets = await session.receive()
    assert packets == ['42["echo","still here"]']


@pytest.mark.parametrize("packets", [(), ("2probe",)])
async def test_upgrade_that_is_not_finished_in_time_is_closed_and_polling_goes_on(
    deadlines: Endpoint, packets: tuple[str, ...]
) -> None:
    session = await deadlines.connected_polling()
    async with deadlines.websocket(f"{WEBSOCKET}&sid={session.sid}") as socket:
        await socket.send(*packets)
        assert await socket.until_closed() == ["3probe" for _ in packets]
    await session.send('42["echo","still here"]')
    packets_back = await session.receive()
    if packets_back == ["6"]:
        packets_back = await session.receive()
    assert packets_back == ['42["echo","still here"]']


async def test_websocket_that_vanishes_during_the_upgrade_leaves_polling_alone(
    ordinary: Endpoint,
) -> None:
    session = await ordinary.connected_polling()
    async with probed(session):
        pass
    await session.send('42["echo","still here"]')
    packets = await session.receive()
    if packets == ["6"]:
        packets = await session.receive()
    assert packets == ['42["echo","still here"]']


async def test_failed_upgrade_can_be_tried_again(ordinary: Endpoint) -> None:
    session = await ordinary.connected_polling()
    async with probed(session) as first:
        await first.send("40")
        await first.until_closed()
    async with upgraded(session) as second:
        assert await second.is_alive()


async def test_messages_emitted_during_the_upgrade_arrive_once_and_in_order(
    ordinary: Endpoint,
) -> None:
    session = await ordinary.connected_polling()
    ticks = [f'42["tick",{n},"x"]' for n in range(50)]
    async with probed(session) as socket:
        await session.send('42["burst",50,1]')
        await socket.send("5", '42["echo","end"]')
        received = []
        while '42["echo","end"]' not in received:
            received.append(await socket.receive())
    assert [packet for packet in received if packet != "6"] == [*ticks, '42["echo","end"]']


async def test_poll_between_probe_and_upgrade_shares_the_messages_without_loss(
    ordinary: Endpoint,
) -> None:
    session = await ordinary.connected_polling()
    async with probed(session) as socket:
        await session.send('42["burst",20,1]')
        received: list[str | bytes] = [*await session.receive()]
        await socket.send("5", '42["echo","end"]')
        while '42["echo","end"]' not in received:
            received.append(await socket.receive())
    ticks = [f'42["tick",{n},"x"]' for n in range(20)]
    assert [packet for packet in received if packet != "6"] == [*ticks, '42["echo","end"]']


async def test_session_that_closes_during_the_upgrade_closes_the_websocket(
    ordinary: Endpoint,
) -> None:
    session = await ordinary.connected_polling()
    async with probed(session) as socket:
        assert (await session.post("1")).status == 200
        assert await socket.until_closed() == []


async def test_closing_the_upgraded_websocket_ends_the_session_once(ordinary: Endpoint) -> None:
    session = await ordinary.connected_polling()
    async with ordinary.connected() as observer:
        async with upgraded(session) as socket:
            sid = (await socket.call("whoAmI"))[0]
        seen = await lifecycle_until(observer, sid, "disconnect")
    assert seen == ["connect", "disconnect"]
