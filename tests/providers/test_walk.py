"""The random walk under the simulated market."""

from hypothesis import given
from hypothesis import strategies as st

from stockstream.providers.walk import HEIGHT, SPAN, Walk

keys = st.integers(min_value=0, max_value=2**64 - 1)
steps = st.integers(min_value=0, max_value=2**40)


@given(key=keys, step=steps)
def test_neighbouring_steps_are_one_unit_apart(key: int, step: int) -> None:
    walk = Walk(key)
    assert abs(walk.at(step + 1) - walk.at(step)) == 1


@given(key=keys, block=st.integers(min_value=0, max_value=2**20))
def test_blocks_lead_from_one_end_to_the_other(key: int, block: int) -> None:
    walk = Walk(key)
    ends = {walk.at(block * SPAN), walk.at((block + 1) * SPAN)}
    assert ends == {0, HEIGHT}
    assert abs(walk.at(block * SPAN + 1) - walk.at(block * SPAN)) == 1
    assert block == 0 or abs(walk.at(block * SPAN - 1) - walk.at(block * SPAN)) == 1


@given(key=keys, first=steps, length=st.integers(min_value=0, max_value=600))
def test_extremes_are_those_of_all_steps(key: int, first: int, length: int) -> None:
    walk = Walk(key)
    heights = [walk.at(step) for step in range(first, first + length + 1)]
    assert walk.extremes(first, first + length) == (min(heights), max(heights))


@given(
    key=keys,
    first=steps,
    lengths=st.lists(st.integers(min_value=1, max_value=2**26), min_size=1, max_size=4),
)
def test_extremes_of_a_stretch_are_those_of_its_parts(
    key: int, first: int, lengths: list[int]
) -> None:
    walk = Walk(key)
    parts, start = [], first
    for length in lengths:
        parts.append(walk.extremes(start, start + length))
        start += length
    assert walk.extremes(first, start) == (
        min(low for low, _ in parts),
        max(high for _, high in parts),
    )


@given(key=keys, steps=st.lists(steps, min_size=2, max_size=20))
def test_order_of_asking_does_not_matter(key: int, steps: list[int]) -> None:
    walk = Walk(key)
    forwards = [walk.at(step) for step in steps]
    assert [walk.at(step) for step in reversed(steps)] == forwards[::-1]
