"""Stamps order what happens, whatever the wall clocks say."""

from hypothesis import given
from hypothesis import strategies as st

from stockstream.core.hybrid_clock import HybridClock, milliseconds, stamp_of

times = st.integers(1_700_000_000_000, 1_700_000_000_010)


@given(st.lists(times, min_size=2))
def test_stamps_rise_though_the_wall_clock_jumps(readings: list[int]) -> None:
    clock = HybridClock()
    stamps = [clock.stamp(now) for now in readings]
    assert stamps == sorted(set(stamps))
    assert all(milliseconds(stamp) >= now for stamp, now in zip(stamps, readings, strict=True))


@given(times, times)
def test_what_follows_from_another_nodes_change_comes_after_it(here: int, there: int) -> None:
    seen = HybridClock().stamp(there)
    clock = HybridClock()
    clock.observe(seen)
    assert clock.stamp(here) > seen


def test_a_stamp_tells_its_millisecond() -> None:
    assert milliseconds(stamp_of(1_700_000_000_000)) == 1_700_000_000_000
    assert stamp_of(5) <= HybridClock().stamp(5)
