"""Price changes of a recording, and what follows from them, as pandas sees it."""

from pathlib import Path

import pandas as pd


def price_changes(recording: Path) -> pd.DataFrame:
    """Return time (ms), symbol and price of each change of a middle of bid and ask."""
    ticks = pd.read_csv(recording)
    price = ((ticks["bid"] + ticks["ask"]) / 2).map(lambda middle: float(f"{middle:.12g}"))
    changes = pd.DataFrame(
        {"time": ticks["timestamp_ms"], "symbol": ticks["symbol"], "price": price}
    )
    before = changes.groupby("symbol")["price"].shift()
    return changes[changes["price"] != before].reset_index(drop=True)


def joined(changes: pd.DataFrame, of: str, by: str) -> pd.DataFrame:
    """Return the last prices of two symbols at each time that either changed, once both are known.

    Columns: time (ms), of, by.
    """
    sides = {
        name: changes[changes["symbol"] == symbol][["time", "price"]].rename(
            columns={"price": name}
        )
        for name, symbol in (("of", of), ("by", by))
    }
    times = pd.DataFrame({"time": sorted(set(sides["of"]["time"]) | set(sides["by"]["time"]))})
    with_of = pd.merge_asof(times, sides["of"], on="time")
    return pd.merge_asof(with_of, sides["by"], on="time").dropna().reset_index(drop=True)
