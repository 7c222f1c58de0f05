from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stockstream.core.derivation import Derivation
from stockstream.core.derived_settings import read_derived
from stockstream.model import StockUpdate, Symbol

A, B, X = Symbol("A"), Symbol("B"), Symbol("X")
NOON = 1_399_379_040_000


def derivation(**table: Any) -> Derivation:
    return Derivation(X, read_derived({"X": table})[X])


def update(
    symbol: Symbol, price: float, at: int = 0, *, seq: int = 1, volume: float = 0.0
) -> StockUpdate:
    return StockUpdate(
        symbol=symbol,
        price=price,
        change=0.0,
        change_percent=0.0,
        volume=volume,
        timestamp=NOON + at,
        seq=seq,
        epoch="e",
    )


def price_of(computed: Derivation, *updates: StockUpdate) -> float | None:
    """Return the last price that follows from updates, None where the last one gave none."""
    quote = None
    for each in updates:
        quote = computed(each)
    return None if quote is None else quote.price


PAIR = {"of": "A", "by": "B"}


@pytest.mark.parametrize(
    ("table", "price"),
    [
        ({"kind": "spread", **PAIR}, -1.4),
        ({"kind": "ratio", **PAIR}, 0.3),
        ({"kind": "convert", **PAIR}, 1.2),
        ({"kind": "convert", "inverse": True, **PAIR}, 0.3),
        ({"kind": "basket", "weights": {"A": 10, "B": -0.5}}, 5.0),
    ],
)
def test_a_price_is_computed_of_those_of_its_inputs(table: dict[str, Any], price: float) -> None:
    computed = derivation(**table)
    assert price_of(computed, update(A, 0.6)) is None
    assert price_of(computed, update(B, 2.0, 10)) == price


def test_a_price_is_as_old_as_the_newest_of_its_inputs() -> None:
    computed = derivation(kind="spread", **PAIR)
    computed(update(A, 1.0, 50))
    quote = computed(update(B, 1.0, 20))
    assert quote is not None
    assert (quote.symbol, quote.price, quote.timestamp) == (X, 0.0, NOON + 50)
    assert quote.computed


def test_the_noise_of_binary_fractions_is_taken_off() -> None:
    computed = derivation(kind="spread", **PAIR)
    assert 0.3 - 0.1 != 0.2
    assert price_of(computed, update(A, 0.3), update(B, 0.1)) == 0.2


def test_small_and_large_prices_keep_their_digits() -> None:
    ratio = derivation(kind="ratio", **PAIR)
    assert price_of(ratio, update(A, 1.23456789012e-11), update(B, 1.0)) == 1.23456789012e-11
    assert price_of(ratio, update(A, 987654321012.0, seq=2)) == 987654321012.0


def test_nothing_is_divided_by_zero() -> None:
    computed = derivation(kind="ratio", **PAIR)
    assert price_of(computed, update(A, 1.0), update(B, 0.0)) is None
    assert price_of(computed, update(B, 2.0, seq=2)) == 0.5


def test_a_price_that_no_number_can_hold_is_left_out() -> None:
    computed = derivation(kind="convert", **PAIR)
    assert price_of(computed, update(A, 1e15), update(B, 1e15)) is None
    basket = derivation(kind="basket", weights={"A": 1e308, "B": -1e308})
    assert price_of(basket, update(A, 1e15), update(B, 1e15)) is None


def test_an_input_that_is_too_old_makes_no_price_and_is_counted() -> None:
    computed = derivation(kind="spread", max_age=1, **PAIR)
    assert price_of(computed, update(A, 3.0), update(B, 1.0, 1_001)) is None
    assert computed.unused["stale"] == 1
    assert price_of(computed, update(A, 3.0, 1_100, seq=2)) == 2.0


@given(st.lists(st.booleans(), max_size=20))
def test_what_comes_twice_counts_once(repeated: list[bool]) -> None:
    computed = derivation(kind="mean", of="A", count=100)
    prices = [float(number) for number in range(len(repeated))]
    for number, again in enumerate(repeated):
        told = price_of(computed, update(A, prices[number], number, seq=number + 1))
        assert told == pytest.approx(sum(prices[: number + 1]) / (number + 1), rel=1e-11)
        if again:
            assert computed(update(A, prices[number], number, seq=number + 1)) is None


def test_a_sequence_that_begins_anew_counts() -> None:
    computed = derivation(kind="mean", of="A", count=100)
    computed(update(A, 1.0, seq=7))
    anew = StockUpdate(
        symbol=A,
        price=2.0,
        change=0.0,
        change_percent=0.0,
        volume=0.0,
        timestamp=NOON + 1,
        seq=1,
        epoch="another",
    )
    assert price_of(computed, anew) == 1.5


def test_the_price_by_volume_counts_what_was_traded_between_updates() -> None:
    computed = derivation(kind="vwap", of="A", count=100)
    # Nothing is known of what was traded before the first one.
    assert price_of(computed, update(A, 1.0, volume=1_000.0)) is None
    assert price_of(computed, update(A, 2.0, 1, seq=2, volume=1_100.0)) == 2.0
    assert price_of(computed, update(A, 6.0, 2, seq=3, volume=1_400.0)) == 5.0
    # A new day: its volume begins anew.
    assert price_of(computed, update(A, 1.0, 3, seq=4, volume=400.0)) == 3.0


@pytest.mark.parametrize(
    ("kind", "price"),
    [("high", 8.0), ("low", 2.0), ("mean", 5.0), ("rate_of_change", -75.0), ("vwap", 4.0)],
)
def test_a_window_of_a_timeframe_begins_anew_with_its_bars(kind: str, price: float) -> None:
    computed = derivation(kind=kind, of="A", timeframe="1m")
    # Noon is the start of a minute.
    updates = [
        update(A, 99.0, seq=1, volume=10.0),
        update(A, 8.0, 60_000, seq=2, volume=20.0),
        update(A, 2.0, 119_999, seq=3, volume=40.0),
    ]
    assert price_of(computed, *updates) == price


def test_a_full_window_of_time_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stockstream.core.windows.MAX_SAMPLES", 2)
    computed = derivation(kind="high", of="A", window=60)
    assert price_of(computed, *(update(A, 9.0 - n, n, seq=n + 1) for n in range(3))) == 8.0
    assert computed.unused == {"late": 0, "stale": 0, "overflowed": 1}


def test_an_update_that_is_older_than_the_one_before_is_counted() -> None:
    computed = derivation(kind="mean", of="A", timeframe="1m")
    computed(update(A, 1.0, 60_000, seq=1))
    assert computed(update(A, 9.0, 59_999, seq=2)) is None
    assert computed.unused == {"late": 1, "stale": 0, "overflowed": 0}
