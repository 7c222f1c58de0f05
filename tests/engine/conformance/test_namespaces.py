"""Namespaces (Socket.IO protocol, "Connection to" and "Disconnection from a namespace")."""

import contextlib
import json

import pytest

from tests.support.wire_client import ClosedByServer, Endpoint, lifecycle_until


async def test_connect_is_answered_with_an_id(ordinary: Endpoint) -> None:
    async with ordinary.opened() as socket:
        await socket.send("40")
        answer = await socket.receive_text()
    assert answer[:2] == "40"
    payload = json.loads(answer[2:])
    assert set(payload) == {"sid"}
    assert isinstance(payload["sid"], str)


@pytest.mark.parametrize(("sent", "received"), [("", {}), ('{"token":"123"}', {"token": "123"})])
async def test_connect_payload_reaches_the_application(
    ordinary: Endpoint, sent: str, received: object
) -> None:
    async with ordinary.connected(auth=sent) as socket:
        sid, auth, transport = await socket.call("whoAmI")
    assert (sid, auth, transport) == (socket.sid, received, "websocket")


async def test_connect_is_answered_before_any_event(ordinary: Endpoint) -> None:
    async with ordinary.opened() as socket:
        await socket.send('40{"greet":"hello"}')
        answers = [await socket.receive_text() for _ in range(2)]
    assert answers[0].startswith("40{")
    assert answers[1] == '42["greeting","hello"]'


@pytest.mark.parametrize(
    "packet", ["40/custom,", "40/custom", '40/custom,{"token":"abc"}', "40/custom,{}"]
)
async def test_custom_namespace_is_named_in_the_answer(ordinary: Endpoint, packet: str) -> None:
    async with ordinary.opened() as socket:
        await socket.send(packet)
        answer = await socket.receive_text()
        assert answer.startswith("40/custom,")
        assert set(json.loads(answer[len("40/custom,") :])) == {"sid"}


async def test_one_connection_serves_many_namespaces(ordinary: Endpoint) -> None:
    async with ordinary.connected() as socket:
        main = socket.sid
        await socket.connect("/custom")
        assert socket.sid != main
        await socket.send('42/custom,["echo",1]', '42["echo",2]')
        assert [await socket.receive() for _ in range(2)] == [
            '42/custom,["echo",1]',
            '42["echo",2]',
        ]


async def test_unknown_namespace_is_refused_with_a_message(ordinary: Endpoint) -> None:
    async with ordinary.opened() as socket:
        await socket.send("40/random")
        assert await socket.receive() == '44/random,{"message":"Invalid namespace"}'


@pytest.mark.parametrize("name", ["/__proto__", "/" + "x" * 2_000, "/ ", "/é"])
async def test_strange_namespaces_are_unknown_ones(ordinary: Endpoint, name: str) -> None:
    async with ordinary.opened() as socket:
        await socket.send(f"40{name},")
        answer = await socket.receive_text()
        assert answer == f'44{name},{{"message":"Invalid namespace"}}'


async def test_refusal_of_the_application_has_message_and_data(ordinary: Endpoint) -> None:
    async with ordinary.opened() as socket:
        await socket.send("40/refused,")
        answer = await socket.receive_text()
    assert answer.startswith("44/refused,")
    assert json.loads(answer[len("44/refused,") :]) == {
        "message": "Not authorized",
        "data": {"reason": "closed"},
    }


@pytest.mark.parametrize("name", ["/refused", "/random"])
async def test_refused_client_can_connect_elsewhere(ordinary: Endpoint, name: str) -> None:
    async with ordinary.opened() as socket:
        await socket.send(f"40{name},")
        assert (await socket.receive_text()).startswith(f"44{name},")
        await socket.connect()
        assert await socket.is_alive()


@pytest.mark.parametrize("name", ["/refused", "/random"])
async def test_refused_client_can_ask_again(ordinary: Endpoint, name: str) -> None:
    async with ordinary.opened() as socket:
        for _ in range(2):
            await socket.send(f"40{name},")
            assert (await socket.receive_text()).startswith(f"44{name},")


async def test_refused_client_is_not_in_the_namespace(ordinary: Endpoint) -> None:
    async with ordinary.opened() as socket:
        await socket.send("40/refused,")
        await socket.receive()
        await socket.send('42/refused,["echo"]')
        assert await socket.until_closed() == []


@pytest.mark.parametrize(
    "packet",
    [
        '42["echo"]',
        '42/custom,["echo"]',
        "431[]",
        "41",
        '451-["echo",{"_placeholder":true,"num":0}]',
    ],
)
async def test_anything_before_connect_closes_the_connection(
    ordinary: Endpoint, packet: str
) -> None:
    async with ordinary.opened() as socket:
        await socket.send(packet, b"\x01")
        assert await socket.until_closed() == []


async def test_event_for_a_namespace_that_was_not_connected_closes(ordinary: Endpoint) -> None:
    async with ordinary.connected() as socket:
        await socket.send('42/custom,["echo"]')
        assert await socket.until_closed() == []


@pytest.mark.parametrize(
    "packet", ['40"text"', "40[]", "40{", '40{"a":NaN}', "40null", "40/custom,[]"]
)
async def test_connect_with_a_payload_that_is_no_object_closes(
    ordinary: Endpoint, packet: str
) -> None:
    async with ordinary.opened() as socket:
        await socket.send(packet)
        received = await socket.until_closed()
    assert received == []


async def test_second_connect_to_a_namespace_closes(ordinary: Endpoint) -> None:
    async with ordinary.connected() as socket:
        await socket.send("40")
        assert await socket.until_closed() == []


async def test_connect_error_from_a_client_closes(ordinary: Endpoint) -> None:
    async with ordinary.connected() as socket:
        await socket.send('44{"message":"no"}')
        assert await socket.until_closed() == []


@pytest.mark.parametrize("packet", ["41/custom", "41/custom,"])
async def test_disconnect_leaves_one_namespace_and_keeps_the_others(
    ordinary: Endpoint, packet: str
) -> None:
    async with ordinary.connected() as socket:
        await socket.connect("/custom")
        left = socket.sid
        await socket.send(packet)
        assert await lifecycle_until(socket, left, "disconnect") == ["connect", "disconnect"]
        assert await socket.is_alive()


async def test_namespace_can_be_joined_again_after_a_disconnect(ordinary: Endpoint) -> None:
    async with ordinary.connected() as socket:
        await socket.connect("/custom")
        first = socket.sid
        await socket.send("41/custom,")
        await lifecycle_until(socket, first, "disconnect")
        await socket.connect("/custom")
        assert socket.sid != first


async def test_event_after_a_disconnect_closes(ordinary: Endpoint) -> None:
    async with ordinary.connected() as socket:
        await socket.connect("/custom")
        left = socket.sid
        await socket.send("41/custom,")
        await lifecycle_until(socket, left, "disconnect")
        await socket.send('42/custom,["echo"]')
        assert await socket.until_closed() == []


@pytest.mark.parametrize("packet", ["41{}", '41"bye"', "41[]", "41null"])
async def test_disconnect_with_a_payload_closes(ordinary: Endpoint, packet: str) -> None:
    async with ordinary.connected() as socket:
        await socket.send(packet)
        assert await socket.until_closed() == []


async def test_server_that_ends_a_namespace_sends_disconnect(ordinary: Endpoint) -> None:
    async with ordinary.connected("/custom") as socket:
        await socket.send('42/custom,["leave"]')
        assert await socket.receive() == "41/custom,"
        await socket.connect()
        assert await socket.is_alive()


async def test_server_that_disconnects_a_client_closes_the_websocket(ordinary: Endpoint) -> None:
    async with ordinary.connected() as socket:
        await socket.send('42["leaveAll"]')
        assert await socket.until_closed() in ([], ["41"])


async def test_lost_connection_leaves_every_namespace(ordinary: Endpoint) -> None:
    async with ordinary.connected() as observer:
        async with ordinary.connected() as socket:
            ids = [socket.sid]
            await socket.connect("/custom")
            ids.append(socket.sid)
        for sid in ids:
            assert await lifecycle_until(observer, sid, "disconnect") == ["connect", "disconnect"]


async def test_session_without_connect_is_closed_after_the_deadline(deadlines: Endpoint) -> None:
    async with deadlines.opened() as socket:
        assert await socket.until_closed() == []


async def test_polling_session_without_connect_is_closed_after_the_deadline(
    deadlines: Endpoint,
) -> None:
    session = await deadlines.polling()
    response = await session.get()
    assert response.status == 400 or set(response.packets) <= {"1", "6"}
    assert (await session.get()).status == 400


async def test_refused_connect_does_not_count_for_the_deadline(deadlines: Endpoint) -> None:
    async with deadlines.opened() as socket:
        await socket.send("40/refused,")
        assert (await socket.receive_text()).startswith("44/refused,")
        assert await socket.until_closed() == []


async def test_connected_session_outlives_the_deadline(deadlines: Endpoint) -> None:
    async with deadlines.connected() as connected, deadlines.opened() as bystander:
        # The bystander came later and has not connected: its end proves that the time is over.
        await bystander.until_closed()
        assert await connected.is_alive()


async def test_polling_client_is_told_of_a_refusal(ordinary: Endpoint) -> None:
    session = await ordinary.polling()
    await session.send("40/random,")
    assert await session.receive() == ['44/random,{"message":"Invalid namespace"}']


async def test_event_before_connect_closes_a_polling_session(ordinary: Endpoint) -> None:
    session = await ordinary.polling()
    with contextlib.suppress(ClosedByServer):
        await session.post('42["echo"]')
    while (response := await session.get()).status == 200:
        assert set(response.packets) <= {"1", "6"}
    assert response.status == 400
