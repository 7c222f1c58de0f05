"""The report of a run: for the terminal, and as a file."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import quantiles

from rich.console import Console
from rich.table import Table

from tests.chaos.verdict import Verdict

_BARS = " ▁▂▃▄▅▆▇█"
#: Upper ends of the classes of a distribution, in seconds.
_CLASSES = (0.05, 0.1, 0.2, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 60.0)


def show(verdict: Verdict, console: Console) -> None:
    """Print what a run has shown."""
    console.print(
        f"{verdict.updates:,} updates at clients of {verdict.answers:,} answers of the market; "
        f"{verdict.handovers} changes of owner; {verdict.connections} connections, "
        f"{verdict.recovered} of them sessions given back"
    )
    console.print(_table("until another node streams a symbol", verdict.failover))
    console.print(_table("until a client that lost its connection has prices", verdict.recovery))
    for fault in verdict.faults:
        console.print(f"[red]✗[/red] {fault}", highlight=False)
    if not verdict.faults:
        console.print("[green]✓[/green] no gap, no duplicate, nothing out of order, nothing lost")


def write(verdict: Verdict, file: Path) -> None:
    """Write everything as JSON, or as Markdown where the file is called so."""
    if file.suffix != ".md":
        file.write_text(json.dumps(asdict(verdict), indent=2) + "\n")
        return
    with file.open("w") as target:
        show(verdict, Console(file=target, width=100))


def _table(title: str, times: Mapping[str, Sequence[float]]) -> Table:
    classes = " ".join(f"{each:g}" for each in _CLASSES)
    table = Table(title=f"Seconds {title}", caption=f"▁█: up to {classes}", box=None)
    for column in ("what happened", "n", "min", "median", "p90", "max"):
        table.add_column(column, justify="left" if column == "what happened" else "right")
    table.add_column("distribution")
    for name, found in times.items():
        if found:
            table.add_row(name, str(len(found)), *_figures(found), histogram(found))
    return table


def _figures(found: Sequence[float]) -> list[str]:
    deciles = quantiles(found, n=10, method="inclusive") if len(found) > 1 else [found[0]] * 9
    return [f"{each:.2f}" for each in (min(found), deciles[4], deciles[8], max(found))]


def histogram(found: Sequence[float]) -> str:
    """Return how many are in each class as a row of bars."""
    counts = [0] * len(_CLASSES)
    for each in found:
        counts[next((n for n, end in enumerate(_CLASSES) if each <= end), -1)] += 1
    most = max(counts)
    return "".join(_BARS[-(-count * (len(_BARS) - 1) // most)] for count in counts)
