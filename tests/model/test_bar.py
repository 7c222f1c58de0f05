from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stockstream.errors import UnknownTimeframeError
from stockstream.model import Timeframe, parse_timeframe

moments = st.integers(min_value=0, max_value=4_102_444_800_000)


@given(moments, st.sampled_from(Timeframe))
def test_a_bar_holds_the_moment_that_it_is_made_of(moment: int, timeframe: Timeframe) -> None:
    start = timeframe.floor(moment)
    assert start <= moment < start + timeframe.duration_ms
    assert timeframe.floor(start) == start


@given(moments)
def test_weeks_start_on_monday_at_midnight_utc(moment: int) -> None:
    start = datetime.fromtimestamp(Timeframe.W1.floor(moment) / 1000, UTC)
    assert start.weekday() == 0
    assert (start.hour, start.minute, start.second) == (0, 0, 0)


@given(moments, st.sampled_from(Timeframe), st.sampled_from(Timeframe))
def test_small_bars_lie_within_large_ones(moment: int, one: Timeframe, other: Timeframe) -> None:
    small, large = sorted((one, other), key=lambda timeframe: timeframe.duration_ms)
    assert large.floor(small.floor(moment)) == large.floor(moment)


def test_the_error_of_an_unknown_timeframe_lists_the_known_ones() -> None:
    with pytest.raises(UnknownTimeframeError, match=r"'2m' is not a timeframe: 1m, 5m, .* 1w"):
        parse_timeframe("2m")
