"""Measures changes of documents a second on each store; the command behind `scripts/bench sync`."""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count, cycle, islice
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from stockstream.clock import SystemClock
from stockstream.document_ports import DocumentStore
from stockstream.model.document import Outcome, SyncStatus
from stockstream.services.sync import SyncService, SyncSettings
from stockstream.storage.documents.database import Database
from stockstream.storage.documents.memory import MemoryDocumentStore
from stockstream.storage.documents.store import SqlDocumentStore
from tests.support.postgres_server import PostgresServer, running_postgres

STORES = ("memory", "SQLite", "PostgreSQL")
VERSIONS = 50
#: A watchlist of thirty symbols with notes: about 1.5 KB.
SYMBOLS = [{"id": f"SYM{n}", "note": "bought too early", "alert": n} for n in range(30)]


@dataclass(frozen=True)
class Workload:
    """Devices that send without a pause, each for a user of its own."""

    name: str
    users: int
    #: Changes in one request, each of a document of its own.
    items: int


WORKLOADS = (
    Workload("one user, one change a request", 1, 1),
    Workload("one user, 20 changes a request", 1, 20),
    Workload("32 users, one change a request", 32, 1),
    Workload("32 users, 20 changes a request", 32, 20),
)


@dataclass(frozen=True)
class Sample:
    """One measurement."""

    per_second: float
    #: CPU of this process for each change; what PostgreSQL itself takes is not in it.
    cpu_us: float
    #: Milliseconds from a request to its acknowledgement.
    p50: float
    p99: float


#: By workload and store, one for each round.
Samples = dict[tuple[Workload, str], list[Sample]]


async def drive(
    service: SyncService, user: str, items: int, until: float, latencies: list[float]
) -> int:
    """Send one request after the other, merging a change with another device's now and then."""
    done = 0
    for number in count(1):
        if time.monotonic() >= until:
            return done
        begin = time.perf_counter()
        answers = await service.sync(user, [change(number, n) for n in range(items)])
        latencies.append((time.perf_counter() - begin) * 1000)
        for answer in answers:
            if not isinstance(answer, Outcome) or answer.status is SyncStatus.REFUSED:
                raise RuntimeError(f"refused: {answer}")
        done += items
    raise AssertionError


def change(number: int, document: int) -> dict[str, Any]:
    """Every fourth one was made without knowing the one before it."""
    behind = 1 if number % 4 == 0 else 0
    symbols = [*SYMBOLS[: number % 30], {"id": "NEW", "n": number}, *SYMBOLS[number % 30 :]]
    return {
        "id": f"{document}-{number}",
        "type": "watchlist",
        "documentId": f"d{document}",
        "baseVersion": number - 1 - behind,
        "strategy": "client_wins",
        "data": {"name": "Main", "symbols": symbols, f"f{number % 2}": number},
    }


async def measure_once(store: DocumentStore, workload: Workload, seconds: float) -> Sample:
    settings = SyncSettings()
    service = SyncService(store, settings=settings, clock=SystemClock(), tell=lambda *_: None)
    # Opened and migrated.
    await service.sync("first", [change(1, 0)])
    latencies: list[float] = []
    begin, cpu = time.monotonic(), time.process_time()
    until = begin + seconds
    users = [f"user{n}" for n in range(workload.users)]
    done = sum(
        await asyncio.gather(
            *(drive(service, user, workload.items, until, latencies) for user in users)
        )
    )
    took, spent = time.monotonic() - begin, time.process_time() - cpu
    ranked = sorted(latencies)
    return Sample(
        per_second=done / took,
        cpu_us=spent / done * 1e6,
        p50=median(ranked),
        p99=ranked[int(len(ranked) * 0.99)],
    )


@asynccontextmanager
async def fresh_store(name: str, server: PostgresServer) -> AsyncIterator[DocumentStore]:
    store: DocumentStore = MemoryDocumentStore(VERSIONS)
    with tempfile.TemporaryDirectory(prefix="stockstream-bench-") as folder:
        if name == "SQLite":
            store = SqlDocumentStore(Database(f"sqlite:///{Path(folder) / 'documents.db'}"))
        elif name == "PostgreSQL":
            store = SqlDocumentStore(Database(server.new_database()))
        try:
            yield store
        finally:
            await store.aclose()


async def measure(server: PostgresServer, rounds: int, seconds: float, console: Console) -> Samples:
    """Rounds of everything in turn, so that drifts of the machine hit all stores."""
    samples: Samples = {(workload, store): [] for workload in WORKLOADS for store in STORES}
    total = rounds * len(samples)
    steps = islice(cycle(samples), total)
    for workload, name in track(steps, "sync", total=total, console=console, transient=True):
        async with fresh_store(name, server) as store:
            samples[workload, name].append(await measure_once(store, workload, seconds))
    return samples


def show(samples: Samples, console: Console) -> None:
    table = Table(title="Changes of documents (medians)", box=None)
    for column in ("", "store", "a second", "CPU, µs each", "p50, ms", "p99, ms"):
        table.add_column(column, justify="left" if column in ("", "store") else "right")
    for (workload, store), rounds in samples.items():
        figures = (
            median(each.per_second for each in rounds),
            median(each.cpu_us for each in rounds),
        )
        times = median(each.p50 for each in rounds), median(each.p99 for each in rounds)
        table.add_row(
            workload.name if store == STORES[0] else "",
            store,
            *(f"{each:,.0f}" for each in figures),
            *(f"{each:,.1f}" for each in times),
        )
    console.print(table)


def main(
    *,
    rounds: Annotated[int, typer.Option(min=1, help="How often everything is measured.")] = 3,
    seconds: Annotated[float, typer.Option(min=0.1, help="Of each measurement.")] = 1.5,
) -> None:
    """Measure how many changes of documents each store makes durable in a second.

    Documents of about 1.5 KB; every fourth change is merged with one that it does not know. SQLite
    and PostgreSQL (a fresh one on this machine) wait for the disk before a change is acknowledged.
    """
    console = Console()
    with running_postgres(durable=True) as server:
        show(asyncio.run(measure(server, rounds, seconds, console)), console)


if __name__ == "__main__":
    app = typer.Typer(add_completion=False)
    app.command()(main)
    app(prog_name="scripts/bench sync")
