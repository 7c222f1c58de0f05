"""Measures what keeping a history costs; the command behind `scripts/bench history`."""

import asyncio
import csv
import gzip
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from random import Random
from statistics import median, quantiles
from typing import Annotated, NamedTuple

import pandas as pd
import typer
import uvloop
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from stockstream.clock import SystemClock
from stockstream.config import LogFormat, LogLevel
from stockstream.core.bar_parts import BarPart
from stockstream.core.bar_reading import BarQuery
from stockstream.core.bars import MinuteBars
from stockstream.core.spans import SessionDays
from stockstream.log import configure_logging
from stockstream.model import Bar, Quote, Symbol, Timeframe
from stockstream.ports import CountedMinute, HistoryStore
from stockstream.services.bars import BarService
from stockstream.services.calendars import Calendars
from stockstream.services.history_writer import HistoryWriter
from stockstream.services.keeping import History
from stockstream.serving import tune_collector
from stockstream.storage.memory_history import MemoryHistory
from stockstream.storage.sessions import load_sessions
from stockstream.storage.sql.history import SqlHistory
from stockstream.wire.bar_pages import json_pieces
from tests.bench.history_http import over_http
from tests.support.postgres_server import running_postgres
from tests.support.processes import ROOT
from tests.support.recordings import RECORDED_DAY

SLICE = ROOT / "tests" / "data" / "ticks_fx_20140506_1224.csv.gz"
YEAR, DECADE = Symbol("YEAR"), Symbol("DECADE")
MINUTE, DAY = 60_000, 86_400_000
#: A Monday, 00:00 UTC.
START = 1_420_416_000_000
#: Of an exchange: minutes of a day; days of a year, of ten.
MINUTES, DAYS, DECADE_DAYS = 390, 252, 2_520
UTC_DAYS = SessionDays((), ())
ALL = 2**62
#: Seconds between two turns of the event loop that quotes come in, and how many come then.
TURN, BURST = 0.002, 20


class Tape(NamedTuple):
    """Recorded quotes."""

    quotes: list[Quote]
    frame: pd.DataFrame


class Row(NamedTuple):
    """A line of the table: what was measured, and a figure for each database."""

    what: str
    figures: list[str]


def tape() -> Tape:
    """The recorded day where it is there, else twelve minutes of it."""
    with gzip.open(RECORDED_DAY if RECORDED_DAY.exists() else SLICE, "rt", newline="") as file:
        rows = list(csv.DictReader(file))
    quotes = [
        Quote(
            symbol=Symbol(row["symbol"]),
            price=float(row["bid"]),
            timestamp=int(row["timestamp_ms"]),
            bid=float(row["bid"]),
            ask=float(row["ask"]),
        )
        for row in rows
    ]
    frame = pd.DataFrame(
        {
            "symbol": [quote.symbol for quote in quotes],
            "price": [quote.price for quote in quotes],
        },
        index=pd.to_datetime([quote.timestamp for quote in quotes], unit="ms"),
    )
    return Tape(quotes, frame)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[HistoryStore]:
    """The history of a database, migrated; or one in memory."""
    store: HistoryStore = SqlHistory(url) if url else MemoryHistory()
    try:
        await store.ping()
        yield store
    finally:
        await store.aclose()


async def ticks_per_second(url: str, count: int) -> float:
    """Through the writer, as a node does it."""
    async with opened(url) as store:
        writer = HistoryWriter(store, clock=SystemClock(), random=Random(1), max_ticks=count + 1)
        minutes = MinuteBars(run=1)
        for number in range(count):
            at, symbol = START + number // 10, Symbol(f"S{number % 100}")
            writer.take(Quote(symbol=symbol, price=1.0 + number), minutes, at, 1.0)
        begin = time.perf_counter()
        await writer.write()
        return writer.state.written["ticks"] / (time.perf_counter() - begin)


async def delays(url: str, seconds: float) -> list[float]:
    """How late the work of a turn of the event loop is done, in ms, with or without a writer."""
    clock = SystemClock()
    async with opened(url) as store:
        history = History(
            store,
            Calendars({}, load_sessions),
            clock=clock,
            random=Random(1),
            tick_days=1,
            minute_days=1,
        )
        bars = BarService(None, clock, history=history)
        # As a server does it.
        tune_collector()
        running = asyncio.create_task(history.run() if url else asyncio.sleep(3_600))
        late: list[float] = []
        symbols = [Symbol(f"S{number}") for number in range(500)]
        due, number = time.perf_counter(), 0
        end = due + seconds
        while due < end:
            due += TURN
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            now = clock.time_ms()
            for _ in range(BURST):
                number += 1
                quote = Quote(symbol=symbols[number % 500], price=100.0 + number % 7)
                bars.on_believed(quote, now, float(number))
            late.append((time.perf_counter() - due) * 1_000)
        running.cancel()
        await asyncio.wait((running,))
        await bars.aclose()
    return late


async def fill(url: str, tick: Callable[[], object]) -> None:
    """A year of minutes of one symbol, and ten years of days of another."""
    async with opened(url) as store:
        random = Random(1)
        for symbol, days, minutes in ((YEAR, DAYS, MINUTES), (DECADE, DECADE_DAYS, 1)):
            for day in range(days):
                parts = [
                    _part(START + day * DAY + minute * MINUTE, random) for minute in range(minutes)
                ]
                await store.put_minutes([CountedMinute(symbol, 1, part) for part in parts])
                await store.seal(symbol, START + day * DAY, UTC_DAYS)
                tick()


def _part(start: int, random: Random) -> BarPart:
    price = random.randint(90_000, 110_000) / 1_000
    return BarPart(start, price, price + 1, price - 1, price, 100.0, start + 1, start + 59_000)


async def reading_ms(url: str, symbol: Symbol, timeframe: Timeframe, rounds: int) -> float:
    """From asking to bars, as a service has them."""
    query = BarQuery(timeframe=timeframe, spans=timeframe, limit=100_000)
    return await _median_ms(url, rounds, lambda store: _read(store, symbol, query))


async def _read(store: HistoryStore, symbol: Symbol, query: BarQuery) -> Sequence[Bar]:
    bars = (await store.bars(symbol, query)).bars()
    assert len(bars) in (DAYS * MINUTES, DECADE_DAYS)
    return bars


async def answer_ms(url: str, symbol: Symbol, timeframe: Timeframe, rounds: int) -> float:
    """The same, encoded as a client gets it."""
    query = BarQuery(timeframe=timeframe, spans=timeframe, limit=100_000)

    async def work(store: HistoryStore) -> None:
        b"".join(json_pieces(await _read(store, symbol, query)))

    return await _median_ms(url, rounds, work)


async def _median_ms(
    url: str, rounds: int, work: Callable[[HistoryStore], Awaitable[object]]
) -> float:
    async with opened(url) as store:
        await work(store)
        # As a server does it.
        tune_collector()
        taken = []
        for _ in range(rounds):
            begin = time.perf_counter()
            await work(store)
            taken.append((time.perf_counter() - begin) * 1_000)
    return median(taken)


def counted(recorded: Tape) -> tuple[dict[str, MinuteBars], float]:
    """Our minutes of a recording, and the milliseconds that they took."""
    begin = time.perf_counter()
    minutes: dict[str, MinuteBars] = {}
    for quote in recorded.quotes:
        counting = minutes.get(quote.symbol)
        if counting is None:
            counting = minutes[quote.symbol] = MinuteBars(10_000)
        counting.add(quote.price, quote.timestamp or 0, 0.0)
    return minutes, (time.perf_counter() - begin) * 1_000


def resampled(recorded: Tape) -> tuple[dict[str, list[tuple[float, ...]]], float]:
    """What pandas makes of it, and the milliseconds that it took."""
    begin = time.perf_counter()
    made = {
        str(symbol): rows["price"].resample("1min").ohlc().dropna()
        for symbol, rows in recorded.frame.groupby("symbol")
    }
    taken = (time.perf_counter() - begin) * 1_000
    return {
        symbol: list(rows.itertuples(index=False, name=None)) for symbol, rows in made.items()
    }, (taken)


def agrees(ours: dict[str, MinuteBars], theirs: dict[str, list[tuple[float, ...]]]) -> bool:
    """Whether pandas has the same bars."""
    return theirs == {
        symbol: [
            (bar.open, bar.high, bar.low, bar.close) for bar in minutes.bars(Timeframe.M1, 10_000)
        ]
        for symbol, minutes in ours.items()
    }


async def rolling_up_ms(url: str, ours: dict[str, MinuteBars]) -> float:
    """Packing the recorded day and making its hours and days, in the database."""
    async with opened(url) as store:
        parts = {Symbol(symbol): minutes._parts(0) for symbol, minutes in ours.items()}
        day = next(iter(parts.values()))[0].timestamp // DAY * DAY
        for symbol, rows in parts.items():
            await store.put_minutes([CountedMinute(symbol, 1, part) for part in rows])
        begin = time.perf_counter()
        for symbol in parts:
            await store.seal(symbol, day, UTC_DAYS)
        return (time.perf_counter() - begin) * 1_000


@contextmanager
def databases() -> Iterator[dict[str, Callable[[], str]]]:
    """Makes new ones of each kind, on disks that are waited for."""
    with tempfile.TemporaryDirectory() as folder, running_postgres(durable=True) as postgres:
        names = iter(range(1_000))
        yield {
            "SQLite": lambda: f"sqlite:///{Path(folder) / f'{next(names)}.db'}",
            "PostgreSQL": postgres.new_database,
        }


def side_by_side(make: dict[str, Callable[[], str]], seconds: float, rounds: int) -> list[Row]:
    """Delays without a writer and with each, in turn."""
    kinds: dict[str, list[float]] = {"without": [], **{name: [] for name in make}}
    for _ in range(rounds):
        for name in kinds:
            url = make[name]() if name in make else ""
            kinds[name] += uvloop.run(delays(url, seconds))
    spread = {name: quantiles(late, n=1_000) for name, late in kinds.items()}
    return [
        Row(
            f"delay of a turn, ms: {title}",
            [f"{spread[name][place]:.2f} ({spread['without'][place]:.2f})" for name in make],
        )
        for title, place in (("median", 499), ("99 %", 989), ("99.9 %", 998))
    ]


def measure(ticks: int, seconds: float, rounds: int, progress: Progress) -> tuple[list[Row], str]:
    """All figures, one column a database; and what pandas has to say."""
    recorded = tape()
    ours, counting = counted(recorded)
    theirs, resampling = resampled(recorded)
    with databases() as make:
        task = progress.add_task("filling", total=len(make) * (DAYS + DECADE_DAYS))
        rows: list[Row] = []

        def row(what: str, figures: Sequence[str]) -> None:
            rows.append(Row(what, list(figures)))

        rates = [
            median(uvloop.run(ticks_per_second(new(), ticks)) for _ in range(rounds))
            for new in make.values()
        ]
        row("ticks written a second", [f"{rate:,.0f}" for rate in rates])
        rows += side_by_side(make, seconds, rounds)
        urls = [new() for new in make.values()]
        for url in urls:
            uvloop.run(fill(url, lambda: progress.advance(task)))
        for name, symbol, timeframe in (
            ("a year of minutes (98,280)", YEAR, Timeframe.M1),
            ("ten years of days (2,520)", DECADE, Timeframe.D1),
        ):
            reads = [uvloop.run(reading_ms(url, symbol, timeframe, 5 * rounds)) for url in urls]
            row(f"{name} read, ms", [f"{each:.1f}" for each in reads])
            answers = [uvloop.run(answer_ms(url, symbol, timeframe, 5 * rounds)) for url in urls]
            row(f"{name} read and encoded, ms", [f"{each:.1f}" for each in answers])
        path = f"/api/bars/{YEAR}?timeframe=1m&from={START}&to={START + 400 * DAY}&limit=100000"
        for name, coding in (("", "identity"), (", compressed", "gzip")):
            pages = [uvloop.run(over_http(url, path, 5 * rounds, coding)) for url in urls]
            row(
                f"a year of minutes over HTTP{name}, ms",
                [f"{each.ms:.1f}" for each in pages],
            )
            row(
                "delay of a turn meanwhile: 99 % (longest)",
                [f"{each.late:.2f} ({each.latest:.2f})" for each in pages],
            )
        rolled = [uvloop.run(rolling_up_ms(new(), ours)) for new in make.values()]
        row("a recorded day rolled up, ms", [f"{each:.1f}" for each in rolled])
    verdict = "agrees" if agrees(ours, theirs) else "disagrees"
    return rows, (
        f"{len(recorded.quotes):,} recorded quotes into minutes: {counting:.0f} ms one by one as"
        f" they come, {resampling:.0f} ms by pandas when all are there; pandas {verdict}"
    )


def main(
    *,
    ticks: Annotated[int, typer.Option(min=1_000, help="Ticks written in a round.")] = 50_000,
    seconds: Annotated[float, typer.Option(min=0.1, help="Of each measurement of delays.")] = 5.0,
    rounds: Annotated[int, typer.Option(min=1, help="How often everything is measured.")] = 3,
) -> None:
    """Measure writing, reading and rolling up a history in SQLite and in PostgreSQL.

    Delays are those of 20 quotes that come every 2 ms; in brackets is what they are while nothing
    is written, measured in turn. Both databases wait for the disk. The exit status is 1 where
    pandas makes other bars of the recording.
    """
    console = Console()
    configure_logging(LogLevel.ERROR, LogFormat.CONSOLE)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        rows, verdict = measure(ticks, seconds, rounds, progress)
    table = Table(title="History (median)", box=None)
    table.add_column("")
    for name in ("SQLite", "PostgreSQL"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(row.what, *row.figures)
    console.print(table)
    console.print(verdict)
    raise typer.Exit(1 if "disagrees" in verdict else 0)


if __name__ == "__main__":
    app = typer.Typer(add_completion=False)
    app.command()(main)
    app(prog_name="scripts/bench history")
