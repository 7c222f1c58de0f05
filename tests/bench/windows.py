"""Measures what an update costs in a sliding window; the command behind `scripts/bench windows`."""

import time
from collections.abc import Callable
from functools import partial
from itertools import cycle, islice
from random import Random
from statistics import median
from typing import Annotated

import pandas as pd
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from stockstream.core.window_statistics import (
    Deviation,
    Extreme,
    Mean,
    RateOfChange,
    Vwap,
)
from stockstream.core.windows import Sample, SlidingWindow, Statistic

STATISTICS: dict[str, Callable[[], Statistic]] = {
    "high": partial(Extreme, highest=True),
    "low": partial(Extreme, highest=False),
    "mean": Mean,
    "deviation": Deviation,
    "vwap": Vwap,
    "rate of change": RateOfChange,
}
LENGTHS = (10, 1_000, 100_000)
#: Updates that pandas is shown as well, and the digits in which it must agree: its own sums drift.
CHECKED = 20_000
TOLERANCE = 1e-6
#: Milliseconds from one update to the next.
_STEP_MS = 10

#: Nanoseconds of an update by statistic and length, one for each round.
Costs = dict[tuple[str, int], list[float]]


def market(count: int) -> list[Sample]:
    """A walk of prices with five digits, as recorded quotes have them."""
    random = Random(1)
    price = 139_000
    samples = []
    for number in range(count):
        price += random.randint(-3, 3)
        volume = float(random.randint(1, 500))
        samples.append(Sample(price / 100_000, 1_399_379_040_000 + number * _STEP_MS, volume))
    return samples


def window_of(make: Callable[[], Statistic], length: int) -> SlidingWindow:
    """A window of time that holds so many of the market's updates."""
    return SlidingWindow(make(), duration_ms=length * _STEP_MS)


def cost_ns(make: Callable[[], Statistic], length: int, samples: list[Sample], count: int) -> float:
    """CPU time of an update in a full window, in nanoseconds."""
    window = window_of(make, length)
    filling, measured = samples[:length], samples[length : length + count]
    for sample in filling:
        window(sample)
    begin = time.process_time_ns()
    for sample in measured:
        window(sample)
    return (time.process_time_ns() - begin) / len(measured)


def measure(rounds: int, count: int, console: Console) -> Costs:
    """Rounds of everything in turn, so that drifts of the machine hit all lengths."""
    samples = market(max(LENGTHS) + count)
    costs: Costs = {(name, length): [] for name in STATISTICS for length in LENGTHS}
    total = rounds * len(costs)
    steps = islice(cycle(costs), total)
    for name, length in track(steps, "windows", total=total, console=console, transient=True):
        costs[name, length].append(cost_ns(STATISTICS[name], length, samples, count))
    return costs


def disagreements(count: int = CHECKED) -> list[str]:
    """Names of the statistics of which pandas says something else."""
    samples = market(count)
    length = 1_000
    frame = pd.DataFrame(
        {"price": [s.price for s in samples], "volume": [s.volume for s in samples]}
    )
    rolling = frame["price"].rolling(length, min_periods=1)
    traded = (frame["price"] * frame["volume"]).rolling(length, min_periods=1).sum()
    first = frame["price"].shift(length - 1).fillna(frame["price"].iloc[0])
    theirs = {
        "high": rolling.max(),
        "low": rolling.min(),
        "mean": rolling.mean(),
        "deviation": rolling.std(),
        "vwap": traded / frame["volume"].rolling(length, min_periods=1).sum(),
        "rate of change": (frame["price"] - first) / first * 100,
    }
    wrong = []
    for name, make in STATISTICS.items():
        window = window_of(make, length)
        ours = pd.Series([window(sample) for sample in samples], dtype=float)
        both = ours.isna() == theirs[name].isna()
        near = (ours - theirs[name]).abs().fillna(0.0) <= TOLERANCE
        if not (both & near).all():
            wrong.append(name)
    return wrong


def show(costs: Costs, console: Console) -> None:
    """Nanoseconds for each length, and how they grow from the shortest to the longest."""
    table = Table(title="CPU of an update, ns (median)", box=None)
    table.add_column("window of")
    for length in LENGTHS:
        table.add_column(f"{length:,}", justify="right")
    table.add_column("longest / shortest", justify="right")
    for name in STATISTICS:
        middle = [median(costs[name, length]) for length in LENGTHS]
        table.add_row(name, *(f"{each:,.0f}" for each in middle), f"{middle[-1] / middle[0]:.2f}")
    console.print(table)


def main(
    *,
    rounds: Annotated[int, typer.Option(min=1, help="How often everything is measured.")] = 5,
    updates: Annotated[int, typer.Option(min=1_000, help="In each measurement.")] = 50_000,
) -> None:
    """Measure what an update costs in sliding windows of 10, 1,000 and 100,000 updates.

    It ought not to matter how long they are. Some of it is held against pandas first; the exit
    status is 1 where that disagrees.
    """
    console = Console()
    wrong = disagreements()
    console.print(f"pandas disagrees: {', '.join(wrong)}" if wrong else "pandas agrees")
    show(measure(rounds, updates, console), console)
    raise typer.Exit(1 if wrong else 0)


if __name__ == "__main__":
    app = typer.Typer(add_completion=False)
    app.command()(main)
    app(prog_name="scripts/bench windows")
