from rich.console import Console

from tests.bench import sync
from tests.support.postgres_server import PostgresServer


async def test_each_store_has_figures_of_each_workload(shared_postgres: PostgresServer) -> None:
    console = Console(record=True, width=120)
    samples = await sync.measure(shared_postgres, 1, 0.05, console)
    sync.show(samples, console)
    shown = console.export_text()
    assert all(name in shown for name in sync.STORES)
    assert all(workload.name in shown for workload in sync.WORKLOADS)
    assert all(each.per_second > 0 for rounds in samples.values() for each in rounds)
