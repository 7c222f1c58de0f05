"""The long proof: `./scripts/chaos`."""

import asyncio
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from tests.chaos import report
from tests.chaos.faults import FAULTS
from tests.chaos.run import RECORDING, run


class BalancerName(StrEnum):
    """What stands in front of the nodes."""

    HAPROXY = "haproxy"
    NGINX = "nginx"


def main(
    *,
    rounds: Annotated[int, typer.Option(min=1, help="How often each thing goes wrong.")] = 5,
    clients: Annotated[int, typer.Option(min=1, help="JavaScript clients.")] = 60,
    calm: Annotated[float, typer.Option(min=0, help="Seconds of peace before each.")] = 5.0,
    balancer: Annotated[BalancerName, typer.Option(help="In front of the nodes.")] = (
        BalancerName.HAPROXY
    ),
    recording: Annotated[Path, typer.Option(help="Ticks that the market plays.")] = RECORDING,
    report_file: Annotated[
        Path | None, typer.Option("--report", help="Write it here too: .json or .md.")
    ] = None,
) -> None:
    """Kill, pause, cut off and drain the nodes of a cluster while JavaScript clients watch prices.

    Three nodes behind a load balancer with Redis between them play recorded prices. At the end
    every client must have every price change, once and in order; the exit status is 1 where not.
    """
    console = Console()
    steps = rounds * len(FAULTS) + 2
    columns = (TextColumn("{task.description:24}"), BarColumn(), TimeElapsedColumn())
    began = time.monotonic()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=steps)

        def progress(what: str) -> None:
            bar.update(task, description=what, advance=1)

        verdict = asyncio.run(
            run(
                balancer=balancer,
                clients=clients,
                rounds=rounds,
                calm=calm,
                progress=progress,
                recording=recording,
            )
        )
    console.print(f"{rounds} rounds, {clients} clients, {time.monotonic() - began:.0f} s")
    report.show(verdict, console)
    if report_file is not None:
        report.write(verdict, report_file)
    raise typer.Exit(bool(verdict.faults))


typer.run(main)
