"""Our own minute bars of recorded quotes, against those that another program made of them."""

import csv
import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest

from stockstream.core.bars import MinuteBars
from stockstream.model import Bar, Timeframe
from tests.support.processes import ROOT

TWELVE_MINUTES = ROOT / "tests" / "data"


def rows(path: Path) -> Iterator[dict[str, str]]:
    with gzip.open(path, "rt", newline="") as file:
        yield from csv.DictReader(file)


def our_bars(ticks: Path, side: str) -> dict[str, list[Bar]]:
    counted: dict[str, MinuteBars] = {}
    for tick in rows(ticks):
        minutes = counted.setdefault(tick["symbol"], MinuteBars(10_000))
        minutes.add(float(tick[side]), int(tick["timestamp_ms"]), 0.0)
    return {symbol: minutes.bars(Timeframe.M1, 10_000) for symbol, minutes in counted.items()}


def their_bars(path: Path) -> dict[str, list[Bar]]:
    result: dict[str, list[Bar]] = {}
    for row in rows(path):
        bar = Bar(
            timestamp=int(row["timestamp_ms"]),
            open=float(row["open"]),
            high=float(row["high"]),
            low=float(row["low"]),
            close=float(row["close"]),
        )
        result.setdefault(row["symbol"], []).append(bar)
    return result


@pytest.mark.parametrize("side", ["bid", "ask"])
def test_every_bar_of_twelve_recorded_minutes_agrees(side: str) -> None:
    theirs = their_bars(TWELVE_MINUTES / f"bars_1m_fx_20140506_1224_{side}.csv.gz")

    assert our_bars(TWELVE_MINUTES / "ticks_fx_20140506_1224.csv.gz", side) == theirs
    assert sum(map(len, theirs.values())) == 36


@pytest.mark.recordings
@pytest.mark.parametrize("side", ["bid", "ask"])
def test_every_bar_of_a_recorded_day_agrees(recordings: Path, side: str) -> None:
    theirs = their_bars(recordings / f"bars_1m_fx_oanda_20140506_{side}.csv.gz")

    assert our_bars(recordings / "ticks_fx_oanda_20140506.csv.gz", side) == theirs
    assert sum(map(len, theirs.values())) == 4_198
