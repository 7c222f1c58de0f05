from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stockstream.core.ohlcv import OhlcvWindow, bounds_of
from stockstream.model import Bar, Timeframe

MINUTE = 60_000
Sample = tuple[float, int, float]

samples = st.lists(
    st.tuples(
        # Of computed prices some are zero or negative.
        st.floats(-1e6, 1e6).map(lambda price: round(price, 3)),
        st.integers(0, 20 * MINUTE),
        st.integers(0, 1_000).map(float),
    ),
    max_size=60,
)


def minute(sample: Sample) -> int:
    return Timeframe.M1.floor(sample[1])


def recomputed(taken: list[Sample], timeframe: Timeframe) -> list[Bar]:
    return [
        Bar(
            timestamp=start,
            open=prices[0],
            high=max(prices),
            low=min(prices),
            close=prices[-1],
            volume=sum(volume for _, _, volume in each),
        )
        for start, group in groupby(taken, lambda sample: timeframe.floor(sample[1]))
        for each in [list(group)]
        for prices in [[price for price, _, _ in each]]
    ]


def windows(taken: list[Sample], timeframe: Timeframe) -> tuple[list[Bar], OhlcvWindow]:
    window = OhlcvWindow(bounds_of(timeframe))
    ended = [window.add(*sample) for sample in taken]
    bars = [bar for bar in [*ended, window.forming] if bar is not None]
    return bars, window


@given(samples)
def test_windows_are_what_is_made_of_all_their_samples_at_once(taken: list[Sample]) -> None:
    in_order = sorted(taken, key=minute)

    bars, window = windows(in_order, Timeframe.M1)

    assert bars == recomputed(in_order, Timeframe.M1)
    assert window.late == 0


@given(samples)
def test_samples_of_windows_that_have_ended_are_counted_and_change_nothing(
    taken: list[Sample],
) -> None:
    in_time: list[Sample] = []
    for sample in taken:
        if not in_time or minute(sample) >= minute(in_time[-1]):
            in_time.append(sample)

    bars, window = windows(taken, Timeframe.M1)

    assert bars == recomputed(in_time, Timeframe.M1)
    assert window.late == len(taken) - len(in_time)


@pytest.mark.parametrize("timeframe", Timeframe)
def test_a_window_holds_its_start_and_not_its_end(timeframe: Timeframe) -> None:
    start, end = bounds_of(timeframe)(1_399_379_040_007)
    assert start <= 1_399_379_040_007 < end
    assert bounds_of(timeframe)(start) == (start, end)
    assert bounds_of(timeframe)(end)[0] == end


def test_a_sample_of_a_window_that_has_ended_is_counted_and_changes_nothing() -> None:
    window = OhlcvWindow(bounds_of(Timeframe.M1))
    window.add(1.0, 5 * MINUTE, 0.0)
    before = window.forming

    assert window.add(9.0, 0, 9.0) is None

    assert (window.forming, window.late) == (before, 1)
