from math import ceil, inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stockstream.core.latency import LatencyHistogram

durations = st.floats(0.001, 1_000_000)
samples = st.lists(st.tuples(durations, st.integers(1, 5)), min_size=1)


def histogram(recorded: list[tuple[float, int]]) -> LatencyHistogram:
    result = LatencyHistogram()
    for value, weight in recorded:
        result.record(value, weight)
    return result


@given(samples, st.floats(0, 1))
def test_quantile_is_within_one_percent_of_the_true_one(
    recorded: list[tuple[float, int]], q: float
) -> None:
    values = sorted(value for value, weight in recorded for _ in range(weight))
    true = values[max(ceil(q * len(values)), 1) - 1]

    assert histogram(recorded).quantile(q) == pytest.approx(true, rel=0.01 + 1e-9)


@given(samples)
def test_count_and_mean_are_exact(recorded: list[tuple[float, int]]) -> None:
    values = [value for value, weight in recorded for _ in range(weight)]
    measured = histogram(recorded)

    assert measured.count == len(values)
    assert measured.mean == pytest.approx(sum(values) / len(values))


@given(samples, samples)
def test_what_came_since_a_copy_is_what_was_recorded_after_it(
    before: list[tuple[float, int]], after: list[tuple[float, int]]
) -> None:
    measured = histogram(before)
    copy = measured.copy()
    for value, weight in after:
        measured.record(value, weight)

    assert copy == histogram(before)
    later, expected = measured.since(copy), histogram(after)
    assert (later.count, later.buckets) == (expected.count, expected.buckets)
    assert later.sum == pytest.approx(expected.sum, abs=1e-6 * measured.sum)
    assert copy.plus(later).buckets == measured.buckets


def test_nothing_recorded_reads_as_zero() -> None:
    empty = LatencyHistogram()

    assert (empty.count, empty.mean, empty.p50, empty.p99) == (0, 0, 0, 0)


def test_one_slow_message_of_a_hundred_is_not_the_99th_percentile_but_two_are() -> None:
    measured = histogram([(1, 99), (500, 1)])
    assert measured.p99 == pytest.approx(1, rel=0.01)

    measured = histogram([(1, 98), (500, 2)])
    assert measured.p50 == pytest.approx(1, rel=0.01)
    assert measured.p99 == pytest.approx(500, rel=0.01)


@pytest.mark.parametrize("value", [nan, -inf, -5.0, 0.0])
def test_what_is_no_duration_counts_as_none_at_all(value: float) -> None:
    measured = histogram([(value, 3)])

    assert (measured.count, measured.mean) == (3, 0)
    assert measured.p99 <= 0.001


def test_endless_duration_counts_as_the_longest() -> None:
    assert histogram([(inf, 1)]).p50 == pytest.approx(1_000_000, rel=0.01)


def test_memory_does_not_grow_with_what_is_recorded() -> None:
    measured = LatencyHistogram()
    size = len(measured.buckets)
    for exponent in range(-9, 12):
        measured.record(10.0**exponent, 1_000_000_000)

    assert len(measured.buckets) == size < 1_100


def test_durations_up_to_a_bound_are_counted() -> None:
    measured = histogram([(0.0, 1), (5, 2), (9.7, 4), (10.3, 8), (2_000_000, 16)])

    assert [measured.count_up_to(bound) for bound in (0.001, 5.2, 10, 100, inf)] == [
        1,
        3,
        7,
        15,
        31,
    ]
