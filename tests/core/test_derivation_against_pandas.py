"""Derived prices of recorded quotes, against what pandas makes of the same changes."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stockstream.core.derivation import Derivation
from stockstream.core.derived_settings import read_derived
from stockstream.model import StockUpdate, Symbol
from tests.support.processes import ROOT
from tests.support.recorded_changes import joined, price_changes

TWELVE_MINUTES = ROOT / "tests" / "data" / "ticks_fx_20140506_1224.csv.gz"
X = Symbol("X")
#: Prices are rounded to 12 digits.
DIGITS = 1e-11
#: Quotes of currencies have no volume: each change is given one of these.
VOLUMES = 17


@pytest.fixture(
    params=["twelve minutes", pytest.param("a day", marks=pytest.mark.recordings)], scope="module"
)
def changes(request: pytest.FixtureRequest) -> pd.DataFrame:
    day = ROOT.parent / "shared" / "data" / "ticks_fx_oanda_20140506.csv.gz"
    return price_changes(day if request.param == "a day" else TWELVE_MINUTES)


def volumes(count: int) -> "np.ndarray[Any, Any]":
    return np.arange(count) ** 2 % VOLUMES


def updates(changes: pd.DataFrame) -> Iterator[StockUpdate]:
    volume = volumes(len(changes)).cumsum()
    rows = zip(changes["symbol"], changes["price"], changes["time"], volume, strict=True)
    for seq, (symbol, price, time, traded) in enumerate(rows, 1):
        yield StockUpdate(
            symbol=symbol,
            price=price,
            change=0.0,
            change_percent=0.0,
            volume=float(traded),
            timestamp=int(time),
            seq=seq,
            epoch="e",
        )


def derivation(**table: Any) -> Derivation:
    return Derivation(X, read_derived({"X": table})[X])


@pytest.mark.parametrize(("of", "by"), [("EURUSD", "NZDUSD"), ("XAUUSD", "EURUSD")])
def test_two_recorded_symbols_are_joined_as_pandas_joins_them(
    of: str, by: str, changes: pd.DataFrame
) -> None:
    tables: dict[str, dict[str, Any]] = {
        "spread": {"kind": "spread"},
        "ratio": {"kind": "ratio"},
        "convert": {"kind": "convert"},
        "inverse": {"kind": "convert", "inverse": True},
    }
    computed = {name: derivation(of=of, by=by, **table) for name, table in tables.items()}
    # By time; of several at one time the last one.
    ours: dict[str, dict[int, float]] = {name: {} for name in tables}
    for update in updates(changes[changes["symbol"].isin([of, by])]):
        for name, each in computed.items():
            quote = each(update)
            if quote is not None:
                ours[name][quote.timestamp or 0] = quote.price

    rows = joined(changes, of, by)
    theirs = {
        "spread": rows["of"] - rows["by"],
        "ratio": rows["of"] / rows["by"],
        "convert": rows["of"] * rows["by"],
        "inverse": rows["of"] / rows["by"],
    }
    for name, prices in ours.items():
        assert list(prices) == rows["time"].to_list()
        np.testing.assert_allclose(list(prices.values()), theirs[name], rtol=DIGITS)


@pytest.mark.parametrize("window", ["50 changes", "60 seconds"])
@pytest.mark.parametrize("kind", ["high", "low", "mean", "deviation", "vwap", "rate_of_change"])
def test_windows_of_a_recorded_symbol_are_those_of_pandas(
    kind: str, window: str, changes: pd.DataFrame
) -> None:
    prices = changes[changes["symbol"] == "XAUUSD"].head(20_000)
    length = {"count": 50} if window == "50 changes" else {"window": 60}
    computed = derivation(kind=kind, of="XAUUSD", **length)
    quotes = [computed(update) for update in updates(prices)]
    ours = [np.nan if quote is None else quote.price for quote in quotes]

    theirs = of_pandas(kind, prices, 50 if window == "50 changes" else "60s")
    # The sums of pandas drift; ours don't: what they are is shown elsewhere, to the last digit.
    np.testing.assert_allclose(ours, theirs, rtol=DIGITS, atol=1e-6)


def of_pandas(kind: str, prices: pd.DataFrame, window: int | str) -> pd.Series:
    times = pd.to_datetime(prices["time"], unit="ms")
    price = pd.Series(prices["price"].to_numpy(), index=times)
    # Of the first one it is not known what was traded.
    volume = pd.Series([0, *volumes(len(prices))[1:]], index=times, dtype=float)
    rolling = price.rolling(window, min_periods=1)
    if kind == "vwap":
        traded = (price * volume).rolling(window, min_periods=1).sum()
        return traded / volume.rolling(window, min_periods=1).sum().where(lambda each: each > 0)
    if kind == "rate_of_change":
        return rolling.apply(lambda each: (each[-1] - each[0]) / each[0] * 100, raw=True)
    name = {"high": "max", "low": "min", "deviation": "std"}.get(kind, kind)
    return getattr(rolling, name)()
