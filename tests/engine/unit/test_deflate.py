"""Compression of WebSocket messages, as both sides see it."""

import zlib
from contextlib import suppress
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stockstream.engine import AsyncServer, Limits, Message
from stockstream.engine.core.deflate import DeflatingConnection, agree
from stockstream.engine.core.frames import FrameReader, inflate
from stockstream.engine.errors import FrameViolation, LimitViolation, ProtocolViolation
from tests.engine.unit.fakes import FakeHub, FakePoll, FakeSocket
from tests.engine.unit.served import Client, open_raw, serve, until
from tests.engine.unit.test_frames import frame, read_all

AGREED = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
COMPRESSED = 0x40
LONG = '2["price","' + "abc" * 200 + '"]'


def deflate(payload: bytes, *, last: bool = False) -> bytes:
    """Compress as a client does."""
    compressor = zlib.compressobj(wbits=-15)
    packed = compressor.compress(payload)
    if last:
        return packed + compressor.flush() + b"\x00"
    return (packed + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


@pytest.mark.parametrize(
    ("offers", "answer"),
    [
        ([], None),
        (["x-webkit-deflate-frame"], None),
        (["permessage-deflate"], AGREED),
        (["permessage-deflate; client_max_window_bits"], AGREED),
        (['permessage-deflate; client_max_window_bits="10"'], AGREED),
        (["permessage-deflate; server_no_context_takeover"], AGREED),
        (["foo, Permessage-Deflate ;client_no_context_takeover"], AGREED),
        (["foo", "permessage-deflate"], AGREED),
        (["permessage-deflate; server_max_window_bits=15"], f"{AGREED}; server_max_window_bits=12"),
        (["permessage-deflate; server_max_window_bits=9"], None),
        (["permessage-deflate; server_max_window_bits=9, permessage-deflate"], AGREED),
        (["permessage-deflate; server_max_window_bits"], None),
        (["permessage-deflate; server_max_window_bits=012"], None),
        (["permessage-deflate; client_max_window_bits=16"], None),
        (["permessage-deflate; server_no_context_takeover=1"], None),
        (["permessage-deflate; client_max_window_bits; client_max_window_bits"], None),
        (["permessage-deflate; mystery"], None),
        (["permessage-deflate;"], None),
    ],
)
def test_offer_is_agreed_to_or_declined(offers: list[str], answer: str | None) -> None:
    assert agree(offers) == answer


@given(data=st.binary(max_size=5_000), last=st.booleans())
def test_compressed_message_is_read(data: bytes, *, last: bool) -> None:
    wire = frame(2 | COMPRESSED, deflate(data, last=last))
    assert read_all(FrameReader(10_000, deflates=True), wire) == [(2, data)]


@given(text=st.text(min_size=1), pieces=st.integers(1, 4))
def test_compressed_fragments_are_joined_around_control_frames(text: str, pieces: int) -> None:
    packed = deflate(text.encode())
    step = -(-len(packed) // pieces)
    parts = [packed[at : at + step] for at in range(0, len(packed), step)]
    wire = b""
    for number, part in enumerate(parts):
        opcode = 0 if number else 1 | COMPRESSED
        wire += frame(9, b"ping") + frame(opcode, part, fin=number == len(parts) - 1)
    # One that is not compressed may follow.
    wire += frame(1, b"plain")
    found = read_all(FrameReader(10_000, deflates=True), wire)
    assert [item for item in found if item[0] != 9] == [(1, text), (1, "plain")]


@given(data=st.binary(max_size=300))
def test_no_compressed_bytes_raise_anything_but_a_violation(data: bytes) -> None:
    with suppress(ProtocolViolation):
        assert len(inflate(data, 1_000)) <= 1_000


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xff\xff",
        deflate(b"cut off" * 10)[:-5],
        deflate(b"x", last=True) + b"more",
        deflate(b"x", last=True)[:-1],
    ],
    ids=["empty", "garbage", "cut off", "more behind the end", "without its last byte"],
)
def test_malformed_compression_is_a_violation(payload: bytes) -> None:
    with pytest.raises(FrameViolation) as caught:
        inflate(payload, 1_000)
    assert caught.value.close_code == 1007


def test_bomb_is_refused_before_it_is_unpacked() -> None:
    bomb = deflate(bytes(50_000_000))
    assert len(bomb) < 60_000
    with pytest.raises(LimitViolation) as caught:
        read_all(FrameReader(100_000, deflates=True), frame(2 | COMPRESSED, bomb))
    assert caught.value.close_code == 1009


def test_message_of_the_size_allowed_is_no_bomb() -> None:
    assert inflate(deflate(bytes(1_000)), 1_000) == bytes(1_000)
    with pytest.raises(LimitViolation):
        inflate(deflate(bytes(1_001)), 1_000)


@pytest.mark.parametrize(
    "wire",
    [
        frame(9 | COMPRESSED, b""),
        frame(1 | 0x20, b"x"),
        frame(1 | 0x60, b"x"),
        frame(1 | COMPRESSED, b"x", fin=False) + frame(0 | COMPRESSED, b"x"),
    ],
    ids=["compressed ping", "another bit", "one bit too many", "compressed continuation"],
)
def test_reserved_bit_in_the_wrong_place_is_a_violation(wire: bytes) -> None:
    with pytest.raises(FrameViolation):
        read_all(FrameReader(1_000, deflates=True), wire)


def test_message_is_compressed_once_for_all_recipients() -> None:
    message = Message(LONG)
    packed = message.deflated
    assert message.deflated is packed
    assert packed.frame is packed.frame
    assert packed.deflated is packed
    assert len(packed.frame) < len(message.frame) // 4
    assert packed.frame[0] == 0x81 | COMPRESSED
    assert inflate(packed.frame[2:], 10_000) == b"4" + LONG.encode()


def test_what_compression_does_not_make_smaller_stays_as_it_is() -> None:
    small = Message("2x")
    assert small.deflated.frame == small.frame
    # Every byte once: there is nothing to be found in it.
    dense = Message(bytes(range(256)))
    assert dense.deflated.frame == dense.frame


def open_deflating(fake: FakeHub, port: FakeSocket | None, **options: Any) -> DeflatingConnection:
    """Open a session of a server that compresses."""
    fake.hub.admit("192.0.2.1")
    return DeflatingConnection(fake.hub, "deflating", "192.0.2.1", port, **options)


def test_client_that_agreed_gets_compressed_frames_in_order() -> None:
    fake, socket = FakeHub(), FakeSocket()
    connection = open_deflating(fake, socket, deflates=True)
    message = Message(LONG)
    packed = message.deflated.frame
    connection.send(message)
    connection.offer("A", message)
    connection.offer_many([("A", message), ("B", Message("2b"))])
    assert socket.written == [packed, packed, packed + Message("2b").frame]
    connection.pause_writing()
    connection.offer("A", message)
    connection.send(message)
    assert connection.unread_bytes == 2 * len(packed)
    connection.resume_writing()
    connection.pause_writing()
    connection.send(message)
    connection.close("kicked")
    assert socket.written[3:] == [packed * 2, packed]


def test_client_that_did_not_agree_gets_plain_frames() -> None:
    socket = FakeSocket()
    connection = open_deflating(FakeHub(), socket)
    message = Message(LONG)
    connection.send(message)
    connection.offer_many([("A", message)])
    assert socket.written == [message.frame, message.frame]


@pytest.mark.parametrize("deflates", [False, True])
def test_what_comes_out_of_a_compressed_message_counts_by_its_size(*, deflates: bool) -> None:
    fake = FakeHub(Limits(inbound_messages_per_second=10, inbound_burst=5))
    connection = open_deflating(fake, FakeSocket(), deflates=deflates)
    seconds = connection.receive("4" + "x" * 16_384 * 10)
    assert seconds == pytest.approx(0.6 if deflates else 0.0)
    # Nothing is read from a client whose session has ended.
    connection.close("kicked")
    assert connection.receive("4" + "x" * 16_384 * 10) == 0.0


@pytest.mark.parametrize("deflates", [False, True])
def test_what_waits_during_an_upgrade_leaves_as_the_websocket_agreed(*, deflates: bool) -> None:
    connection = open_deflating(FakeHub(), None)
    message = Message(LONG)
    connection.send(message)
    assert FakePoll(connection).answer() == ["4" + LONG]
    connection.send(message)
    socket = FakeSocket()
    connection.begin_probe(socket, deflates=deflates)
    connection.receive_probe(socket, "2probe")
    connection.receive_probe(socket, "5")
    connection.send(message)
    expected = message.deflated.frame if deflates else message.frame
    assert socket.written[1:] == [expected, expected]


def echoing(**options: Any) -> AsyncServer:
    """Return a server that sends back what it gets."""
    server = AsyncServer(websocket_compression=True, **options)

    async def echo(_sid: str, value: Any) -> Any:
        return value

    server.on("echo", echo)
    return server


@pytest.mark.parametrize("size", [10, 1_000, 100_000])
async def test_real_client_with_compression_gets_what_it_sent(size: int) -> None:
    text = "".join(f"{n}," for n in range(size))
    async with (
        serve(echoing()) as served,
        served.http.ws_connect(
            served.url + "?EIO=4&transport=websocket", compress=15, max_msg_size=0
        ) as socket,
    ):
        assert socket.compress
        client = Client(socket)
        assert (await client.receive()).startswith("0{")
        await client.connect()
        for _ in range(3):
            await client.send(f'421["echo","{text}"]')
            assert await client.receive() == f'431["{text}"]'


async def test_real_client_without_compression_is_served_beside_it() -> None:
    async with serve(echoing()) as served, served.connected() as plain:
        assert not plain.socket.compress
        text = "x" * 1_000
        await plain.send(f'421["echo","{text}"]')
        assert await plain.receive() == f'431["{text}"]'


async def test_upgrading_client_agrees_on_the_websocket() -> None:
    text = "x" * 10_000
    async with serve(echoing()) as served:
        url = await served.polling()
        async with served.http.post(url, data="40"):
            pass
        async with served.http.get(url) as response:
            assert (await response.text()).startswith("40")
        url = url.replace("transport=polling", "transport=websocket")
        async with served.http.ws_connect(url, compress=15) as socket:
            assert socket.compress
            client = Client(socket)
            await client.send("2probe")
            assert await client.receive() == "3probe"
            await client.send("5", f'421["echo","{text}"]')
            assert await client.receive() == f'431["{text}"]'


@pytest.mark.parametrize(
    ("offer", "payload", "code"),
    [
        ("", deflate(b"40"), 1002),
        ("Sec-WebSocket-Extensions: permessage-deflate\r\n", deflate(bytes(2_000_000)), 1009),
        ("Sec-WebSocket-Extensions: permessage-deflate\r\n", b"\xff\xff\xff", 1007),
    ],
    ids=["not agreed", "bomb", "garbage"],
)
async def test_compression_that_breaks_the_rules_closes(
    offer: str, payload: bytes, code: int
) -> None:
    server = echoing()
    async with serve(server) as served:
        reader, writer, head = await open_raw(served.url, offer)
        assert (AGREED in head) == bool(offer)
        writer.write(frame(1 | COMPRESSED, payload))
        assert await reader.readexactly(4) == b"\x88\x02" + code.to_bytes(2, "big")
        writer.close()
        await until(served.is_empty)
    assert server.metrics.violations == 1


async def test_offer_is_declined_where_compression_is_off() -> None:
    async with (
        serve(AsyncServer()) as served,
        served.http.ws_connect(served.url + "?EIO=4&transport=websocket", compress=15) as socket,
    ):
        assert not socket.compress
        assert (await socket.receive()).type is aiohttp.WSMsgType.TEXT
