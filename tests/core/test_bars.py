from collections.abc import Sequence
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stockstream.core.bar_parts import BarPart, combine
from stockstream.core.bar_rules import aggregate, is_sound, merge
from stockstream.core.bars import Mark, MinuteBars
from stockstream.model import Bar, Timeframe

Tick = tuple[float, int, float]

MINUTE = 60_000
NOON = 1_709_640_000_000

# Whole units of volume add up exactly, in whatever order.
_prices = st.integers(1, 1_000).map(float)
_gaps = st.one_of(st.integers(0, 5_000), st.integers(0, 30 * MINUTE))
_traded = st.integers(0, 50).map(float)


@st.composite
def ticks(draw: st.DrawFn) -> list[Tick]:
    """Quotes in order of time with the day's volume, which starts anew now and then."""
    steps = st.tuples(_prices, _gaps, _traded, st.integers(0, 19))
    timestamp, volume, result = draw(st.integers(0, NOON)), 0.0, []
    for price, gap, traded, reset in draw(st.lists(steps, max_size=60)):
        timestamp += gap
        volume = traded if reset == 0 else volume + traded
        result.append((price, timestamp, volume))
    return result


@st.composite
def bars(draw: st.DrawFn) -> list[Bar]:
    """Bars of a minute in order of time, with holes."""
    starts = draw(st.sets(st.integers(0, 40)))
    return [draw(_bar(NOON + start * MINUTE)) for start in sorted(starts)]


def _bar(timestamp: int) -> st.SearchStrategy[Bar]:
    four = st.lists(_prices, min_size=4, max_size=4)
    return st.builds(
        lambda prices, volume: Bar(
            timestamp=timestamp,
            open=prices[0],
            high=max(prices),
            low=min(prices),
            close=prices[3],
            volume=volume,
        ),
        four,
        _traded,
    )


def built(quotes: Sequence[Tick], keep: int = 10**6) -> MinuteBars:
    minutes = MinuteBars(keep)
    for price, timestamp, volume in quotes:
        minutes.add(price, timestamp, volume)
    return minutes


def flat(timestamp: int, price: float = 10.0, volume: float = 0.0) -> Bar:
    return Bar(timestamp=timestamp, open=price, high=price, low=price, close=price, volume=volume)


def recomputed(quotes: Sequence[Tick], timeframe: Timeframe) -> list[Bar]:
    """The bars as one would make them with all quotes on the table."""
    groups: dict[int, list[float]] = {}
    volumes: dict[int, float] = {}
    before = inf
    for price, timestamp, volume in quotes:
        start = timeframe.floor(timestamp)
        groups.setdefault(start, []).append(price)
        volumes[start] = volumes.get(start, 0.0) + max(volume - before, 0.0)
        before = volume
    return [
        Bar(
            timestamp=start,
            open=prices[0],
            high=max(prices),
            low=min(prices),
            close=prices[-1],
            volume=volumes[start],
        )
        for start, prices in groups.items()
    ]


def test_a_minute_has_the_first_highest_lowest_and_last_price() -> None:
    minutes = built([(5, NOON, 0), (9, NOON + 1, 0), (2, NOON + 2, 0), (4, NOON + 59_999, 0)])

    assert minutes.bars(Timeframe.M1, 10) == [
        Bar(timestamp=NOON, open=5, high=9, low=2, close=4, volume=0)
    ]


def test_a_quote_on_the_border_begins_the_next_minute() -> None:
    minutes = built([(5, NOON + 59_999, 0), (6, NOON + 60_000, 0)])

    assert minutes.bars(Timeframe.M1, 10) == [flat(NOON, 5), flat(NOON + MINUTE, 6)]


def test_a_minute_without_a_quote_has_no_bar() -> None:
    minutes = built([(5, NOON, 0), (6, NOON + 3 * MINUTE, 0)])

    starts = [bar.timestamp for bar in minutes.bars(Timeframe.M1, 10)]
    assert starts == [NOON, NOON + 3 * MINUTE]


def test_before_the_first_quote_there_are_no_bars() -> None:
    assert MinuteBars().bars(Timeframe.M1, 10) == []
    assert MinuteBars().forming is None


def test_a_bar_has_the_volume_by_which_the_day_grew() -> None:
    minutes = built([(5, NOON, 1_000), (5, NOON + 1, 1_030), (5, NOON + MINUTE, 1_100)])

    assert [bar.volume for bar in minutes.bars(Timeframe.M1, 10)] == [30, 70]


def test_a_new_day_counts_nothing_when_its_volume_starts_anew() -> None:
    minutes = built([(5, NOON, 1_000), (5, NOON + MINUTE, 400), (5, NOON + MINUTE + 1, 410)])

    assert [bar.volume for bar in minutes.bars(Timeframe.M1, 10)] == [0, 10]


def test_a_first_quote_counts_the_size_of_its_trade_where_it_is_known() -> None:
    minutes = MinuteBars()
    minutes.add(5, NOON, 1_000, size=7)
    minutes.add(5, NOON + 1, 1_010, size=10)
    minutes.add(5, NOON + 2, 3, size=3)

    assert [bar.volume for bar in minutes.bars(Timeframe.M1, 10)] == [7 + 10 + 3]


def test_what_was_traded_while_nobody_listened_is_not_the_next_bars() -> None:
    minutes = built([(5, NOON, 1_000), (5, NOON + 1, 1_010)])
    minutes.interrupt()
    minutes.add(6, NOON + 5 * MINUTE, 9_000)
    minutes.add(6, NOON + 5 * MINUTE + 1, 9_005)

    assert [bar.volume for bar in minutes.bars(Timeframe.M1, 10)] == [10, 5]


def test_a_quote_from_before_the_grace_period_is_passed_over_and_counted() -> None:
    minutes = built([(5, NOON + MINUTE, 0)])
    minutes.add(99, NOON - 1, 0)

    assert minutes.bars(Timeframe.M1, 10) == [flat(NOON + MINUTE, 5)]
    assert minutes.late == 1
    assert minutes.revision == 1


def test_a_late_quote_corrects_the_minute_that_it_belongs_to() -> None:
    minutes = built([(5, NOON + 10, 0), (6, NOON + 20, 0), (7, NOON + MINUTE, 0)])
    minutes.add(9, NOON + 15, 0)
    assert minutes.bars(Timeframe.M1, 10)[0] == Bar(timestamp=NOON, open=5, high=9, low=5, close=6)
    minutes.add(4, NOON, 0, size=3)
    minutes.add(8, NOON + 59_999, 0, size=2)

    assert minutes.bars(Timeframe.M1, 10) == [
        Bar(timestamp=NOON, open=4, high=9, low=4, close=8, volume=5),
        flat(NOON + MINUTE, 7),
    ]
    assert minutes.corrected == {NOON: 6}


def test_a_late_quote_of_a_minute_without_a_bar_makes_one() -> None:
    minutes = built([(5, NOON, 0), (7, NOON + 2 * MINUTE, 0)])
    minutes.add(6, NOON + MINUTE + 1, 0)

    assert [bar.close for bar in minutes.bars(Timeframe.M1, 10)] == [5, 6, 7]


def test_of_two_quotes_of_a_millisecond_the_first_to_come_is_the_earlier_one() -> None:
    minutes = built([(5, NOON, 0), (6, NOON, 0), (7, NOON + 1, 0)])
    minutes.add(8, NOON, 0)

    assert minutes.bars(Timeframe.M1, 1) == [Bar(timestamp=NOON, open=5, high=8, low=5, close=7)]


def test_corrections_are_forgotten_when_nobody_looks_for_them_any_more() -> None:
    minutes = built([(5, NOON + index * MINUTE, 0) for index in range(2)])
    minutes.add(6, NOON + 30_000, 0)
    assert minutes.corrected == {NOON: 3}
    for index in range(2, 6):
        minutes.add(5, NOON + index * MINUTE, 0)
    assert not minutes.corrected


def test_the_volume_of_a_quote_passed_over_goes_to_the_next_one() -> None:
    minutes = built([(5, NOON + MINUTE, 100), (5, NOON - 1, 120), (5, NOON + MINUTE + 1, 125)])

    assert [bar.volume for bar in minutes.bars(Timeframe.M1, 10)] == [25]


@given(quotes=ticks(), data=st.data())
def test_quotes_in_any_order_within_the_grace_period_make_the_same_bars(
    quotes: list[Tick], data: st.DataObject
) -> None:
    # Their volume is that of single trades; those of one millisecond keep their order.
    in_order = MinuteBars(10**6)
    for price, timestamp, _ in quotes:
        in_order.add(price, timestamp, 0.0)
    delays = {timestamp: data.draw(st.integers(0, 60_000)) for _, timestamp, _ in quotes}
    shuffled = MinuteBars(10**6)
    for price, timestamp, _ in sorted(quotes, key=lambda each: each[1] + delays[each[1]]):
        shuffled.add(price, timestamp, 0.0)

    assert shuffled.late == 0
    assert shuffled.bars(Timeframe.M1, 1_000) == in_order.bars(Timeframe.M1, 1_000)


@given(quotes=ticks(), data=st.data())
def test_a_counting_that_stopped_anywhere_goes_on_as_if_it_had_not(
    quotes: list[Tick], data: st.DataObject
) -> None:
    # One of each time: which of two of a millisecond came first is not stored.
    quotes = list({timestamp: each for each in quotes if (timestamp := each[1])}.values())
    stop = data.draw(st.integers(0, len(quotes)))
    first, second, whole = (MinuteBars(10**6, run=run) for run in range(3))
    rows: dict[tuple[int | None, int], BarPart] = {}

    def store(minutes: MinuteBars) -> None:
        rows.update(((minutes.run, part.timestamp), part) for part in minutes.take_changed())

    trades = [(price, at, count) for count, (price, at, _) in enumerate(quotes, 1)]
    for price, timestamp, volume in trades:
        whole.add(price, timestamp, volume, size=1.0)
    for price, timestamp, volume in trades[:stop]:
        first.add(price, timestamp, volume, size=1.0)
    store(first)
    for price, timestamp, volume in trades[stop:]:
        second.add(price, timestamp, volume, size=1.0)
        if second.revision == 1:
            second.inherit(list(rows.values()))
        store(second)

    expected = whole.bars(Timeframe.M1, 100)
    assert [part.bar() for part in combine(rows.values())] == expected
    if second.revision:
        assert second.bars(Timeframe.M1, 100) == expected


def test_old_minutes_leave() -> None:
    minutes = built([(5, NOON + index * MINUTE, 0) for index in range(1_000)], keep=100)

    kept = minutes.bars(Timeframe.M1, 1_000)
    assert 100 <= len(kept) <= 100 + 60
    assert kept[-1].timestamp == NOON + 999 * MINUTE


def test_weeks_start_on_monday() -> None:
    sunday, monday = 1_709_510_399_999, 1_709_510_400_000
    minutes = built([(5, sunday, 0), (6, monday, 0)])

    starts = [bar.timestamp for bar in minutes.bars(Timeframe.W1, 10)]
    assert starts == [monday - 7 * 86_400_000, monday]


@given(quotes=ticks(), timeframe=st.sampled_from(Timeframe), limit=st.integers(1, 100))
def test_every_timeframe_is_what_all_quotes_at_once_give(
    quotes: list[Tick], timeframe: Timeframe, limit: int
) -> None:
    assert built(quotes).bars(timeframe, limit) == recomputed(quotes, timeframe)[-limit:]


@given(quotes=ticks(), timeframe=st.sampled_from(Timeframe))
def test_bars_read_between_quotes_do_not_change_later_ones(
    quotes: list[Tick], timeframe: Timeframe
) -> None:
    minutes = MinuteBars()
    for price, timestamp, volume in quotes:
        minutes.add(price, timestamp, volume)
        minutes.bars(timeframe, 10)

    assert minutes.bars(timeframe, 100) == built(quotes).bars(timeframe, 100)


@given(quotes=ticks(), timeframe=st.sampled_from(Timeframe))
def test_extremes_enclose_open_and_close(quotes: list[Tick], timeframe: Timeframe) -> None:
    for bar in built(quotes).bars(timeframe, 100):
        assert bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high


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


@given(quotes=ticks(), cut=st.integers(0, 60), timeframe=st.sampled_from(Timeframe))
def test_volume_since_a_moment_and_until_it_are_the_whole(
    quotes: list[Tick], cut: int, timeframe: Timeframe
) -> None:
    minutes = built(quotes[:cut])
    mark = minutes.mark()
    until = {bar.timestamp: bar.volume for bar in minutes.bars(timeframe, 100)}
    for price, timestamp, volume in quotes[cut:]:
        minutes.add(price, timestamp, volume)

    for bar in minutes.bars(timeframe, 100):
        end = bar.timestamp + timeframe.duration_ms
        since = minutes.traded_since(mark, bar.timestamp, end)
        assert until.get(bar.timestamp, 0.0) + since == bar.volume


def test_before_any_moment_all_volume_counts() -> None:
    minutes = built([(5, NOON, 10), (5, NOON + 1, 15)])

    assert minutes.traded_since(Mark(), NOON, NOON + MINUTE) == 5


@given(older=bars(), live=bars(), traded=st.one_of(st.none(), _traded))
def test_merged_bars_are_in_order_and_none_is_lost(
    older: list[Bar], live: list[Bar], traded: float | None
) -> None:
    starts = [bar.timestamp for bar in merge(older, live, traded=traded)]

    assert starts == sorted({bar.timestamp for bar in older + live})


@given(older=bars(), live=bars(), traded=st.one_of(st.none(), _traded))
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
