"""The targets of `scripts/fuzz`, with bytes that are near to what clients send."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stockstream.engine.core.packets import split_payload, unwrap
from stockstream.engine.shell.head import read_head
from stockstream.engine.sio.packets import JSONPacket, MsgpackPacket
from tests.engine.fuzz.targets import PACKETS, SEEDS, TARGETS, read_frames


def mutated(seed: bytes, noise: random.Random) -> bytes:
    """Return bytes with some of them changed, left out, doubled or put in."""
    data = bytearray(seed)
    for _ in range(noise.randint(0, 4)):
        at = noise.randint(0, len(data))
        piece = bytes(
            noise.choice([0, 0x1E, 0x2D, 0x5B, 0x7F, 0xFF, noise.randrange(256)]) for _ in range(2)
        )
        data[at : at + noise.randint(0, 3)] = noise.choice([piece, piece[:1], b"", seed[:at]])
    return bytes(data)


@pytest.mark.parametrize("name", TARGETS)
@given(data=st.data())
@settings(max_examples=150)
def test_nothing_but_a_violation_comes_of_bytes(name: str, data: st.DataObject) -> None:
    seed = data.draw(st.sampled_from(SEEDS[name]) | st.binary(max_size=60))
    TARGETS[name](mutated(seed, data.draw(st.randoms(use_true_random=False))))


@pytest.mark.parametrize("name", TARGETS)
def test_targets_take_what_clients_do_send(name: str) -> None:
    for seed in SEEDS[name]:
        TARGETS[name](seed)


def test_inputs_to_begin_with_are_well_formed() -> None:
    """Otherwise all that is made of them would be turned away at the door."""
    for seed in SEEDS["frames"]:
        messages, violation = read_frames([seed[2:]], deflates=seed[0] == 1)
        assert messages
        assert violation is None
    for seed in SEEDS["json"]:
        text, *attachments = seed.split(b"\x00", 1)
        packet = JSONPacket(encoded_packet=text.decode())
        assert packet.attachment_count == sum(each.count(b"\x00") + 1 for each in attachments)
    for seed in SEEDS["msgpack"]:
        MsgpackPacket(encoded_packet=seed)
    for seed in SEEDS["payload"]:
        assert all(map(unwrap, split_payload(seed, PACKETS)))
    for seed in SEEDS["head"]:
        assert read_head(seed, "192.0.2.1", "http") is not None
