from hypothesis import given
from hypothesis import strategies as st

from stockstream.core.bar_columns import BarColumns, place_of
from stockstream.core.bar_rules import join, overlaid
from stockstream.model import Bar

_prices = st.floats(min_value=0.01, max_value=1e6)
_rows = st.builds(Bar, st.integers(0, 30), _prices, _prices, _prices, _prices, _prices)
#: In order of time, each time once; often, and now and then more than are taken over at once.
bars_in_order = st.lists(_rows, unique_by=lambda bar: bar.timestamp).map(
    lambda bars: sorted(bars, key=lambda bar: bar.timestamp)
)
places = st.integers(-40, 40) | st.none()


@given(bars_in_order, places, places)
def test_columns_are_the_list_that_they_were_made_of(
    bars: list[Bar], begin: int | None, end: int | None
) -> None:
    columns = BarColumns.of(bars)
    assert columns == bars
    assert bars == columns
    assert list(columns[begin:end]) == bars[begin:end]
    assert [columns[place] for place in range(-len(bars), len(bars))] == bars * 2
    assert columns == BarColumns.of(bars)


def test_columns_of_many_bars_are_those_of_all() -> None:
    bars = [Bar(start, 1.0, 4.0, 0.5, 2.0, float(start)) for start in range(1_234)]
    assert list(BarColumns.of(bars)) == bars
    assert BarColumns.of(bars) != bars[:-1]
    assert BarColumns.of(bars) != [*bars[:-1], bars[0]]
    assert BarColumns.of(bars) != 1


@given(bars_in_order, bars_in_order, st.integers(0, 30))
def test_columns_are_joined_and_overlaid_as_lists_are(
    older: list[Bar], newer: list[Bar], start: int
) -> None:
    columns = BarColumns.of(older)
    assert place_of(columns, start) == place_of(older, start)
    assert join(columns, newer) == join(older, newer)
    assert overlaid(columns, newer) == overlaid(older, newer)
    assert overlaid(columns, BarColumns.of(newer)) == overlaid(older, newer)
    expected = {bar.timestamp: bar for bar in [*older, *newer]}
    assert overlaid(older, newer) == [expected[start] for start in sorted(expected)]
