"""What was recorded is there after a restart, a crash, and a database that was gone."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yarl import URL

from stockstream.core.bar_rules import aggregate
from stockstream.model import Bar, Symbol, Timeframe
from stockstream.storage.sql.history import SqlHistory
from tests.acceptance.http import get, metrics
from tests.acceptance.test_bars_against_the_recording import their_bars
from tests.support.postgres_server import PostgresServer
from tests.support.processes import DEADLINE, POLL_INTERVAL, ROOT, Server, running_server

DATA = ROOT / "tests" / "data"
RECORDING = DATA / "ticks_fx_20140506_1224.csv.gz"
SYMBOLS = ("EURUSD", "NZDUSD", "XAUUSD")
#: Lines before the first restart, and before the second: in the middle of minutes.
CUTS = (2_000, 4_321)


def lines() -> tuple[str, list[str]]:
    """The head, and what follows, of the recording; its prices are the bids."""
    head, *rest = gzip.decompress(RECORDING.read_bytes()).decode().splitlines()
    fields = (line.split(",") for line in rest)
    return head, [f"{at},{symbol},{bid},,{bid},{ask}" for at, symbol, _, _, bid, ask in fields]


def expected_minutes() -> dict[str, list[Bar]]:
    """The bars that another program made of the bids."""
    return their_bars(DATA / "bars_1m_fx_20140506_1224_bid.csv.gz")


def cut(folder: Path, first: int, last: int) -> Path:
    """Write a part of the recording to a file of its own."""
    head, rest = lines()
    path = folder / f"{first}.csv"
    path.write_text("\n".join([head, *rest[first:last]]) + "\n")
    return path


@asynccontextmanager
async def playing(recording: Path, url: str) -> AsyncIterator[Server]:
    """A server that plays a recording as fast as it can, for nobody."""
    flags = ("--provider", "replay", "--replay-file", str(recording), "--replay-speed", "0")
    env = {"STOCKSTREAM_HISTORY_URL": url, "STOCKSTREAM_CALENDARS": "*=24/7"}
    async with running_server(*flags, "--symbols", ",".join(SYMBOLS), env=env) as server:
        yield server


async def metric(server: Server, name: str, at_least: float) -> None:
    """Wait until the server counts so much."""
    async with asyncio.timeout(DEADLINE):
        while (await metrics(server.url)).get(name, 0.0) < at_least:
            await asyncio.sleep(POLL_INTERVAL)


async def nothing_waits(server: Server, ticks: int) -> None:
    """Wait until so many ticks are stored, and all of their minutes."""
    await metric(server, "stockstream_history_written_total|kind=ticks", ticks)
    async with asyncio.timeout(DEADLINE):
        while (await metrics(server.url))["stockstream_history_pending|what=symbols"]:
            await asyncio.sleep(POLL_INTERVAL)


async def bars_of(server: Server, symbol: str, timeframe: str, limit: int = 1_000) -> list[Bar]:
    query = f"timeframe={timeframe}&limit={limit}"
    status, found = await get(f"{server.url}/api/bars/{symbol}?{query}")
    assert status == 200, found
    return [Bar(**each) for each in found]


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'history.db'}"
    found: str = request.getfixturevalue("postgres_url")
    return found


async def test_bars_go_on_after_a_restart_and_a_kill_as_if_nothing_had_happened(
    url: str, tmp_path: Path
) -> None:
    expected = expected_minutes()
    first, second = CUTS
    async with playing(cut(tmp_path, 0, first), url) as server:
        await metric(server, "stockstream_quotes_accepted_total", first)
        # At once: what was counted last is stored on the way out.
        server.child.terminate()
        assert await server.child.exit_status() == 0
    async with playing(cut(tmp_path, first, second), url) as server:
        await nothing_waits(server, second - first)
        server.child.kill()
    rest = len(lines()[1]) - second
    async with playing(cut(tmp_path, second, second + rest), url) as server:
        await nothing_waits(server, rest)
        for symbol, minutes in expected.items():
            assert await bars_of(server, symbol, "1m") == minutes
            for timeframe in (Timeframe.M5, Timeframe.H1, Timeframe.D1):
                assert await bars_of(server, symbol, timeframe) == aggregate(minutes, timeframe)
    # With nothing in memory, too; and each tick once.
    assert await stored(url) == (expected, len(lines()[1]))


async def test_a_recording_that_is_played_twice_is_there_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'history.db'}"
    count = len(lines()[1])
    for _ in range(2):
        async with playing(cut(tmp_path, 0, count), url) as server:
            await nothing_waits(server, count)
            assert {each: await bars_of(server, each, "1m") for each in SYMBOLS} == (
                expected_minutes()
            )
    assert await stored(url) == (expected_minutes(), count)


async def test_a_database_that_is_gone_is_caught_up_with(
    shared_postgres: PostgresServer, tmp_path: Path
) -> None:
    url = shared_postgres.new_database()
    expected = expected_minutes()
    (first, _), count = CUTS, len(lines()[1])
    async with playing(cut(tmp_path, 0, first), url) as server:
        await nothing_waits(server, first)
    shared_postgres.stop()
    try:
        async with playing(cut(tmp_path, first, count), url) as server:
            await metric(server, "stockstream_quotes_accepted_total", count - first)
            await metric(server, "stockstream_history_failures_total", 1)
            status, ready = await get(f"{server.url}/readyz")
            assert (status, ready["dependencies"]["history"]["ready"]) == (200, False)
            # Nobody waits for it: what is counted here is there.
            assert (await bars_of(server, "EURUSD", "1m"))[-3:] == expected["EURUSD"][-3:]
            shared_postgres.start()
            await nothing_waits(server, count - first)
            assert (await metrics(server.url))["stockstream_history_shed_total|kind=ticks"] == 0
    finally:
        if not shared_postgres.running:
            shared_postgres.start()
    assert await stored(url) == (expected, count)


async def stored(url: str) -> tuple[dict[str, list[Bar]], int]:
    """The minutes of each symbol, and the number of ticks."""
    history = SqlHistory(url)
    try:
        minutes = {
            symbol: [part.bar() for part in await history.minutes(Symbol(symbol), 0, 2**62)]
            for symbol in SYMBOLS
        }
        ticks = [
            await history.ticks(Symbol(symbol), start_ms=0, end_ms=2**62, limit=100_000)
            for symbol in SYMBOLS
        ]
    finally:
        await history.aclose()
    return minutes, sum(map(len, ticks))


async def test_bars_of_long_ago_are_had_page_by_page_and_asked_for_once(tmp_path: Path) -> None:
    env = {"STOCKSTREAM_HISTORY_URL": f"sqlite:///{tmp_path / 'history.db'}"}
    sent = "stockstream_backfill_requests_total|outcome=sent"
    async with running_server(env=env) as server, aiohttp.ClientSession() as session:
        newest = await bars_of(server, "AAPL", "1h", limit=2_500)
        assert [b.timestamp - a.timestamp for a, b in pairwise(newest)] == [3_600_000] * 2_499
        assert (await metrics(server.url))[sent] == 2
        path = f"/api/bars/AAPL?timeframe=1h&from={newest[0].timestamp}&limit=900"
        pages: list[dict[str, Any]] = []
        while path:
            async with session.get(server.url + path) as response:
                pages += await response.json()
                tag, following = response.headers["ETag"], response.links.get("next")
            headers = {"If-None-Match": tag}
            async with session.get(server.url + path, headers=headers) as again:
                assert again.status == 304
            path = str(URL(following["url"]).relative()) if following else ""
        # It may be an hour later by now.
        assert [Bar(**each) for each in pages][:2_499] == newest[:-1]
        assert (await metrics(server.url))[sent] == 2
    async with running_server(env=env) as server:
        assert (await bars_of(server, "AAPL", "1h", limit=2_400))[:-2] == newest[100:-2][-2_398:]
        assert (await metrics(server.url))[sent] == 0
        for query in ("limit=100001", "from=2&to=1", "timeframe=7m", "from=yesterday"):
            status, refusal = await get(f"{server.url}/api/bars/AAPL?{query}")
            assert (status, refusal["code"] in {"invalid_payload", "unknown_timeframe"}) == (
                400,
                True,
            )
