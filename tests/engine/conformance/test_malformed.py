"""What breaks the Socket.IO protocol closes the connection, at once and without a traceback.

With ordinary pings: nothing here can be closed by the heartbeat.
"""

import contextlib
from collections.abc import Iterator

import pytest

from tests.support.target_fixtures import engine_only
from tests.support.target_process import TargetProcess
from tests.support.wire_client import SEPARATOR, ClosedByServer, Endpoint

RESERVED = [
    "connect",
    "connect_error",
    "disconnect",
    "disconnecting",
    "newListener",
    "removeListener",
]

PACKETS = [
    "4",
    "4abc",
    "47",
    "49",
    "4-1",
    "42",
    "42{}",
    "42[]",
    '42"text"',
    "42null",
    "42true",
    "42[null]",
    "42[{}]",
    "42[[]]",
    "42[true]",
    '42["cut off"',
    '42["echo"]garbage',
    '42["echo",]',
    "42['echo']",
    '42abc["echo"]',
    '42-1["echo"]',
    '421.5["echo"]',
    '42["echo",NaN]',
    '42["echo",Infinity]',
    '42["echo",-Infinity]',
    '42["echo",{"a":[NaN]}]',
    '42["echo","\\ud800',
    "42/custom",
    '42/unknown,["echo"]',
    "43abc[]",
    "431{}",
    '431"text"',
    "431",
    "431null",
    "45",
    '45["echo"]',
    '45-["echo"]',
    '450-["echo"]',
    '45-1-["echo"]',
    '451.5-["echo"]',
    '451e0-["echo"]',
    '451 -["echo"]',
    '4511-["echo"]',
    '451000000-["echo",{"_placeholder":true,"num":0}]',
    "45" + "9" * 30 + '-["echo"]',
    "451-{}",
    '461-abc[{"_placeholder":true,"num":0}]',
    *(f'42["{name}"]' for name in RESERVED),
    *(f'421["{name}",{{}}]' for name in RESERVED),
    '451-["connect",{"_placeholder":true,"num":0}]',
]

#: What the reference lets pass: JavaScript takes these for numbers, or for nothing to do.
LENIENT_REFERENCE = {"42", "42/custom", "431", '451e0-["echo"]', '451 -["echo"]'}

PLACEHOLDER = '{"_placeholder":true,"num":0}'

BAD_ATTACHMENTS: list[list[str | bytes]] = [
    [b"\x01"],
    [f'451-["echo",{PLACEHOLDER}]', '42["echo"]'],
    [f'451-["echo",{PLACEHOLDER}]', b"\x01", b"\x02"],
    ['451-["echo",{"_placeholder":true,"num":1}]', b"\x01"],
    ['451-["echo",{"_placeholder":true,"num":-1}]', b"\x01"],
    ['451-["echo",{"_placeholder":true,"num":"0"}]', b"\x01"],
    ['451-["echo",{"_placeholder":true,"num":null}]', b"\x01"],
    ['451-["echo",{"_placeholder":true}]', b"\x01"],
    ['451-["echo",{"_placeholder":true,"num":"__proto__"}]', b"\x01"],
]


@pytest.fixture(autouse=True)
def no_traceback(target: TargetProcess) -> Iterator[None]:
    """Fail when the server logged a traceback over what a client sent."""
    before = len(target.errors())
    yield
    assert "Traceback" not in target.errors()[before:]


def without(lenient: set[str]) -> list[str]:
    return [packet for packet in PACKETS if packet not in lenient]


@pytest.mark.parametrize("packet", without(LENIENT_REFERENCE))
async def test_malformed_packet_closes_the_websocket(ordinary: Endpoint, packet: str) -> None:
    async with ordinary.connected() as socket:
        await socket.connect("/custom")
        await socket.send(packet)
        assert await socket.until_closed() == []


@engine_only("the reference is more lenient here than the documents")
@pytest.mark.parametrize("packet", sorted(LENIENT_REFERENCE))
async def test_packet_that_is_malformed_by_the_documents_closes_the_websocket(
    ordinary: Endpoint, packet: str
) -> None:
    async with ordinary.connected() as socket:
        await socket.connect("/custom")
        await socket.send(packet)
        assert await socket.until_closed() == []


@pytest.mark.parametrize("packet", without(LENIENT_REFERENCE))
async def test_malformed_packet_closes_the_polling_session(ordinary: Endpoint, packet: str) -> None:
    session = await ordinary.connected_polling()
    with contextlib.suppress(ClosedByServer):
        await session.post(packet)
    while (response := await session.get()).status == 200:
        assert set(response.packets) <= {"1", "6"}
    assert response.status == 400


@pytest.mark.parametrize("packets", BAD_ATTACHMENTS, ids=repr)
async def test_bad_attachment_closes_the_websocket(
    ordinary: Endpoint, packets: list[str | bytes]
) -> None:
    async with ordinary.connected() as socket:
        await socket.send(*packets)
        received = await socket.until_closed()
    # The packet before the bad one may have been answered.
    assert received in ([], [f'451-["echo",{PLACEHOLDER}]', b"\x01"])


@engine_only("the reference takes a fraction for an index and hands nothing to the handler")
async def test_attachment_with_a_fraction_for_an_index_closes(ordinary: Endpoint) -> None:
    async with ordinary.connected() as socket:
        await socket.send('451-["echo",{"_placeholder":true,"num":0.5}]', b"\x01")
        assert await socket.until_closed() == []


async def test_packet_after_a_malformed_one_is_not_handled(ordinary: Endpoint) -> None:
    async with ordinary.connected() as observer, ordinary.connected() as socket:
        await socket.send("42{}", '42["record","after",1,""]')
        assert await socket.until_closed() == []
        assert await observer.call("recorded", "after") == [[]]


async def test_packet_after_a_malformed_one_in_a_payload_is_not_handled(
    ordinary: Endpoint,
) -> None:
    session = await ordinary.connected_polling()
    with contextlib.suppress(ClosedByServer):
        await session.post(SEPARATOR.join(["42{}", '42["record","payload",1,""]']))
    async with ordinary.connected() as observer:
        assert await observer.call("recorded", "payload") == [[]]


async def test_malformed_packet_of_one_client_harms_no_other(ordinary: Endpoint) -> None:
    async with ordinary.connected() as other, ordinary.connected() as socket:
        await socket.send("4abc")
        await socket.until_closed()
        assert await other.is_alive()


async def test_event_whose_name_is_a_number_is_no_error(ordinary: Endpoint) -> None:
    async with ordinary.connected() as socket:
        await socket.send("42[1]")
        assert await socket.is_alive()


@pytest.mark.parametrize("digits", [20, 400, 6_000])
async def test_endless_acknowledgement_id_breaks_nothing(ordinary: Endpoint, digits: int) -> None:
    async with ordinary.connected() as socket:
        await socket.send("42" + "9" * digits + '["noReturn"]', "1")
    async with ordinary.connected() as other:
        assert await other.is_alive()


@pytest.mark.parametrize("depth", [500, 900])
async def test_deep_json_is_handled_or_refused_but_does_not_vanish(
    ordinary: Endpoint, depth: int
) -> None:
    async with ordinary.connected() as socket:
        await socket.send(f'423["noReturn",{"[" * depth}{"]" * depth}]')
        try:
            assert await socket.receive() == "433[]"
        except ClosedByServer:
            # Refused in the open.
            return


async def test_json_of_endless_depth_harms_nobody_else(ordinary: Endpoint) -> None:
    async with ordinary.connected() as other, ordinary.connected() as socket:
        await socket.send(f'423["noReturn",{"[" * 200_000}{"]" * 200_000}]', "42{}")
        await socket.until_closed()
        assert await other.is_alive()
