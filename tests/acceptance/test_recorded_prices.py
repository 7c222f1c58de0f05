"""The main job: a recording goes in, and a JavaScript client gets each of its price changes."""

import asyncio
import csv
import gzip
import time
from decimal import Decimal
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import shown_server
from tests.acceptance.http import get, metrics
from tests.support.npm import NodeProgram, run_node
from tests.support.processes import ROOT

TWELVE_MINUTES = ROOT / "tests" / "data" / "ticks_fx_20140506_1224.csv.gz"
WATCHED = ("EURUSD", "XAUUSD")
#: Seconds that a recording may take from beginning to end.
PATIENCE = 50.0


def price_changes(recording: Path, symbol: str) -> list[float]:
    """Return the middles of bid and ask, without those that repeat the one before."""
    with gzip.open(recording, "rt", newline="") as file:
        middles = [
            float((Decimal(tick["bid"]) + Decimal(tick["ask"])) / 2)
            for tick in csv.DictReader(file)
            if tick["symbol"] == symbol
        ]
    return [price for price, _ in groupby(middles)]


async def report_with(client: NodeProgram, last: dict[str, int]) -> dict[str, Any]:
    """Wait until the client has the last update of each symbol; return all that it got."""
    deadline = time.monotonic() + PATIENCE
    while True:
        await client.send("report")
        report: dict[str, Any] = await client.read()
        numbers = {symbol: [seq for seq, _ in report[symbol]["prices"]][-1:] for symbol in last}
        if numbers == {symbol: [seq] for symbol, seq in last.items()}:
            return report
        assert time.monotonic() < deadline, f"the client has {numbers} of {last}"
        await asyncio.sleep(0.2)


async def assert_every_change_arrives(recording: Path, speed: str) -> None:
    truth = {symbol: price_changes(recording, symbol) for symbol in WATCHED}
    replay = ("--provider", "replay", "--replay-file", str(recording), "--replay-speed", speed)
    async with (
        shown_server(*replay) as server,
        run_node("acceptance_prices.js", server.url, *WATCHED) as client,
    ):
        last = {symbol: len(prices) for symbol, prices in truth.items()}
        report = await report_with(client, last)

        assert report["disconnects"] == 0
        missing = 0
        for symbol, prices in truth.items():
            got = report[symbol]
            assert (len(got["epochs"]), got["snapshots"], got["wrong"]) == (1, 1, 0)
            numbers = [seq for seq, _ in got["prices"]]
            assert numbers == sorted(set(numbers))
            # The n-th change of the recording is update number n, whichever of them arrived.
            assert got["prices"] == [[seq, prices[seq - 1]] for seq in numbers]
            missing += len(prices) - len(numbers)
        # A client that can't take all gets the latest, and each update that it missed is counted.
        samples = await metrics(server.url)
        assert missing == samples["stockstream_engine_total|what=conflated"]
        assert not [name for name in samples if name.startswith("stockstream_quotes_rejected")]
        assert (await get(f"{server.url}/readyz"))[0] == 200
        assert "Traceback" not in server.child.output()


async def test_every_change_of_twelve_recorded_minutes_arrives() -> None:
    await assert_every_change_arrives(TWELVE_MINUTES, "240")


async def test_recording_as_fast_as_it_is_taken_arrives_up_to_what_was_conflated() -> None:
    await assert_every_change_arrives(TWELVE_MINUTES, "0")


@pytest.mark.recordings
@pytest.mark.slow
@pytest.mark.parametrize("speed", ["0", "6000"])
async def test_every_change_of_a_recorded_day_arrives(recordings: Path, speed: str) -> None:
    await assert_every_change_arrives(recordings / "ticks_fx_oanda_20140506.csv.gz", speed)
