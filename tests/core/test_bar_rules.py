"""Bars made of shorter ones, and of those of two sources."""

from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stockstream.core.bar_rules import aggregate, is_sound, merge
from stockstream.model import Bar, Timeframe
from tests.core.bar_cases import MINUTE, NOON, Tick, bars, built, flat, recomputed, ticks, volumes


@given(minutes=bars())
def test_hours_from_five_minutes_are_hours_from_minutes(minutes: list[Bar]) -> None:
    five = aggregate(minutes, Timeframe.M5)

    assert aggregate(five, Timeframe.H1) == aggregate(minutes, Timeframe.H1)
    assert aggregate(aggregate(five, Timeframe.M15), Timeframe.D1) == aggregate(
        minutes, Timeframe.D1
    )


@given(minutes=bars(), timeframe=st.sampled_from(Timeframe))
def test_aggregating_again_changes_nothing(minutes: list[Bar], timeframe: Timeframe) -> None:
    once = aggregate(minutes, timeframe)

    assert aggregate(once, timeframe) == once


@given(quotes=ticks(), timeframe=st.sampled_from(Timeframe))
def test_columns_and_bars_are_aggregated_alike(quotes: list[Tick], timeframe: Timeframe) -> None:
    minutes = built(quotes)

    assert minutes.bars(timeframe, 1_000) == aggregate(minutes.bars(Timeframe.M1, 1_000), timeframe)


@given(older=bars(), live=bars(), traded=st.one_of(st.none(), volumes))
def test_merged_bars_are_in_order_and_none_is_lost(
    older: list[Bar], live: list[Bar], traded: float | None
) -> None:
    starts = [bar.timestamp for bar in merge(older, live, traded=traded)]

    assert starts == sorted({bar.timestamp for bar in older + live})


@given(older=bars(), live=bars(), traded=st.one_of(st.none(), volumes))
def test_merging_again_changes_nothing(
    older: list[Bar], live: list[Bar], traded: float | None
) -> None:
    once = merge(older, live, traded=traded)

    assert merge(once, live, traded=None if traded is None else 0.0) == once


@given(minutes=bars())
def test_merging_with_nothing_or_oneself_changes_nothing(minutes: list[Bar]) -> None:
    assert merge(minutes, [], traded=0.0) == minutes
    assert merge([], minutes, traded=None) == minutes
    assert merge(minutes, minutes, traded=0.0) == minutes


@given(quotes=ticks(), cut=st.integers(0, 60), timeframe=st.sampled_from(Timeframe))
def test_a_history_that_ends_anywhere_is_continued_as_if_it_had_not(
    quotes: list[Tick], cut: int, timeframe: Timeframe
) -> None:
    # The provider has the whole past at that moment; our own counting began somewhere before it.
    older = recomputed(quotes[:cut], timeframe)
    minutes = built(quotes[cut // 2 : cut])
    mark = minutes.mark()
    for price, timestamp, volume in quotes[cut:]:
        minutes.add(price, timestamp, volume)
    traded = None
    if older:
        seam = older[-1].timestamp
        traded = minutes.traded_since(mark, seam, seam + timeframe.duration_ms)

    merged = merge(older, minutes.bars(timeframe, 1_000), traded=traded)

    assert merged == recomputed(quotes, timeframe)


def test_a_bar_that_both_saw_a_part_of_is_made_of_both() -> None:
    older = [Bar(timestamp=NOON, open=5, high=8, low=4, close=6, volume=100)]
    live = [Bar(timestamp=NOON, open=6, high=9, low=5, close=7, volume=30)]

    assert merge(older, live, traded=20) == [
        Bar(timestamp=NOON, open=5, high=9, low=4, close=7, volume=120)
    ]


def test_a_bar_that_the_provider_finished_is_the_providers() -> None:
    older, live = [flat(NOON, 1), flat(NOON + MINUTE, 2)], [flat(NOON, 3), flat(NOON + MINUTE, 2)]

    assert merge(older, live, traded=0.0) == older


def test_the_last_bar_is_the_providers_alone_where_our_counting_stopped_before_it_was_asked() -> (
    None
):
    assert merge([flat(NOON, 2)], [flat(NOON, 3)], traded=None) == [flat(NOON, 2)]


@pytest.mark.parametrize(
    "changes",
    [
        {"open": nan},
        {"close": nan},
        {"low": nan},
        {"high": nan},
        {"high": inf},
        {"volume": nan},
        {"volume": inf},
        {"volume": -1.0},
        {"low": 0.0},
        {"low": 6.0},
        {"high": 4.0},
    ],
)
def test_a_bar_that_cannot_be_true_is_unsound(changes: dict[str, float]) -> None:
    fields = {"open": 5.0, "high": 5.0, "low": 5.0, "close": 5.0, "volume": 0.0}

    assert is_sound(Bar(timestamp=NOON, **fields))
    assert not is_sound(Bar(timestamp=NOON, **(fields | changes)))
