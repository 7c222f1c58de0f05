"""`stockstream export` from a server, as a person runs it."""

import asyncio
import csv
import io
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from pyarrow import parquet
from typer.testing import CliRunner

from stockstream.cli import app
from stockstream.client.bar_pages import bar_pages
from stockstream.errors import RefusedError
from stockstream.model import Symbol, Timeframe
from stockstream.terminal.export import parse_moment
from tests.support.processes import STOCKSTREAM, running_server
from tests.support.terminal import terminal

#: Each runs the command, and some a server as well.
pytestmark = pytest.mark.timeout(180)

AAPL = Symbol("AAPL")
START = 1_767_571_200_000


class BarServer:
    """Has bars of five minutes, gives them in pages of two, and does what a test tells it to."""

    def __init__(self) -> None:
        self.url = ""
        #: Answers that are given instead, each once.
        self.failures: list[web.Response] = []
        self.asked = 0
        self.tokens: set[str | None] = set()

    async def bars(self, request: web.Request) -> web.Response:
        self.asked += 1
        self.tokens.add(request.headers.get("Authorization"))
        if self.failures:
            return self.failures.pop(0)
        start, end = int(request.query["from"]), int(request.query["to"])
        found = [b for b in map(_bar, range(5)) if start <= b["timestamp"] < end]
        more = {"Link": '<x>; rel="next"'} if len(found) > 2 else {}
        return web.json_response(found[:2], headers=more)


def _bar(minute: int) -> dict[str, Any]:
    price = 10 + minute / 10
    return {
        "timestamp": START + minute * 60_000,
        "open": price,
        "high": price + 1e-9,
        "low": price,
        "close": price,
        "volume": 3.0,
    }


@pytest.fixture
async def server() -> Any:
    bars = BarServer()
    application = web.Application()
    application.router.add_get("/api/bars/{symbol}", bars.bars)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    bars.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield bars
    await runner.cleanup()


async def exported(server: BarServer, *arguments: str, status: int = 0) -> tuple[bytes, str]:
    """Return what the command wrote to standard output and to standard error."""
    child = await asyncio.create_subprocess_exec(
        *STOCKSTREAM,
        "export",
        "aapl",
        "--timeframe=1m",
        f"--url={server.url}",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await child.communicate()
    assert child.returncode == status, err.decode()
    assert b"Traceback" not in err
    return out, err.decode()


async def test_csv_goes_to_a_pipe_with_a_header_and_nothing_else(server: BarServer) -> None:
    out, err = await exported(server, "--token=secret")
    rows = list(csv.DictReader(io.StringIO(out.decode())))
    assert [{key: float(value) for key, value in row.items()} for row in rows] == [
        _bar(minute) for minute in range(5)
    ]
    assert err == ""
    assert server.tokens == {"Bearer secret"}


async def test_what_lies_between_two_moments_is_exported(server: BarServer, tmp_path: Path) -> None:
    file = tmp_path / "aapl.csv"
    out, err = await exported(
        server, "--from=2026-01-05T00:01Z", f"--to={START + 180_000}", f"--output={file}"
    )
    assert (out, err) == (b"", f"2 bars in {file}\n")
    lines = file.read_text().splitlines()
    assert lines[0] == "timestamp,open,high,low,close,volume"
    assert [int(line.split(",")[0]) for line in lines[1:]] == [START + 60_000, START + 120_000]


async def test_parquet_holds_the_same_with_types(server: BarServer, tmp_path: Path) -> None:
    file = tmp_path / "aapl.parquet"
    await exported(server, f"--output={file}")
    table = parquet.read_table(file)
    assert table.schema.metadata[b"symbol"] == b"AAPL"
    assert table.schema.metadata[b"timeframe"] == b"1m"
    assert str(table.schema.field("timestamp").type) == "timestamp[ms, tz=UTC]"
    rows = table.to_pylist()
    for row in rows:
        row["timestamp"] = round(row["timestamp"].timestamp() * 1_000)
    assert rows == [_bar(minute) for minute in range(5)]


async def test_where_there_are_no_bars_there_is_a_header(server: BarServer) -> None:
    out, _ = await exported(server, "--to=1970-01-02")
    assert out == b"timestamp,open,high,low,close,volume\n"


async def test_what_stood_there_before_is_replaced_only_by_what_is_complete(
    server: BarServer, tmp_path: Path
) -> None:
    file = tmp_path / "aapl.csv"
    file.write_text("before")
    error = {"type": "bars_error", "code": "invalid_symbol", "message": "there are no bars"}
    first = web.json_response([_bar(0)], headers={"Link": '<x>; rel="next"'})
    server.failures = [first, web.json_response(error, status=404)]
    _, err = await exported(server, f"--output={file}", status=1)
    assert err == "stockstream: there are no bars\n"
    assert file.read_text() == "before"
    assert list(tmp_path.iterdir()) == [file]


async def test_a_refusal_leaves_nothing_in_a_pipe(server: BarServer) -> None:
    error = {"type": "bars_error", "code": "forbidden", "message": "not you"}
    server.failures = [web.json_response(error, status=403)]
    assert await exported(server, status=1) == (b"", "stockstream: not you\n")


async def test_who_has_seen_enough_ends_it_without_a_word(server: BarServer) -> None:
    read, write = os.pipe()
    os.close(read)
    child = await asyncio.create_subprocess_exec(
        *STOCKSTREAM, "export", "AAPL", f"--url={server.url}", stdout=write, stderr=-1
    )
    os.close(write)
    _, err = await child.communicate()
    assert (child.returncode, err) == (128 + signal.SIGPIPE, b"")


async def _all(server: BarServer, waits: list[float]) -> int:
    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    pages = bar_pages(server.url, AAPL, Timeframe.M1, start_ms=0, end_ms=START * 2, sleep=sleep)
    return sum([len(bars) async for bars in pages])


async def test_a_server_that_is_busy_for_a_moment_is_asked_again(server: BarServer) -> None:
    slow = {"type": "bars_error", "code": "rate_limited", "message": "too many"}
    server.failures = [
        web.json_response(slow, status=429, headers={"Retry-After": "7"}),
        web.Response(status=502, text="bad gateway"),
    ]
    waits: list[float] = []
    assert await _all(server, waits) == 5
    assert waits == [7, 1]


async def test_a_server_that_stays_away_is_given_up(server: BarServer) -> None:
    server.failures = [web.Response(status=503) for _ in range(20)]
    waits: list[float] = []
    with pytest.raises(RefusedError, match="503"):
        await _all(server, waits)
    assert waits == [0.5, 1, 2, 4, 8, 16]


async def test_progress_is_shown_on_a_terminal_only(server: BarServer, tmp_path: Path) -> None:
    command = [*STOCKSTREAM, "export", "AAPL", f"--url={server.url}", "--timeframe=1m"]
    async with terminal([*command, f"--output={tmp_path / 'a.csv'}"]) as shown:
        await shown.wait_for("5 bars in")
        assert "AAPL" in shown.text
        assert "100%" in shown.text


async def test_bars_of_a_real_server_are_exported(tmp_path: Path) -> None:
    async with running_server() as running:
        async with aiohttp.ClientSession() as session:
            await (await session.get(f"{running.url}/api/quotes?symbols=AAPL")).read()
        # Of all that there is, the export would take minutes.
        start = datetime.now(UTC) - timedelta(days=10)
        some = (f"--from={start:%Y-%m-%d}", "--timeframe=1h")
        result = await asyncio.to_thread(
            subprocess.run,
            [*STOCKSTREAM, "export", "AAPL", *some, "--url", running.url],
            capture_output=True,
            check=True,
        )
    lines = result.stdout.decode().splitlines()
    starts = [int(line.partition(",")[0]) for line in lines[1:]]
    assert len(starts) > 10
    assert starts == sorted(set(starts))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["A/B"], "'A/B' is not a symbol"),
        (["AAPL", "--timeframe", "2m"], "2m"),
        (["AAPL", "--from", "yesterday"], "'yesterday' is no time"),
        (["AAPL", "--from", "2026-02-01", "--to", "2026-01-01"], "--from is after --to"),
        (["AAPL", "--format", "parquet"], "name a file with --output"),
        (["AAPL", "--format", "xlsx"], "xlsx"),
        (["AAPL", "--output", "/no/such/folder/a.csv"], "there is no folder"),
        (["AAPL", "--url", "localhost"], "is not the address of a server"),
    ],
)
def test_what_cannot_be_exported_is_refused_in_a_clear_line(
    arguments: list[str], told: str
) -> None:
    result = CliRunner().invoke(app, ["export", *arguments], env={"COLUMNS": "200"})
    assert result.exit_code == 2
    assert told in result.output
    assert "Traceback" not in result.output


def test_parquet_without_its_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setattr("stockstream.cli.find_spec", lambda _: None)
    result = CliRunner().invoke(
        app, ["export", "AAPL", "-o", "aapl.parquet"], env={"COLUMNS": "200"}
    )
    assert result.exit_code == 2
    assert "pip install 'stockstream[parquet]'" in result.output


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("1767571200000", START),
        ("2026-01-05", START),
        ("2026-01-05T09:00+09:00", START),
        ("2026-01-05T00:00:00.5Z", START + 500),
    ],
)
def test_moments_are_dates_times_and_milliseconds(text: str, moment: int) -> None:
    assert parse_moment(text) == moment
