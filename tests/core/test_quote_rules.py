from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from stockstream.core.quote_rules import QuoteLimits, QuoteRules, Rejection
from stockstream.model import Quote, Symbol

NOW = 1_700_000_000_000
AAPL = Symbol("AAPL")


def quote(price: float, timestamp: int | None = NOW) -> Quote:
    return Quote(symbol=AAPL, price=price, timestamp=timestamp)


def judge(rules: QuoteRules, price: float, timestamp: int | None = NOW) -> Rejection | None:
    candidate = quote(price, timestamp)
    return rules.judge(candidate, rules.timestamp_of(candidate, NOW), NOW)


@pytest.mark.parametrize("price", [nan, inf, -inf])
def test_a_price_that_is_no_number_is_rejected(price: float) -> None:
    assert judge(QuoteRules(), price) is Rejection.NOT_FINITE


@pytest.mark.parametrize("price", [0.0, -0.0, -1.0])
def test_a_price_of_zero_or_less_is_rejected(price: float) -> None:
    assert judge(QuoteRules(), price) is Rejection.NOT_POSITIVE


@pytest.mark.parametrize(
    "field", ["bid", "ask", "volume", "size", "day_high", "day_low", "open", "previous_close"]
)
def test_no_field_may_be_nan_or_negative(field: str) -> None:
    rules = QuoteRules()
    outcomes = [
        rules.judge(replace(quote(1.0), **{field: value}), NOW, NOW) for value in (nan, -1.0, 1.0)
    ]
    assert outcomes == [Rejection.NOT_FINITE, Rejection.NOT_POSITIVE, None]


@pytest.mark.parametrize(
    ("field", "value"),
    [("price", 1e-300), ("price", 1e300), ("previous_close", 1e-300), ("volume", 1e300)],
)
def test_numbers_that_no_market_has_are_rejected(field: str, value: float) -> None:
    absurd = replace(quote(1.0), **{field: value})
    assert QuoteRules().judge(absurd, NOW, NOW) is Rejection.OUT_OF_RANGE


def test_an_older_quote_is_rejected_and_an_equally_old_one_is_not() -> None:
    rules = QuoteRules()
    assert judge(rules, 10.0, NOW) is None
    assert judge(rules, 10.1, NOW - 1) is Rejection.OUT_OF_ORDER
    assert judge(rules, 10.1, NOW) is None


def test_a_quote_from_the_future_does_not_silence_those_that_follow() -> None:
    rules = QuoteRules()
    assert judge(rules, 10.0, NOW * 1000) is Rejection.FROM_THE_FUTURE
    assert judge(rules, 10.0, NOW) is None


def test_a_quote_without_a_time_is_never_older_than_the_last_one() -> None:
    rules = QuoteRules()
    assert judge(rules, 10.0, NOW) is None
    timeless = quote(10.1, None)
    stepped_back = NOW - 5_000
    timestamp = rules.timestamp_of(timeless, stepped_back)
    assert timestamp == NOW
    assert rules.judge(timeless, timestamp, stepped_back) is None


def test_an_absurd_jump_is_rejected_and_the_next_ordinary_price_is_not() -> None:
    rules = QuoteRules()
    assert judge(rules, 100.0) is None
    assert judge(rules, 1_000.0) is Rejection.PRICE_JUMP
    assert judge(rules, 100.1) is None


def test_a_new_level_is_believed_once_it_is_confirmed() -> None:
    rules = QuoteRules(QuoteLimits(confirmations=3))
    assert judge(rules, 100.0) is None
    assert judge(rules, 10.0) is Rejection.PRICE_JUMP
    assert judge(rules, 10.1) is Rejection.PRICE_JUMP
    assert judge(rules, 10.0) is None
    assert judge(rules, 10.2) is None


def test_absurd_prices_that_disagree_confirm_nothing() -> None:
    rules = QuoteRules(QuoteLimits(confirmations=2))
    assert judge(rules, 100.0) is None
    for price in (1_000.0, 3.0, 700.0, 9_000.0):
        assert judge(rules, price) is Rejection.PRICE_JUMP


def test_jumps_that_an_ordinary_price_interrupts_confirm_nothing() -> None:
    rules = QuoteRules(QuoteLimits(confirmations=2))
    for price, expected in (
        (100.0, None),
        (1_000.0, Rejection.PRICE_JUMP),
        (100.0, None),
        (1_000.0, Rejection.PRICE_JUMP),
    ):
        assert judge(rules, price) is expected


@given(st.lists(st.floats(), max_size=50), st.floats(min_value=1, max_value=1_000))
def test_no_sequence_of_quotes_freezes_a_symbol(prices: list[float], level: float) -> None:
    rules = QuoteRules(QuoteLimits(confirmations=3))
    for price in prices:
        judge(rules, price)
    outcomes = [judge(rules, level) for _ in range(3)]
    assert outcomes[-1] is None


@given(st.lists(st.tuples(st.floats(), st.integers(NOW - 10, NOW + 10)), max_size=50))
def test_what_is_believed_is_in_order_and_can_be_true(quotes: list[tuple[float, int]]) -> None:
    rules = QuoteRules()
    believed = [(p, t) for p, t in quotes if judge(rules, p, t) is None]
    assert all(0 < price < inf for price, _ in believed)
    assert [t for _, t in believed] == sorted(t for _, t in believed)
