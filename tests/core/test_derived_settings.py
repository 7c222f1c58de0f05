from typing import Any

import pytest

from stockstream.core.derived_settings import read_derived
from stockstream.errors import ConfigError
from stockstream.model.derived import Basket, Convert, Mean, Spread

SPREAD: dict[str, Any] = {"kind": "spread", "of": "A", "by": "B"}


def refusal(tables: dict[str, object]) -> str:
    with pytest.raises(ConfigError) as caught:
        read_derived(tables)
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_symbols_are_read_in_either_case() -> None:
    found = read_derived(
        {
            "samsung_usd": {"kind": "convert", "of": "005930.ks", "by": "krw=x", "inverse": True},
            "pair": {"kind": "basket", "weights": {"aapl": 1, "msft": -0.5}},
        }
    )
    assert found == {
        "SAMSUNG_USD": Convert(of="005930.KS", by="KRW=X", inverse=True),  # type: ignore[arg-type]
        "PAIR": Basket(weights={"AAPL": 1.0, "MSFT": -0.5}),  # type: ignore[dict-item]
    }


def test_what_is_made_of_derived_symbols_comes_after_them() -> None:
    found = read_derived(
        {
            "TOP": {"kind": "spread", "of": "MIDDLE", "by": "BOTTOM"},
            "MIDDLE": {"kind": "mean", "of": "BOTTOM", "count": 5},
            "BOTTOM": SPREAD,
        }
    )
    assert list(found) == ["BOTTOM", "MIDDLE", "TOP"]
    assert isinstance(found["MIDDLE"], Mean)  # type: ignore[index]
    assert isinstance(found["BOTTOM"], Spread)  # type: ignore[index]


@pytest.mark.parametrize(
    ("change", "named", "said"),
    [
        ({"kind": None}, "DERIVED.X.KIND", "must be one of basket, convert, deviation, high"),
        ({"kind": "sprad"}, "DERIVED.X.KIND has the value 'sprad'", "must be one of basket"),
        ({"by": None}, "DERIVED.X.BY is not set", "is needed"),
        ({"by": 5}, "DERIVED.X.BY has the value 5", "must be a text"),
        ({"by": "a:b"}, "DERIVED.X.BY has the value 'a:b'", "is not a symbol"),
        ({"by": "a"}, "DERIVED.X.BY has the value 'a'", "another symbol than OF"),
        ({"of": "X"}, "DERIVED.X has the value 'X of X'", "made of itself"),
        ({"windw": 5}, "DERIVED.X.WINDW has the value 5", "no such setting"),
        ({"max_age": 0}, "DERIVED.X.MAX_AGE has the value 0", "must be a number > 0"),
        ({"kind": "mean", "by": None}, "DERIVED.X has the value", "needs either window"),
        (
            {"kind": "mean", "by": None, "count": 5, "timeframe": "1d"},
            "DERIVED.X has the value",
            "needs either window",
        ),
        (
            {"kind": "mean", "by": None, "timeframe": "2d"},
            "DERIVED.X.TIMEFRAME has the value '2d'",
            "must be one of 1m, 5m, 15m, 30m, 1h, 4h, 1d, 1w",
        ),
        (
            {"kind": "mean", "by": None, "count": 1},
            "DERIVED.X.COUNT",
            "must be a whole number >= 2",
        ),
        (
            {"kind": "mean", "by": None, "count": "many"},
            "DERIVED.X.COUNT has the value 'many'",
            "must be a whole number",
        ),
        ({"kind": "basket", "of": None, "by": None}, "DERIVED.X.WEIGHTS", "is needed"),
    ],
)
def test_a_table_that_can_not_be_is_refused_by_field_and_value(
    change: dict[str, Any], named: str, said: str
) -> None:
    table = {name: value for name, value in (SPREAD | change).items() if value is not None}
    line = refusal({"X": table})
    assert line.startswith(f"setting {named}")
    assert said in line
    assert "`" not in line


@pytest.mark.parametrize(
    "weights", [{}, {"A": 0}, {"A": float("nan")}, {"A": "1"}, {"A": 1, "a": 2}, {"a b": 1}, 5]
)
def test_weights_that_can_not_be_are_refused(weights: object) -> None:
    line = refusal({"X": {"kind": "basket", "weights": weights}})
    assert line.startswith("setting DERIVED.X.WEIGHTS has the value")


@pytest.mark.parametrize("name", ["", "a b", "stock:AAPL", "*", "X" * 33, "삼성"])
def test_a_name_that_is_no_symbol_is_refused(name: str) -> None:
    line = refusal({name: SPREAD})
    assert line.startswith(f"setting DERIVED.{name} ")
    assert "is not a symbol" in line


def test_two_names_of_one_symbol_are_refused() -> None:
    assert "there are two of X" in refusal({"X": SPREAD, "x": SPREAD})


def test_what_is_no_table_is_refused() -> None:
    assert refusal({"X": "spread"}) == "setting DERIVED.X has the value 'spread': must be a table"


def test_a_circle_is_refused_and_shown() -> None:
    line = refusal(
        {
            "X": {"kind": "spread", "of": "Y", "by": "A"},
            "Y": {"kind": "spread", "of": "B", "by": "Z"},
            "Z": {"kind": "mean", "of": "X", "count": 3},
        }
    )
    assert line.endswith("is made of itself")
    circles = ("X of Y of Z of X", "Y of Z of X of Y", "Z of X of Y of Z")
    assert any(circle in line for circle in circles)


def test_more_than_there_may_be_are_refused() -> None:
    line = refusal({f"X{number}": SPREAD for number in range(1_001)})
    assert line == "setting DERIVED has the value 1001: at most 1,000 of them"
