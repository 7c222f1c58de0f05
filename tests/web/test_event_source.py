"""A browser's own EventSource, without a line of anybody's library."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.fault_proxy import FaultProxy
from tests.support.npm import run_node
from tests.support.processes import Server, running_server
from tests.web.chromium import Page, command

LISTEN = """
  window.updates = [];
  window.subscribed = [];
  window.source = new EventSource("/api/stream?events=stock_update_AAPL,stock_update_MSFT");
  source.addEventListener("subscribed", ({ data }) => subscribed.push(JSON.parse(data)));
  for (const symbol of ["AAPL", "MSFT"]) {
    source.addEventListener(`stock_update_${symbol}`, ({ data }) => {
      updates.push(JSON.parse(data).payload);
    });
  }
"""
STEPS = """
  ["AAPL", "MSFT"].every((symbol) => updates.filter((update) => update.symbol === symbol)
    .every(({ seq }, i, all) => i === 0 || seq === all[i - 1].seq + 1))
"""


@asynccontextmanager
async def page_at(url: str, folder: Path) -> AsyncIterator[Page]:
    async with run_node("chromium.js", f'{{"module": "{folder}"}}') as program:
        await program.read()
        await command(program, {"open": "page", "url": url})
        yield Page(program, "page")


async def test_a_page_whose_stream_breaks_comes_back_and_misses_nothing(tmp_path: Path) -> None:
    busy = {"STOCKSTREAM_SIMULATED_CHANGE_PROBABILITY": "1"}
    async with (
        running_server("--update-interval", "0.1", env=busy) as server,
        FaultProxy(_port(server)) as proxy,
        page_at(f"http://127.0.0.1:{proxy.port}", tmp_path) as page,
    ):
        await page.run(LISTEN)
        await page.until("updates.length >= 6")
        proxy.abort()
        await page.until("subscribed.length === 2")
        at = await page.value("updates.length")
        # What happened in the second or more until it came back, and then what follows.
        await page.until(f"updates.length >= {at} + 20")
        assert await page.value("subscribed.map(({ resumed }) => resumed)") == [None, True]
        assert await page.value(STEPS)


async def test_a_page_comes_back_to_a_server_that_was_started_anew(tmp_path: Path) -> None:
    async with (
        running_server() as first,
        running_server() as second,
        FaultProxy(_port(first)) as proxy,
        page_at(f"http://127.0.0.1:{proxy.port}", tmp_path) as page,
    ):
        await page.run(LISTEN)
        await page.until("updates.length >= 2")
        # The other one stands for it: it knows as little of what was before.
        proxy._upstream = ("127.0.0.1", _port(second))
        first.child.terminate()
        await page.until("subscribed.length === 2 && updates.at(-1).epoch !== updates[0].epoch")
        # There may be a gap, and it is told.
        assert await page.value("subscribed.map(({ resumed }) => resumed)") == [None, False]
        changed = "updates.find(({ epoch }) => epoch !== updates[0].epoch)"
        assert await page.value(f"{changed}.snapshot")


def _port(server: Server) -> int:
    return int(server.url.rpartition(":")[2])
