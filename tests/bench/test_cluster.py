"""The measurement of several nodes from end to end, in small."""

import shutil
from pathlib import Path

import pytest
from rich.console import Console

from tests.bench import cluster

needs_cc = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")


@needs_cc
@pytest.mark.parametrize("peer", cluster.PEERS)
def test_every_update_of_the_owner_reaches_a_client_of_another_node(
    peer: str, tmp_path: Path
) -> None:
    figures = cluster.paced(peer, tmp_path, rate=200, seconds=0.5)

    assert figures["lost or out of order"] == 0
    assert figures["updates/s that arrived"] > 100
    assert 0 < figures["p50 ms, owner to client"] <= figures["p99 ms, owner to client"]


@pytest.mark.parametrize(("peer", "nodes"), [("stockstream", 2), ("python-socketio", 1)])
def test_every_update_of_a_flood_is_heard_by_every_node(
    peer: str, nodes: int, tmp_path: Path
) -> None:
    figures = cluster.flood(peer, tmp_path, nodes=nodes, seconds=0.2)

    assert [value for name, value in figures.items() if name.startswith("updates not heard")] == [0]


def test_lost_updates_are_named() -> None:
    samples = cluster.Samples(list)
    samples["stockstream", "updates not heard, 2 nodes"] += [0, 3]
    samples["python-socketio", "updates not heard, 2 nodes"] += [5]
    console = Console(record=True, width=120)
    cluster.show(samples, 100, console)

    assert cluster.faults(samples) == 3
    assert "updates not heard, 2 nodes" in console.export_text()
