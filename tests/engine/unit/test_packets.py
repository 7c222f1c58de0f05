"""Reading and writing Socket.IO packets and polling payloads."""

import json
import math
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stockstream.engine.core.packets import split_payload, unwrap
from stockstream.engine.errors import (
    EncodeError,
    EngineError,
    LimitViolation,
    PacketViolation,
    ProtocolViolation,
)
from stockstream.engine.limits import Limits
from stockstream.engine.sio import json as strict_json
from stockstream.engine.sio.packets import JSONPacket, MsgpackPacket, content_of

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=10,
)


@given(st.text())
def test_no_text_raises_anything_but_a_violation(text: str) -> None:
    with suppress(ProtocolViolation):
        JSONPacket(encoded_packet=text or "x")


@given(
    st.sampled_from("0123456"),
    st.sampled_from(["", "1-", "10-", "99999999999-"]),
    st.sampled_from(["", "/a,", "/a?b=c,"]),
    st.sampled_from(["", "0", "12", "9" * 30]),
    st.text(alphabet='[]{}":,0"ae\\ud', max_size=20),
)
def test_no_likely_packet_raises_anything_but_a_violation(
    kind: str, count: str, namespace: str, number: str, data: str
) -> None:
    try:
        packet = JSONPacket(encoded_packet=kind + count + namespace + number + data)
    except ProtocolViolation:
        return
    assert packet.attachment_count <= 10


@given(st.binary(max_size=100))
def test_no_msgpack_raises_anything_but_a_violation(data: bytes) -> None:
    with suppress(ProtocolViolation):
        MsgpackPacket(encoded_packet=data or b"\xc0")


@given(st.lists(values, max_size=4), st.none() | st.integers(0, 10**9))
def test_event_survives_the_round_trip(args: list[Any], number: int | None) -> None:
    for kind in (JSONPacket, MsgpackPacket):
        wire = kind(2, data=["event", *args], namespace="/a", id=number).encode()
        packet = kind(encoded_packet=wire)
        assert packet.data == ["event", *args]
        assert (packet.namespace, packet.id) == ("/a", number)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, object(), {"a": 2j}])
@pytest.mark.parametrize("kind", [JSONPacket, MsgpackPacket])
def test_what_a_browser_cannot_read_is_not_sent(kind: Any, value: object) -> None:
    with pytest.raises(EncodeError):
        kind(2, data=["event", {"price": value}]).encode()


@pytest.mark.parametrize("text", ["[NaN]", "[Infinity]", "[1e999]", '["\\ud800",NaN]', "[" * 5_000])
def test_json_that_no_browser_writes_is_refused(text: str) -> None:
    with pytest.raises(PacketViolation):
        strict_json.loads(text)


def test_half_a_character_arrives_and_leaves_as_javascript_means_it() -> None:
    packet = JSONPacket(encoded_packet='2["say","\\ud83d"]')
    assert packet.data == ["say", "\ud83d"]
    assert JSONPacket(2, data=packet.data).encode() == '2["say","\\ud83d"]'


def test_other_letters_are_not_escaped() -> None:
    assert JSONPacket(2, data=["연결", "é"]).encode() == '2["연결","é"]'


@pytest.mark.parametrize(("depth", "allowed"), [(98, True), (99, True), (101, False), (900, False)])
def test_nesting_is_limited(depth: int, *, allowed: bool) -> None:
    text = '2["event",' + "[" * depth + "]" * depth + "]"
    if allowed:
        assert JSONPacket(encoded_packet=text).packet_type == 2
    else:
        with pytest.raises(PacketViolation):
            JSONPacket(encoded_packet=text)


def test_brackets_in_strings_are_not_nesting() -> None:
    text = "2" + json.dumps(["event", "[{" * 500])
    assert JSONPacket(encoded_packet=text).data[1] == "[{" * 500


@pytest.mark.parametrize("num", [-1, 2, True, "0", 1.0, None])
def test_placeholder_that_points_nowhere_is_refused(num: object) -> None:
    holder = {"_placeholder": True, "num": num}
    packet = JSONPacket(encoded_packet="52-" + json.dumps(["event", holder]))
    packet.add_attachment(b"a")
    with pytest.raises(PacketViolation):
        packet.add_attachment(b"b")


def test_attachments_take_their_places() -> None:
    packet = JSONPacket(
        encoded_packet='52-["e",{"a":{"_placeholder":true,"num":1}},{"_placeholder":true,"num":0}]'
    )
    assert not packet.add_attachment(b"zero")
    assert packet.add_attachment(b"one")
    assert content_of(packet) == ["e", {"a": b"one"}, b"zero"]


def test_attachments_are_limited_in_number_and_bytes() -> None:
    with pytest.raises(LimitViolation, match="attachments"):
        JSONPacket(encoded_packet='511-["e"]')
    small = type("Small", (JSONPacket,), {"limits": Limits(attachment_bytes=10)})
    packet = small(encoded_packet='52-["e"]')
    packet.add_attachment(b"x" * 6)
    with pytest.raises(LimitViolation, match="attachment_bytes"):
        packet.add_attachment(b"x" * 5)


def test_undefined_of_javascript_is_absent_in_msgpack() -> None:
    undefined = msgspec.msgpack.Ext(0, b"\0")
    wire = msgspec.msgpack.encode({"type": 2, "nsp": "/", "data": ["e"], "id": undefined})
    assert MsgpackPacket(encoded_packet=wire).id is None


@given(st.binary(max_size=200), st.integers(1, 5))
def test_no_payload_raises_anything_but_a_violation(body: bytes, most: int) -> None:
    try:
        packets = split_payload(body, most)
        assert len(packets) <= most
        for packet in packets:
            unwrap(packet)
    except ProtocolViolation:
        pass


def test_payload_of_exactly_the_limit_is_taken() -> None:
    assert split_payload(b"3\x1e3\x1e3", 3) == ["3", "3", "3"]
    with pytest.raises(LimitViolation, match="packets_per_payload"):
        split_payload(b"3\x1e3\x1e3\x1e3", 3)


def test_every_error_has_a_code_of_its_own_tree() -> None:
    for error in (LimitViolation("x"), PacketViolation("x"), EncodeError("x")):
        assert isinstance(error, EngineError)
        assert error.code != EngineError.code
        assert str(error)
