import pytest
from hypothesis import given
from hypothesis import strategies as st

from stockstream.core.asof import AsOfJoin, Joined, Tick

INPUTS = ("A", "B", "C")

ticks = st.lists(
    st.builds(
        Tick, st.sampled_from(INPUTS), st.floats(-10, 10), st.integers(0, 100).map(lambda t: t * 10)
    ),
    max_size=40,
)


def as_of(ticks_so_far: list[Tick[str]], time: int) -> tuple[float, ...] | None:
    """Return the last price of each input at a time, by looking through everything."""
    prices = []
    for key in INPUTS:
        seen = [tick for tick in ticks_so_far if tick.key == key and tick.timestamp <= time]
        if not seen:
            return None
        prices.append(max(enumerate(seen), key=lambda e: (e[1].timestamp, e[0]))[1].price)
    return tuple(prices)


@given(ticks)
def test_each_moment_joins_the_last_price_of_each_input(taken: list[Tick[str]]) -> None:
    join = AsOfJoin(INPUTS)
    in_order = sorted(taken, key=lambda tick: tick.timestamp)
    for number, tick in enumerate(in_order, 1):
        expected = as_of(in_order[:number], tick.timestamp)
        joined = join(tick)
        assert joined == (Joined(expected, tick.timestamp) if expected else None)


@given(ticks)
def test_without_an_order_between_inputs_the_newest_of_each_are_joined(
    taken: list[Tick[str]],
) -> None:
    join = AsOfJoin(INPUTS)
    in_time: list[Tick[str]] = []
    newest: dict[str, int] = {}
    for tick in taken:
        joined = join(tick)
        if tick.timestamp < newest.get(tick.key, 0):
            assert joined is None
            continue
        newest[tick.key] = tick.timestamp
        in_time.append(tick)
        time = max(newest.values())
        expected = as_of(in_time, time)
        assert joined == (Joined(expected, time) if expected else None)
    assert join.late == len(taken) - len(in_time)


@pytest.mark.parametrize(("age", "stale"), [(0, 0), (1_000, 0), (1_001, 1)])
@pytest.mark.parametrize("first", [0, 1])
def test_an_input_that_is_too_old_makes_no_price(age: int, stale: int, first: int) -> None:
    join = AsOfJoin("AB", max_age_ms=1_000)
    old, new = ("A", "B") if first == 0 else ("B", "A")
    join(Tick(old, 1.0, 5_000))
    assert (join(Tick(new, 2.0, 5_000 + age)) is None) is bool(stale)
    assert join.stale == stale


def test_an_input_that_was_too_old_joins_again_when_it_is_new() -> None:
    join = AsOfJoin("AB", max_age_ms=1_000)
    join(Tick("A", 1.0, 0))
    assert join(Tick("B", 2.0, 5_000)) is None
    assert join(Tick("A", 1.0, 5_500)) == Joined((1.0, 2.0), 5_500)
