from hypothesis import given
from hypothesis import strategies as st

from stockstream.core.bar_parts import BarPart, combine
from stockstream.core.bars import Mark, MinuteBars
from stockstream.model import Bar, Timeframe
from tests.core.bar_cases import MINUTE, NOON, Tick, built, flat, recomputed, ticks


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
