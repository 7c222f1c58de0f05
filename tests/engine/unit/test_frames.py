"""Reading the WebSocket frames of clients."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stockstream.engine.core.frames import FrameReader, read_close, unmask
from stockstream.engine.errors import FrameViolation, LimitViolation, ProtocolViolation

MASK = b"\x11\x22\x33\x44"


def frame(opcode: int, payload: bytes, *, fin: bool = True, masked: bool = True) -> bytes:
    """Build a frame as a client does."""
    first = opcode | (0x80 if fin else 0)
    size = len(payload)
    bit = 0x80 if masked else 0
    if size < 126:
        head = bytes([first, bit | size])
    elif size < 65_536:
        head = bytes([first, bit | 126]) + size.to_bytes(2, "big")
    else:
        head = bytes([first, bit | 127]) + size.to_bytes(8, "big")
    return head + (MASK + unmask(payload, MASK) if masked else payload)


def read_all(reader: FrameReader, data: bytes) -> list[tuple[int, str | bytes]]:
    """Feed some bytes and take all that is whole."""
    reader.feed(data)
    found = []
    while (item := reader.next()) is not None:
        found.append(item)
    return found


messages = st.lists(
    st.one_of(
        st.tuples(st.just(1), st.text(max_size=300)),
        st.tuples(st.just(2), st.binary(max_size=300)),
        st.tuples(st.sampled_from([9, 10]), st.binary(max_size=125)),
    ),
    max_size=8,
)


@given(messages=messages, cut=st.integers(1, 50))
def test_messages_come_out_whole_however_the_bytes_are_cut(
    messages: list[tuple[int, str | bytes]], cut: int
) -> None:
    wire = b"".join(
        frame(opcode, data.encode() if isinstance(data, str) else data) for opcode, data in messages
    )
    reader = FrameReader(10_000)
    found = []
    for at in range(0, len(wire), cut):
        found += read_all(reader, wire[at : at + cut])
    assert found == messages


@given(data=st.binary(max_size=70_000), text=st.text(min_size=1), pieces=st.integers(1, 5))
def test_fragments_are_joined_around_control_frames(data: bytes, text: str, pieces: int) -> None:
    whole = text.encode()
    step = -(-len(whole) // pieces)
    parts = [whole[at : at + step] for at in range(0, len(whole), step)]
    wire = b""
    for number, part in enumerate(parts):
        wire += frame(0 if number else 1, part, fin=number == len(parts) - 1)
        if number < len(parts) - 1:
            wire += frame(9, b"ping")
    wire += frame(2, data)
    found = read_all(FrameReader(70_000), wire)
    assert [item for item in found if item[0] != 9] == [(1, text), (2, data)]


@given(data=st.lists(st.binary(max_size=200), max_size=20))
def test_no_bytes_raise_anything_but_a_violation(data: list[bytes]) -> None:
    reader = FrameReader(100)
    try:
        for chunk in data:
            read_all(reader, chunk)
    except ProtocolViolation:
        pass


@pytest.mark.parametrize(
    "wire",
    [
        frame(1, b"x", masked=False),
        frame(3, b""),
        frame(11, b""),
        frame(9, b"x" * 126),
        frame(9, b"", fin=False),
        frame(0, b"x"),
        frame(1, b"x", fin=False) + frame(1, b"x"),
        b"\xc1\x80" + MASK,
        b"\xa1\x80" + MASK,
    ],
    ids=[
        "unmasked",
        "unknown opcode",
        "unknown control opcode",
        "long ping",
        "fragmented ping",
        "continuation of nothing",
        "message inside a message",
        "compressed",
        "reserved bit",
    ],
)
def test_forbidden_frame_is_a_violation(wire: bytes) -> None:
    with pytest.raises(FrameViolation) as caught:
        read_all(FrameReader(1_000), wire)
    assert caught.value.close_code == 1002


def test_text_that_is_not_utf8_closes_with_1007() -> None:
    with pytest.raises(FrameViolation) as caught:
        read_all(FrameReader(1_000), frame(1, b"\xff"))
    assert caught.value.close_code == 1007


@pytest.mark.parametrize("announced", [b"\xfe\x03\xe9", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff"])
def test_announced_length_is_refused_before_anything_is_buffered(announced: bytes) -> None:
    reader = FrameReader(1_000)
    reader.feed(b"\x82" + announced)
    with pytest.raises(LimitViolation) as caught:
        reader.next()
    assert caught.value.close_code == 1009


def test_fragments_together_have_the_limit_of_one_message() -> None:
    wire = frame(1, b"x" * 600, fin=False) + frame(0, b"x" * 600)
    with pytest.raises(LimitViolation):
        read_all(FrameReader(1_000), wire)


def test_idle_reader_holds_no_bytes() -> None:
    reader = FrameReader(1_000)
    read_all(reader, frame(1, b"x" * 900))
    assert not reader._data


@pytest.mark.parametrize(
    ("payload", "code"), [(b"", 1005), (b"\x03\xe8", 1000), (b"\x0f\xa0", 4000)]
)
def test_close_code_is_read(payload: bytes, code: int) -> None:
    assert read_close(payload) == code


@pytest.mark.parametrize("payload", [b"\x03", b"\x03\xed", b"\x00\x00", b"\x03\xe8\xff"])
def test_bad_close_frame_is_a_violation(payload: bytes) -> None:
    with pytest.raises(FrameViolation):
        read_close(payload)
