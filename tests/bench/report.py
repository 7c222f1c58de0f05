"""The tables at the end of a run: for the terminal and for docs/benchmarks.md."""

from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from tests.bench.results import METRICS, Results, Spread

BEGIN = "<!-- results: written by scripts/bench --markdown -->"
END = "<!-- end of results -->"

Rows = list[list[str]]


def figure(value: float) -> str:
    """Three digits that count."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def ratio(spread: Spread | None) -> str:
    if spread is None:
        return ""
    if spread.low == spread.high:
        return figure(spread.median)
    return f"{figure(spread.median)} ({figure(spread.low)} to {figure(spread.high)})"


def comparison(results: Results) -> Rows:
    """Medians of every peer, then the ratios of the first to each other one; headers first."""
    base, *others = results.peers
    rows = [["workload", "figure", *results.peers, *(f"{base} / {other}" for other in others)]]
    for workload in results.samples:
        for metric in results.metrics(workload):
            spreads = [results.spread(workload, metric, peer) for peer in results.peers]
            ratios = [results.ratio(workload, metric, peer) for peer in others]
            medians = [figure(spread.median) if spread else "" for spread in spreads]
            rows.append([workload, METRICS[metric], *medians, *map(ratio, ratios)])
    return rows


def circumstances(results: Results) -> Rows:
    """How busy each side was, and whether everything arrived; headers first."""
    busy = ("server busy", "generator busy", "others busy")
    rows = [["workload", "server", *busy, "delivered", "lost", "disorder"]]
    for workload, peers in results.samples.items():
        for peer, samples in peers.items():
            timed = [each for each in samples if each.server_busy]
            if not timed:
                # Only memory was read, or nothing could be.
                continue
            shares = (
                median(each.server_busy for each in timed),
                median(each.generator_busy for each in timed),
                median(each.others_busy for each in timed),
            )
            counts = (
                sum(each.delivered for each in samples),
                sum(each.lost for each in samples),
                sum(each.disorder for each in samples),
            )
            rows.append(
                [workload, peer, *map("{:.0%}".format, shares), *map("{:,}".format, counts)]
            )
    return rows


def show(results: Results, console: Console) -> None:
    if not console.is_terminal:
        # A file or a pipe has no width of its own: wide enough for four peers.
        console.width = 150
    for title, rows in (
        ("Medians, and median (lowest to highest) ratio", comparison(results)),
        ("Who was the bottleneck, and did everything arrive", circumstances(results)),
    ):
        table = Table(title=title, title_justify="left")
        for number, header in enumerate(rows[0]):
            table.add_column(header, justify="left" if number < 2 else "right", no_wrap=number < 2)
        for row in rows[1:]:
            table.add_row(*row)
        console.print(table)
    for fault in results.faults():
        console.print(f"[red]{fault}[/red]")


def markdown_table(rows: Rows) -> str:
    header, *body = rows
    lines = [header, ["---"] * len(header), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def markdown(results: Results) -> str:
    rounds = max(len(s) for peers in results.samples.values() for s in peers.values())
    versions = ", ".join(f"{name} {version}".strip() for name, version in results.peers.items())
    return "\n\n".join(
        [
            f"{results.started[:10]}, {results.machine}.",
            f"{rounds} rounds of {results.seconds:g} s; {versions}.",
            "\n".join(f"- **{name}**: {title}" for name, title in results.titles.items()),
            markdown_table(comparison(results)),
            markdown_table(circumstances(results)),
        ]
    )


def write_markdown(results: Results, file: Path) -> None:
    """Puts the tables in the place of the last ones, between the two marks.

    Raises:
        ValueError: the file has no such marks.
    """
    before, _, rest = file.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"{file} has no lines {BEGIN} and {END}")
    file.write_text(f"{before}{BEGIN}\n\n{markdown(results)}\n\n{END}{after}")
