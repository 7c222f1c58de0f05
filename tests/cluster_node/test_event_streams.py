"""Server-Sent Events and derived symbols where the node behind them changes."""

import json

import pytest

from tests.cluster_node.nodes import metrics, port_of, running_nodes, settled
from tests.cluster_node.watchers import assert_complete
from tests.recovery.clients import Crowd
from tests.support.event_stream import EventStream, event_stream

#: Nodes are processes: a busy machine takes its time with them.
pytestmark = pytest.mark.timeout(180)

EVENTS = "events=stock_update_S1,stock_update_S2"


async def _read(stream: EventStream, updates: int) -> None:
    while min(len(stream.payloads(symbol)) for symbol in ("S1", "S2")) < updates:
        await stream.part()


def _assert_goes_on(symbol: str, before: EventStream, after: EventStream) -> None:
    """Insist on each update once; the second stream may begin with the one that was the last."""
    first, then = before.payloads(symbol), after.payloads(symbol)
    if then[0]["seq"] == first[-1]["seq"]:
        # What it was told by another node is not known there: it is told where the price stands.
        assert then.pop(0)["snapshot"]
    assert len({payload["epoch"] for payload in (*first, *then)}) == 1
    seqs = [payload["seq"] for payload in (*first, *then)]
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))


async def test_event_stream_goes_on_at_another_node_after_a_kill(redis_url: str) -> None:
    async with running_nodes(redis_url, 2) as nodes:
        await settled(nodes)
        async with event_stream(nodes[0].url, EVENTS) as before:
            await _read(before, 5)
        nodes[0].child.kill()
        async with event_stream(nodes[1].url, EVENTS, Last_Event_ID=before.last_id) as after:
            await _read(after, 30)
        for symbol in ("S1", "S2"):
            _assert_goes_on(symbol, before, after)


DERIVED = {
    "SPREAD": {"kind": "spread", "of": "S1", "by": "S2"},
    "WIDEST": {"kind": "high", "of": "SPREAD", "window": 5},
}


async def test_derived_symbol_is_one_for_all_nodes_and_survives_its_owner(
    redis_url: str, crowd: Crowd
) -> None:
    async with running_nodes(redis_url, 2, derived=json.dumps(DERIVED)) as nodes:
        await settled(nodes)
        clients = [await crowd.connect(port_of(each)) for each in nodes]
        for client in clients:
            await client.subscribe("SPREAD", "WIDEST", "S1", "S2")
        for client in clients:
            await client.has("SPREAD", 10)
        pages = [await metrics(each) for each in nodes]
        assert sum(page["derived_symbols"] for page in pages) == 2
        nodes[0].child.kill()
        survivor = clients[1]
        await survivor.has("SPREAD", survivor.seqs("SPREAD")[-1] + 10)
        for symbol in ("SPREAD", "S1", "S2"):
            assert_complete(survivor, symbol)
        same = {u["seq"]: u["price"] for u in clients[0].updates("SPREAD")}
        other = {u["seq"]: u["price"] for u in survivor.updates("SPREAD")}
        assert len(same.keys() & other.keys()) >= 5
        assert all(other[seq] == price for seq, price in same.items() if seq in other)
