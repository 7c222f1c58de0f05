"""Events, acknowledgements and attachments (Socket.IO protocol, "Sending and receiving data")."""

import json

import pytest

from tests.support.wire_client import Endpoint

PLACEHOLDERS = '{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}'

VALUES = [
    "text",
    "한국어 — Ä ß 😀",
    '\x1e\x00\u2028"\\/',
    "",
    0,
    -1.5,
    9_007_199_254_740_991,
    1e300,
    True,
    False,
    None,
    [],
    {},
    {"a": [1, {"b": None}], "": "empty name", "__proto__x": 1},
    [[[[1]]]],
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
async def test_every_json_value_comes_back_as_it_was(ordinary: Endpoint, value: object) -> None:
    async with ordinary.connected() as socket:
        assert await socket.call("echoAck", value) == [value]


@pytest.mark.parametrize("packet", ['42["echo"]', '42["echo",1,"2",{"3":[true]}]'])
async def test_event_has_any_number_of_arguments(ordinary: Endpoint, packet: str) -> None:
    async with ordinary.connected() as socket:
        await socket.send(packet)
        assert await socket.receive() == packet


async def test_event_of_a_custom_namespace_is_answered_there(ordinary: Endpoint) -> None:
    async with ordinary.connected("/custom") as socket:
        await socket.send('42/custom,["echo",1]', '42/custom,12["echoAck",2]')
        answers = {await socket.receive() for _ in range(2)}
        assert answers == {'42/custom,["echo",1]', "43/custom,12[2]"}


@pytest.mark.parametrize("packet_id", ["0", "1", "456", "2147483648", "9007199254740991"])
async def test_acknowledgement_carries_the_id_of_the_event(
    ordinary: Endpoint, packet_id: str
) -> None:
    async with ordinary.connected() as socket:
        await socket.send(f'42{packet_id}["echoAck",1,"2",{{"3":[false]}}]')
        assert await socket.receive() == f'43{packet_id}[1,"2",{{"3":[false]}}]'


async def test_handler_that_returns_nothing_acknowledges_without_arguments(
    ordinary: Endpoint,
) -> None:
    async with ordinary.connected() as socket:
        await socket.send('425["noReturn"]')
        assert await socket.receive() == "435[]"


async def test_none_is_an_argument_like_any_other(ordinary: Endpoint) -> None:
    async with ordinary.connected() as socket:
        await socket.send('425["echoAck",null]')
        assert await socket.receive() == "435[null]"


async def test_event_without_a_handler_is_not_acknowledged(ordinary: Endpoint) -> None:
    async with ordinary.connected() as socket:
        await socket.send('425["nobodyListens",1]', '426["echoAck"]')
        assert await socket.receive() == "436[]"


async def test_event_without_an_id_is_not_acknowledged(ordinary: Endpoint) -> None:
    async with ordinary.connected() as socket:
        await socket.send('42["noReturn"]', '427["echoAck"]')
        assert await socket.receive() == "437[]"


@pytest.mark.parametrize("name", ["message", "ack", "error", "*", "toString", "연결", "", "a b"])
async def test_unusual_event_names_do_no_harm(ordinary: Endpoint, name: str) -> None:
    async with ordinary.connected() as socket:
        await socket.send(f"42{json.dumps([name, 1])}")
        assert await socket.is_alive()


async def test_client_answers_the_event_of_a_server(ordinary: Endpoint) -> None:
    async with ordinary.connected() as socket:
        await socket.send('42["askMe"]')
        question = await socket.receive_text()
        assert question.startswith("42")
        assert question.endswith('["question","why"]')
        packet_id = int(question[2 : question.index("[")])
        await socket.send(f'43{packet_id}["because",1]')
        assert await socket.receive() == '42["answered","because",1]'


async def test_second_answer_to_the_same_event_is_ignored(ordinary: Endpoint) -> None:
    async with ordinary.connected() as socket:
        await socket.send('42["askMe"]')
        question = await socket.receive_text()
        packet_id = int(question[2 : question.index("[")])
        await socket.send(f"43{packet_id}[1]", f"43{packet_id}[2]")
        assert await socket.receive() == '42["answered",1]'
        assert await socket.is_alive()


@pytest.mark.parametrize("packet", ["43999[]", '4312345["x"]', "43/custom,7[1]"])
async def test_answer_to_an_event_that_nobody_asked_is_ignored(
    ordinary: Endpoint, packet: str
) -> None:
    async with ordinary.connected() as socket:
        await socket.connect("/custom")
        await socket.send(packet)
        assert await socket.is_alive()


async def test_answer_of_another_client_does_not_count(ordinary: Endpoint) -> None:
    async with ordinary.connected() as asked, ordinary.connected() as stranger:
        await asked.send('42["askMe"]')
        question = await asked.receive_text()
        packet_id = int(question[2 : question.index("[")])
        await stranger.send(f'43{packet_id}["forged"]')
        assert await stranger.is_alive()
        assert await asked.is_alive()
        await asked.send(f'43{packet_id}["own"]')
        assert await asked.receive() == '42["answered","own"]'


async def test_attachments_come_back_after_their_packet(ordinary: Endpoint) -> None:
    async with ordinary.connected() as socket:
        head = f'452-["echo",{PLACEHOLDERS}]'
        await socket.send(head, b"\x01\x02\x03", b"\x04\x05\x06")
        assert [await socket.receive() for _ in range(3)] == [
            head,
            b"\x01\x02\x03",
            b"\x04\x05\x06",
        ]


async def test_attachments_of_a_custom_namespace(ordinary: Endpoint) -> None:
    async with ordinary.connected("/custom") as socket:
        head = '451-/custom,["echo",{"_placeholder":true,"num":0}]'
        await socket.send(head, b"\x01")
        assert [await socket.receive() for _ in range(2)] == [head, b"\x01"]


async def test_attachments_may_be_deep_inside(ordinary: Endpoint) -> None:
    async with ordinary.connected() as socket:
        head = '451-["echo",{"a":[{"b":{"_placeholder":true,"num":0}}]}]'
        await socket.send(head, b"\x00\xff")
        assert [await socket.receive() for _ in range(2)] == [head, b"\x00\xff"]


async def test_acknowledgement_with_attachments(ordinary: Endpoint) -> None:
    async with ordinary.connected() as socket:
        await socket.send(f'452-789["echoAck",{PLACEHOLDERS}]', b"\x01", b"\x02")
        assert [await socket.receive() for _ in range(3)] == [
            f"462-789[{PLACEHOLDERS}]",
            b"\x01",
            b"\x02",
        ]


async def test_client_answers_with_attachments(ordinary: Endpoint) -> None:
    async with ordinary.connected() as socket:
        await socket.send('42["askMe"]')
        question = await socket.receive_text()
        packet_id = int(question[2 : question.index("[")])
        placeholder = '{"_placeholder":true,"num":0}'
        await socket.send(f"461-{packet_id}[{placeholder}]", b"\x07")
        assert [await socket.receive() for _ in range(2)] == [
            f'451-["answered",{placeholder}]',
            b"\x07",
        ]


async def test_ten_attachments_are_taken(ordinary: Endpoint) -> None:
    holders = ",".join(f'{{"_placeholder":true,"num":{n}}}' for n in range(10))
    parts = [bytes([n]) * (n + 1) for n in range(10)]
    async with ordinary.connected() as socket:
        await socket.send(f'4510-["echo",{holders}]', *parts)
        assert await socket.receive() == f'4510-["echo",{holders}]'
        assert [await socket.receive() for _ in range(10)] == parts


async def test_order_holds_over_text_and_attachments(ordinary: Endpoint) -> None:
    placeholder = '{"_placeholder":true,"num":0}'
    packets: list[str | bytes] = []
    for n in range(10):
        packets += [f'42["echo",{n}]', f'451-["echo",{placeholder},{n}]', bytes([n])]
    async with ordinary.connected() as socket:
        await socket.send(*packets)
        assert [await socket.receive() for _ in packets] == packets
