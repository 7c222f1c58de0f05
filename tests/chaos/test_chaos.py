"""The short form of the proof; `./scripts/chaos` is the long one."""

import io

import pytest
from rich.console import Console

from tests.chaos import report
from tests.chaos.run import run
from tests.deploy.balancers import RUNNING


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("balancer", RUNNING)
async def test_every_client_has_every_price_once_and_in_order_whatever_dies(balancer: str) -> None:
    verdict = await run(balancer=balancer)
    shown = io.StringIO()
    report.show(verdict, Console(file=shown, width=120))
    assert not verdict.faults, shown.getvalue()
    assert verdict.handovers > 0
    # Only its own first connection begins a session; every later one goes on with it.
    assert verdict.connections - verdict.recovered == 12, shown.getvalue()
