"""Sliding windows against what is made of all their samples anew."""

from collections.abc import Callable
from fractions import Fraction
from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stockstream.core import windows
from stockstream.core.window_statistics import (
    Deviation,
    Extreme,
    GrowingExtreme,
    GrowingRateOfChange,
    Mean,
    RateOfChange,
    Vwap,
)
from stockstream.core.windows import (
    Growing,
    Sample,
    SlidingWindow,
    Statistic,
    TumblingWindow,
)

Naive = Callable[[list[Sample]], float | None]


def mean_of(samples: list[Sample]) -> float | None:
    return float(sum(Fraction(sample.price) for sample in samples) / len(samples))


def deviation_of(samples: list[Sample]) -> float | None:
    if len(samples) < 2:
        return None
    prices = [Fraction(sample.price) for sample in samples]
    mean = sum(prices) / len(prices)
    return sqrt(sum((price - mean) ** 2 for price in prices) / (len(prices) - 1))


def vwap_of(samples: list[Sample]) -> float | None:
    volume = sum(Fraction(sample.volume) for sample in samples)
    traded = sum(Fraction(sample.price) * Fraction(sample.volume) for sample in samples)
    return float(traded / volume) if volume else None


def rate_of_change_of(samples: list[Sample]) -> float | None:
    first, last = samples[0].price, samples[-1].price
    return (last - first) / abs(first) * 100.0 if first else None


#: Each statistic, and the same made of all samples at once, exactly.
STATISTICS: dict[str, tuple[Callable[[], Statistic], Naive]] = {
    "mean": (Mean, mean_of),
    "deviation": (Deviation, deviation_of),
    "vwap": (Vwap, vwap_of),
    "rate of change": (RateOfChange, rate_of_change_of),
    "high": (
        lambda: Extreme(highest=True),
        lambda samples: max(sample.price for sample in samples),
    ),
    "low": (
        lambda: Extreme(highest=False),
        lambda samples: min(sample.price for sample in samples),
    ),
}
each_statistic = pytest.mark.parametrize(
    ("make", "naive"), STATISTICS.values(), ids=STATISTICS.keys()
)


def in_order(steps: list[Sample]) -> list[Sample]:
    time = 1_399_379_040_000
    ordered = []
    for step in steps:
        time += step.timestamp
        ordered.append(Sample(step.price, time, step.volume))
    return ordered


# Of different sizes, of both signs, and often equal: all that sums and queues may stumble over.
prices = st.one_of(
    st.sampled_from([0.0, 1.0, 1.1, -1.1, 1e-12, 1e15, -1e15]),
    st.floats(1e-9, 1e9),
    st.floats(-1e3, -1e-9),
)
samples = st.lists(
    st.builds(
        Sample,
        prices,
        # First the time since the sample before.
        st.integers(0, 40),
        st.one_of(st.just(0.0), st.floats(1e-6, 1e9)),
    ),
    min_size=1,
    max_size=60,
).map(in_order)


@each_statistic
@given(taken=samples, duration_ms=st.integers(1, 200))
def test_a_window_of_time_tells_what_all_its_samples_do(
    make: Callable[[], Statistic], naive: Naive, taken: list[Sample], duration_ms: int
) -> None:
    window = SlidingWindow(make(), duration_ms=duration_ms)
    for number, sample in enumerate(taken, 1):
        inside = [s for s in taken[:number] if s.timestamp > sample.timestamp - duration_ms]
        assert window(sample) == naive(inside)
        assert len(window) == len(inside)


@each_statistic
@given(taken=samples, count=st.integers(1, 20))
def test_a_window_of_a_count_tells_what_its_last_samples_do(
    make: Callable[[], Statistic], naive: Naive, taken: list[Sample], count: int
) -> None:
    window = SlidingWindow(make(), count=count)
    for number, sample in enumerate(taken, 1):
        assert window(sample) == naive(taken[max(0, number - count) : number])
    assert window.overflowed == 0


@each_statistic
@given(taken=samples, count=st.integers(1, 20), duration_ms=st.integers(1, 200))
def test_of_time_and_count_the_shorter_one_holds(
    make: Callable[[], Statistic],
    naive: Naive,
    taken: list[Sample],
    count: int,
    duration_ms: int,
) -> None:
    window = SlidingWindow(make(), duration_ms=duration_ms, count=count)
    for number, sample in enumerate(taken, 1):
        last = taken[max(0, number - count) : number]
        inside = [s for s in last if s.timestamp > sample.timestamp - duration_ms]
        assert window(sample) == naive(inside)


#: Each statistic of a window that tumbles, and the same made of all samples at once, exactly.
GROWING: dict[str, Callable[[], Growing]] = {
    **{name: make for name, (make, _) in STATISTICS.items()},
    "rate of change": GrowingRateOfChange,
    "high": lambda: GrowingExtreme(highest=True),
    "low": lambda: GrowingExtreme(highest=False),
}


@pytest.mark.parametrize("name", STATISTICS)
@given(taken=samples, length=st.integers(1, 200))
def test_a_tumbling_window_tells_what_all_its_samples_so_far_do(
    name: str, taken: list[Sample], length: int
) -> None:
    def bounds(timestamp: int) -> tuple[int, int]:
        start = timestamp - timestamp % length
        return start, start + length

    naive = STATISTICS[name][1]
    window = TumblingWindow(GROWING[name], bounds)
    for number, sample in enumerate(taken, 1):
        start, _ = bounds(sample.timestamp)
        assert window(sample) == naive([s for s in taken[:number] if s.timestamp >= start])
        assert window(Sample(123.0, start - 1)) is None
    assert window.late == len(taken)


@each_statistic
def test_a_window_that_has_run_for_long_tells_what_a_new_one_does(
    make: Callable[[], Statistic], naive: Naive
) -> None:
    # A level against which the moves are tiny, and now and then a price of another world: with
    # rounded sums the deviation would be noise by the end, or the root of a negative number.
    def price(number: int) -> float:
        return 1e15 if number % 997 == 0 else 1e9 + number * 7919 % 1_000 / 1_000

    taken = [Sample(price(number), number, number % 5 * 0.1) for number in range(1, 30_000)]
    window = SlidingWindow(make(), count=50)
    told = [window(sample) for sample in taken]

    for end in (1_000, 10_000, 29_996):
        assert told[end - 1] == naive(taken[end - 50 : end])


@each_statistic
@given(taken=samples, back=st.integers(1, 100))
def test_a_sample_older_than_the_newest_is_counted_and_changes_nothing(
    make: Callable[[], Statistic], naive: Naive, taken: list[Sample], back: int
) -> None:
    window = SlidingWindow(make(), count=20)
    for sample in taken[:-1]:
        window(sample)
        late = Sample(123.0, sample.timestamp - back, 5.0)
        assert window(late) is None
    assert window(taken[-1]) == naive(taken[-20:])
    assert window.late == len(taken) - 1


def test_no_window_holds_more_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "MAX_SAMPLES", 10)
    window = SlidingWindow(Mean(), duration_ms=1_000_000)
    told = [window(Sample(float(number), number)) for number in range(25)]
    assert told[-1] == 19.5
    assert (len(window), window.overflowed) == (10, 15)


def test_what_is_smaller_than_any_price_leaves_nothing_behind() -> None:
    window = SlidingWindow(Mean(), count=1)
    window(Sample(1e-300, 1))
    window(Sample(0.1, 2))
    assert window(Sample(0.2, 3)) == 0.2
