"""One run: a cluster, a crowd, things that go wrong, and the verdict."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.chaos.crowd import chaos_crowd
from tests.chaos.faults import FAULTS, Fault, Happened, go_wrong
from tests.chaos.market import recorded_market
from tests.chaos.nodes import running_cluster
from tests.chaos.verdict import Verdict, judge
from tests.support.processes import ROOT

#: Twelve recorded minutes of three symbols.
RECORDING = ROOT / "tests" / "data" / "ticks_fx_20140506_1224.csv.gz"


async def run(
    *,
    balancer: str = "haproxy",
    clients: int = 12,
    rounds: int = 1,
    calm: float = 2.0,
    faults: Sequence[Fault] = FAULTS,
    progress: Callable[[str], None] = lambda _: None,
    recording: Path = RECORDING,
) -> Verdict:
    """Let everything go wrong, so many rounds.

    Args:
        balancer: `haproxy` or `nginx`.
        clients: how many watch all symbols.
        rounds: how often each thing goes wrong.
        calm: seconds of peace before each.
        faults: what goes wrong.
        progress: told what happens next.
        recording: ticks that the market plays.
    """
    market = recorded_market(recording)
    happened: list[Happened] = []
    progress("starting")
    async with (
        running_cluster(market, balancer) as cluster,
        chaos_crowd(cluster.url, market.symbols, clients) as crowd,
    ):
        await crowd.until_all_have_moved_on(market.symbols)
        for _ in range(rounds):
            for fault in faults:
                progress(fault.__name__.replace("_", " "))
                await asyncio.sleep(calm)
                happened.append(await go_wrong(fault, cluster, crowd))
        progress("settling")
        await crowd.until_all_have_moved_on(market.symbols)
        verdict = judge(market, crowd, happened)
        for node in cluster.nodes:
            verdict.faults += [f"{node.name} logged: {line}" for line in node.complaints()]
    return verdict
