"""The targets of `scripts/fuzz`, with bytes that are near to what clients send."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.fuzz.targets import SEEDS, TARGETS


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
