"""Derived symbols over a recording: what unmodified JavaScript clients get, against pandas."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.acceptance.conftest import shown_server
from tests.acceptance.crowd import WEBSOCKET, Crowd
from tests.acceptance.http import metrics, stats_when
from tests.acceptance.test_recorded_prices import TWELVE_MINUTES, report_with
from tests.support.npm import run_node
from tests.support.processes import Server
from tests.support.recorded_changes import joined, price_changes

SETTINGS = """
[derived.EURUSD_NZDUSD]
kind = "spread"
of = "EURUSD"
by = "NZDUSD"

[derived.XAU_EUR]
kind = "convert"
of = "XAUUSD"
by = "EURUSD"
inverse = true

[derived.XAU_EUR_HIGH]
kind = "high"
of = "XAU_EUR"
window = 30

[reference.XAU_EUR]
name = "금, 유로"
currency = "EUR"
"""


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    """A server that plays twelve minutes in three seconds, with derived symbols."""
    file = tmp_path / "settings.toml"
    file.write_text(SETTINGS, "utf-8")
    replay = ("--provider", "replay", "--replay-file", str(TWELVE_MINUTES), "--replay-speed", "240")
    async with shown_server("--config", str(file), *replay) as running:
        yield running


def expected_series() -> dict[str, pd.Series]:
    """Return what pandas makes of the recording: prices by time (ms)."""
    changes = price_changes(TWELVE_MINUTES)
    pair, gold = joined(changes, "EURUSD", "NZDUSD"), joined(changes, "XAUUSD", "EURUSD")
    # Rounded as prices are: to 12 digits.
    spread = pd.Series((pair["of"] - pair["by"]).round(11).to_numpy(), index=pair["time"])
    in_euro = pd.Series((gold["of"] / gold["by"]).round(9).to_numpy(), index=gold["time"])
    gated = in_euro[in_euro != in_euro.shift()]
    by_time = pd.Series(gated.to_numpy(), index=pd.to_datetime(gated.index, unit="ms"))
    high = pd.Series(by_time.rolling("30s").max().to_numpy(), index=gated.index)
    return {"EURUSD_NZDUSD": spread, "XAU_EUR": in_euro, "XAU_EUR_HIGH": high}


def minutes(prices: pd.Series) -> list[dict[str, Any]]:
    """Return minute bars as pandas makes them."""
    by_time = pd.Series(prices.to_numpy(), index=pd.to_datetime(prices.index, unit="ms"))
    bars = by_time.resample("1min").ohlc().dropna()
    return [
        {"timestamp": int(start.timestamp() * 1000), **row, "volume": 0.0}
        for start, row in zip(bars.index, bars.to_dict("records"), strict=True)
    ]


async def test_clients_get_each_derived_price_that_pandas_makes_of_the_recording(
    server: Server, crowd: Crowd
) -> None:
    truth = expected_series()
    changes = {
        symbol: series[series != series.shift()].to_list() for symbol, series in truth.items()
    }
    async with run_node("acceptance_prices.js", server.url, *truth) as client:
        last = {symbol: len(prices) for symbol, prices in changes.items()}
        report = await report_with(client, last)

        for symbol, prices in changes.items():
            got = report[symbol]
            assert (len(got["epochs"]), got["snapshots"], got["wrong"]) == (1, 1, 0)
            numbers = [seq for seq, _ in got["prices"]]
            assert numbers == sorted(set(numbers))
            np.testing.assert_allclose(
                [price for _, price in got["prices"]],
                [prices[seq - 1] for seq in numbers],
                rtol=1e-11,
            )

        other = await crowd.connect(server.url, WEBSOCKET)
        request = {"symbol": "xau_eur", "timeframe": "1m"}
        data = (await other.ask("get_stock_data", request))["data"]
        for ours, theirs in zip(data["data"], minutes(truth["XAU_EUR"]), strict=True):
            assert ours == pytest.approx(theirs, rel=1e-11)
        quote = data["quote"]
        assert (quote["name"], quote["currency"]) == ("금, 유로", "EUR")
        assert "exchange" not in quote
        await other.close()

    # Nobody watches any more: neither derived symbols nor what they are made of stream on.
    await stats_when(server.url, lambda found: not found["streaming"], "the streams' end")
    samples = await metrics(server.url)
    assert samples["stockstream_derived_symbols"] == 0
    assert samples["stockstream_derived_prices_total"] >= sum(map(len, changes.values()))
    assert samples["stockstream_derived_inputs_unused_total|reason=stale"] == 0
    assert not [name for name in samples if name.startswith("stockstream_quotes_rejected")]
    assert "Traceback" not in server.child.output()
