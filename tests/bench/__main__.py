"""The command behind scripts/bench."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from stockstream.serving import open_as_many_files_as_allowed
from tests.bench import report
from tests.bench.machine import cores, description, on_core
from tests.bench.peers import Peer, all_peers, compile_c
from tests.bench.processes import BenchError, Generator, Server
from tests.bench.results import Results
from tests.bench.session import Sample, Session
from tests.bench.workloads import NAMES, Workload, choose

#: Sockets and files that a server needs besides those of its clients.
SPARE_FILES = 200

#: One measurement to make.
Step = tuple[Workload, Peer]


def measure(workload: Workload, peer: Peer, results: Results, server_core: int | None) -> Sample:
    """One measurement: a fresh server, a fresh audience.

    Raises:
        BenchError: there is no figure that means anything.
    """
    with Server(peer.command, core=server_core, env={**peer.env, **workload.env}) as server:
        audience = Generator(
            compile_c("loadgen"),
            server.ready,
            symbols=workload.symbols,
            per_client=workload.per_client,
        )
        with audience as generator:
            session = Session(server, generator, seconds=results.seconds)
            workload.run(session)
        results.peers[peer.name] = server.ready.version
        return session.sample


def plan(workloads: list[Workload], peers: list[Peer], rounds: int) -> list[Step]:
    """All rounds. Who goes first changes from round to round, so that drifts hit everybody."""
    return [
        (workload, peer)
        for number in range(rounds)
        for workload in workloads
        for peer in peers[number % len(peers) :] + peers[: number % len(peers)]
        if peer.name not in workload.without
    ]


def estimate_s(steps: list[Step], seconds: float) -> float:
    """About how long the steps will take, in seconds."""
    return sum(workload.fixed_s + workload.phases * seconds for workload, _ in steps)


def run(steps: list[Step], results: Results) -> None:
    """Measures step by step; one that fails is noted, and the others go on."""
    server_core, own_core = cores() or (None, None)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    progress = Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True))
    # The generator runs on our core: we only wait while it works.
    with on_core(own_core), progress:
        task = progress.add_task("", total=len(steps))
        for workload, peer in steps:
            progress.update(task, description=f"{workload.name}: {peer.name}")
            try:
                sample = measure(workload, peer, results, server_core)
            except BenchError as error:
                results.failures.append(f"{workload.name}, {peer.name}: {error}")
                # Keeps the rounds of the others beside each other.
                sample = Sample()
            results.add(workload.name, peer.name, sample)
            progress.advance(task)


def pick_peers(names: str) -> list[Peer]:
    known = {peer.name: peer for peer in all_peers()}
    try:
        return [known[name] for name in names.split(",")]
    except KeyError as error:
        raise typer.BadParameter(f"{error} is none of {', '.join(known)}") from error


def pick_workloads(names: list[str], clients: int | None) -> list[Workload]:
    try:
        return choose(names or list(NAMES), clients)
    except KeyError as error:
        raise typer.BadParameter(f"{error} is none of {', '.join(NAMES)}") from error


def prepare(workloads: list[Workload], console: Console) -> None:
    """Raises BenchError where the machine can't hold so many clients."""
    if open_as_many_files_as_allowed() < max(each.clients for each in workloads) + SPARE_FILES:
        raise BenchError("too few open files are allowed for so many clients: see ulimit -Hn")
    if cores() is None:
        console.print("[yellow]Only one core: server and generator share it.[/yellow]")


def main(
    workloads: Annotated[
        list[str] | None, typer.Argument(help=f"Any of: {', '.join(NAMES)}.")
    ] = None,
    *,
    clients: Annotated[
        int | None,
        typer.Option(min=100, help="Clients; of a storm; for scale: its largest size."),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="How often everything is measured.")] = 3,
    seconds: Annotated[float, typer.Option(min=0.1, help="Delivery in each measurement.")] = 2.0,
    peers: Annotated[
        str, typer.Option(help="Who is measured; the first is held against the others.")
    ] = "stockstream,plain,node,limit",
    json: Annotated[Path | None, typer.Option(help="Write all samples to this file.")] = None,
    markdown: Annotated[
        Path | None, typer.Option(help="Put the tables into this file, between its marks.")
    ] = None,
) -> None:
    """Measure this server and its peers on the same work, side by side.

    Without arguments everything is measured, which takes about a quarter of an hour. Nothing else
    should run meanwhile. The exit status is 1 when an update got lost or came out of order, or when
    a measurement failed.
    """
    console = Console()
    try:
        chosen = pick_workloads(workloads or [], clients)
        who = pick_peers(peers)
        prepare(chosen, console)
        results = Results(
            machine=description(),
            started=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds=seconds,
            peers={peer.name: "" for peer in who},
            titles={each.name: each.title for each in chosen},
        )
        steps = plan(chosen, who, rounds)
        minutes = estimate_s(steps, seconds) / 60
        console.print(f"{len(steps)} measurements, about {minutes:.1f} minutes")
        run(steps, results)
    except BenchError as error:
        console.print(f"[red]{error}[/red]")
        raise typer.Exit(2) from error
    report.show(results, console)
    if json is not None:
        json.write_bytes(msgspec.json.format(msgspec.json.encode(results)))
    if markdown is not None:
        report.write_markdown(results, markdown)
    raise typer.Exit(1 if results.faults() else 0)


if __name__ == "__main__":
    app = typer.Typer(add_completion=False)
    app.command()(main)
    app(prog_name="scripts/bench")
