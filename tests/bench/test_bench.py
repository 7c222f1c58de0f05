"""The measurement from end to end, against the floor, which needs nothing to be set up."""

import shutil

import pytest

from tests.bench import report, workloads
from tests.bench.__main__ import estimate_s, plan
from tests.bench.peers import LIMIT, all_peers, compile_c
from tests.bench.processes import Generator, Server
from tests.bench.results import Results
from tests.bench.session import Sample, Session


def results_of(**figures: list[float]) -> Results:
    results = Results(machine="", started="2030-01-01", seconds=1, peers=dict.fromkeys(figures, ""))
    for peer, values in figures.items():
        for value in values:
            results.add("single", peer, Sample(figures={"cpu_us": value}))
    return results


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
@pytest.mark.parametrize("make", [workloads.single, workloads.burst, workloads.trickle])
def test_every_update_of_a_workload_reaches_its_watchers(
    make: workloads.Make,
) -> None:
    floor = next(peer for peer in all_peers() if peer.name == LIMIT)
    workload = make(100)
    with (
        Server(floor.command, core=None, env=floor.env) as server,
        Generator(
            compile_c("loadgen"),
            server.ready,
            symbols=workload.symbols,
            per_client=workload.per_client,
        ) as generator,
    ):
        session = Session(server, generator, seconds=0.1)
        workload.run(session)

    assert session.sample.delivered > 0
    assert session.sample.lost == session.sample.disorder == 0
    assert session.sample.figures["cpu_us"] > 0


def test_a_ratio_is_made_within_each_round() -> None:
    results = results_of(ours=[1, 2, 30], node=[2, 8, 30])

    assert results.ratio("single", "cpu_us", "node") == (0.5, 0.25, 1.0)


def test_lost_updates_are_named() -> None:
    results = results_of(ours=[1])
    results.add("single", "ours", Sample(figures={"cpu_us": 1}, lost=1200))

    assert results.faults() == ["single, ours: 1,200 updates lost, 0 out of order"]


def test_the_markdown_table_has_a_cell_for_each_column() -> None:
    rows = report.comparison(results_of(ours=[1], node=[4]))
    lines = report.markdown_table(rows).splitlines()

    assert lines[2] == "| single | CPU µs/update | 1 | 4 | 0.25 |"
    assert len({line.count("|") for line in lines}) == 1


def test_a_measurement_that_failed_leaves_the_rounds_side_by_side() -> None:
    results = results_of(ours=[1, 2], node=[2])
    results.samples["single"]["node"].insert(0, Sample())

    assert results.ratio("single", "cpu_us", "node") == (1.0, 1.0, 1.0)


def test_the_default_run_stays_within_a_quarter_of_an_hour() -> None:
    chosen = workloads.choose(list(workloads.NAMES), None)

    assert estimate_s(plan(chosen, all_peers(), 3), 2.0) < 15 * 60


def test_the_floor_is_beside_every_size_of_scale() -> None:
    steps = plan(workloads.choose(["scale"], None), all_peers(), 1)

    assert {(workload.clients, peer.name) for workload, peer in steps} >= {
        (size, LIMIT) for size in workloads.SCALE_SIZES
    }
