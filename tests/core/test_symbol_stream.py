from itertools import pairwise
from math import inf, nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stockstream.core.quote_rules import Rejection
from stockstream.core.reference import enricher
from stockstream.core.symbol_stream import SymbolStream
from stockstream.model import Quote, StockUpdate, Symbol
from stockstream.model.reference import Reference

AAPL = Symbol("AAPL")
DAY = 86_400_000
NOON = 19_000 * DAY + DAY // 2


def stream() -> SymbolStream:
    return SymbolStream(AAPL, "epoch")


def emitted(quotes: SymbolStream, price: float, at: int = NOON, **fields: Any) -> StockUpdate:
    quote = Quote(symbol=AAPL, price=price, timestamp=at, **fields)
    update = quotes.offer(quote, at)
    assert isinstance(update, StockUpdate)
    return update


def test_an_unchanged_price_is_not_emitted() -> None:
    quotes = stream()
    emitted(quotes, 10.0)
    assert quotes.offer(Quote(symbol=AAPL, price=10.0, timestamp=NOON + 1), NOON) is None


def test_a_rejected_quote_leaves_no_trace_in_what_follows() -> None:
    quotes = stream()
    emitted(quotes, 10.0, volume=5.0)
    absurd = Quote(symbol=AAPL, price=1e6, timestamp=NOON + 1, volume=7.0)
    assert quotes.offer(absurd, NOON) is Rejection.PRICE_JUMP
    assert quotes.offer(Quote(symbol=AAPL, price=10.0, timestamp=NOON), NOON) is None
    update = emitted(quotes, 10.1, NOON)
    assert (update.seq, update.day_high, update.volume) == (2, 10.1, 5.0)


def test_change_is_measured_against_the_previous_close_that_the_provider_gives() -> None:
    update = emitted(stream(), 110.0, previous_close=100.0)
    assert (update.change, update.change_percent, update.previous_close) == (10.0, 10.0, 100.0)


def test_change_is_measured_against_the_days_first_price_while_the_close_is_unknown() -> None:
    quotes = stream()
    first = emitted(quotes, 100.0)
    assert (first.change, first.change_percent, first.previous_close) == (0.0, 0.0, None)
    assert emitted(quotes, 101.0).change == 1.0


def test_yesterdays_last_price_is_todays_previous_close() -> None:
    quotes = stream()
    emitted(quotes, 90.0)
    emitted(quotes, 100.0)
    next_day = emitted(quotes, 105.0, NOON + DAY)
    assert next_day.previous_close == 100.0
    assert (next_day.change, next_day.change_percent) == (5.0, 5.0)
    assert (next_day.open, next_day.day_high, next_day.day_low) == (105.0, 105.0, 105.0)


def test_a_day_that_begins_with_an_unchanged_price_is_a_new_day_all_the_same() -> None:
    quotes = stream()
    emitted(quotes, 100.0)
    assert quotes.offer(Quote(symbol=AAPL, price=100.0, timestamp=NOON + DAY), NOON + DAY) is None
    update = emitted(quotes, 101.0, NOON + DAY)
    assert (update.previous_close, update.open) == (100.0, 100.0)


def test_sizes_of_trades_add_up_to_the_days_volume() -> None:
    quotes = stream()
    assert emitted(quotes, 10.0, size=3.0).volume == 3.0
    assert emitted(quotes, 10.1, size=4.0).volume == 7.0
    assert emitted(quotes, 10.2, NOON + DAY, size=1.0).volume == 1.0


def test_the_noise_of_binary_fractions_is_taken_off_the_change() -> None:
    update = emitted(stream(), 0.3, previous_close=0.1)
    assert update.change == 0.2


def test_a_stream_that_is_seeded_does_not_emit_what_was_emitted_before() -> None:
    before = emitted(stream(), 10.0)
    quotes = SymbolStream(AAPL, "another epoch")
    quotes.seed(before)
    assert quotes.offer(Quote(symbol=AAPL, price=10.0, timestamp=NOON), NOON) is None
    assert emitted(quotes, 10.1).position.epoch == "another epoch"


def test_a_seed_does_not_make_an_earlier_clock_look_like_time_going_backwards() -> None:
    later = emitted(stream(), 10.0, NOON + DAY)
    quotes = stream()
    quotes.seed(later)
    assert emitted(quotes, 10.1, NOON).seq == 1


def computed(quotes: SymbolStream, price: float, at: int = NOON) -> StockUpdate:
    return emitted(quotes, price, at, computed=True)


def test_a_computed_price_may_be_zero_or_negative_and_jump() -> None:
    quotes = stream()
    assert computed(quotes, 0.0).price == 0.0
    assert computed(quotes, -3.0).price == -3.0
    last = computed(quotes, 1e9)
    assert (last.seq, last.day_high, last.day_low, last.open) == (3, 1e9, -3.0, 0.0)


def test_a_computed_price_is_measured_against_the_days_first_one_whatever_its_sign() -> None:
    quotes = stream()
    computed(quotes, -2.0)
    update = computed(quotes, -1.0)
    # Up is up.
    assert (update.change, update.change_percent) == (1.0, 50.0)
    next_day = computed(quotes, 0.0, NOON + DAY)
    assert (next_day.previous_close, next_day.change, next_day.change_percent) == (-1.0, 1.0, 100.0)


def test_against_nothing_there_is_no_percentage() -> None:
    quotes = stream()
    computed(quotes, 0.0)
    update = computed(quotes, 5.0)
    assert (update.change, update.change_percent) == (5.0, 0.0)


@pytest.mark.parametrize("price", [nan, inf, -inf, 1.1e15, -1.1e15])
def test_a_computed_price_that_is_no_number_or_too_large_is_not_believed(price: float) -> None:
    quotes = stream()
    quote = Quote(symbol=AAPL, price=price, timestamp=NOON, computed=True)
    assert quotes.offer(quote, NOON) in (Rejection.NOT_FINITE, Rejection.OUT_OF_RANGE)


SAMSUNG = Reference(name="삼성전자", currency="KRW", previous_close=100.0)


def described(reference: Reference) -> SymbolStream:
    quotes = stream()
    quotes.describe(enricher({AAPL: reference}), reference.previous_close)
    return quotes


def test_updates_carry_what_reference_data_say() -> None:
    update = emitted(described(SAMSUNG), 110.0)
    assert (update.name, update.currency, update.exchange) == ("삼성전자", "KRW", None)
    assert (update.previous_close, update.change) == (100.0, 10.0)


def test_what_the_provider_says_wins_over_reference_data() -> None:
    update = emitted(described(SAMSUNG), 110.0, previous_close=90.0)
    assert (update.previous_close, update.change) == (90.0, 20.0)


def test_the_close_of_reference_data_is_that_of_the_first_day() -> None:
    quotes = described(SAMSUNG)
    emitted(quotes, 110.0)
    assert emitted(quotes, 120.0, NOON + DAY).previous_close == 110.0


def test_what_was_emitted_before_is_completed_as_well() -> None:
    quotes = described(SAMSUNG)
    quotes.seed(emitted(stream(), 10.0))
    assert quotes.last is not None
    assert quotes.last.name == "삼성전자"


prices = st.floats(min_value=0.01, max_value=1e9)


@given(st.lists(prices, max_size=100))
def test_emitted_updates_are_numbered_without_gaps_and_each_has_a_new_price(
    offered: list[float],
) -> None:
    quotes = stream()
    updates = [
        outcome
        for number, price in enumerate(offered)
        if isinstance(
            outcome := quotes.offer(Quote(symbol=AAPL, price=price, timestamp=NOON + number), NOON),
            StockUpdate,
        )
    ]
    assert [update.seq for update in updates] == list(range(1, len(updates) + 1))
    for earlier, later in pairwise(updates):
        assert earlier.price != later.price
        assert earlier.timestamp <= later.timestamp


@given(st.lists(prices, min_size=1, max_size=50))
def test_the_days_extremes_hold_every_price_that_was_believed(offered: list[float]) -> None:
    quotes = stream()
    for price in offered:
        outcome = quotes.offer(Quote(symbol=AAPL, price=price, timestamp=NOON), NOON)
        if isinstance(outcome, StockUpdate):
            assert outcome.day_low is not None
            assert outcome.day_high is not None
            assert outcome.day_low <= price <= outcome.day_high
