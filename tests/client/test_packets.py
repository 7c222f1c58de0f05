import pytest
from hypothesis import given
from hypothesis import strategies as st

from stockstream.client import packets
from stockstream.client.packets import Accepted, Answer, Ended, Event, ProtocolError, Refused

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)


def test_a_handshake_says_how_long_silence_may_last() -> None:
    text = '0{"sid":"s","upgrades":[],"pingInterval":25000,"pingTimeout":60000,"maxPayload":1000}'

    handshake = packets.decode_handshake(text)

    assert (handshake.ping_interval, handshake.ping_timeout) == (25_000, 60_000)
    assert handshake.max_payload == 1_000


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('40{"sid":"abc","pid":"p"}', Accepted("abc")),
        ("40", Accepted()),
        ('44{"message":"full"}', Refused("full")),
        ('44"full"', Refused("full")),
        ('42["connected",{"clientId":"c"},"mark"]', Event("connected", {"clientId": "c"})),
        ('42["bare"]', Event("bare", None)),
        ('430[{"a":1}]', Answer(0, {"a": 1})),
        ("4312[]", Answer(12, None)),
    ],
)
def test_each_packet_is_understood(text: str, said: object) -> None:
    assert packets.decode_packet(text) == said


def test_a_refusal_has_the_servers_code() -> None:
    text = '44{"message":"no","data":{"type":"connect_error","code":"unauthorized","message":"no"}}'
    refused = packets.decode_packet(text)

    assert isinstance(refused, Refused)
    assert refused.code == "unauthorized"


@pytest.mark.parametrize("text", ["1", "41"])
def test_both_goodbyes_are_the_end(text: str) -> None:
    assert isinstance(packets.decode_packet(text), Ended)


@pytest.mark.parametrize("text", ["3", "3probe", "6"])
def test_what_needs_no_answer_is_nothing(text: str) -> None:
    assert packets.decode_packet(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "4",
        "42",
        "42{}",
        "42[]",
        "42[5]",
        "43[1]",
        '42/admin,["x"]',
        "45-[]",
        "42[",
        "4abc",
        "42[" + "[" * 100_000,
    ],
)
def test_what_is_no_packet_is_refused(text: str) -> None:
    with pytest.raises(ProtocolError):
        packets.decode_packet(text)


@given(st.text(max_size=50))
def test_whatever_comes_is_understood_or_refused(text: str) -> None:
    for decode in (packets.decode_packet, packets.decode_handshake):
        try:
            decode(text)
        except ProtocolError:
            continue


@given(st.text(max_size=20), JSON, st.integers(0, 10_000))
def test_what_is_sent_could_be_read_by_the_same_rules(name: str, payload: object, n: int) -> None:
    text = packets.encode_event(n, name, payload)
    head = f"42{n}"

    assert text.startswith(head)
    assert packets.decode_packet("42" + text[len(head) :]) == Event(name, payload)
