"""The histories that the contract suite runs against."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from stockstream.core.bar_parts import BarPart
from stockstream.core.bar_reading import BarQuery
from stockstream.core.spans import SessionDays, Spans
from stockstream.model import Bar, Symbol, Tick, Timeframe
from stockstream.ports import CountedMinute, HistoryStore
from stockstream.storage.memory_history import MemoryHistory
from stockstream.storage.sql.history import SqlHistory

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
#: A Monday, 00:00 UTC.
MONDAY = 1_709_510_400_000
AAPL, MSFT = Symbol("AAPL"), Symbol("MSFT")
UTC_DAYS = SessionDays((), ())
#: Kinds of databases.
DATABASES = ("sqlite", "postgresql", "timescale")
_FIXTURES = {"postgresql": "postgres_url", "timescale": "timescale_url"}


def empty_database(kind: str, request: pytest.FixtureRequest, folder: Path) -> str:
    """Return the address of an empty database of that kind; a file is in the folder."""
    if kind == "sqlite":
        return f"sqlite:///{folder / 'history.db'}"
    url: str = request.getfixturevalue(_FIXTURES[kind])
    return url


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[HistoryStore]:
    history: HistoryStore = MemoryHistory() if url == "memory" else SqlHistory(url)
    try:
        yield history
    finally:
        await history.aclose()


def part(
    minute: int, price: float = 10.0, *, volume: float = 1.0, opened: int = 0, closed: int = 59_999
) -> BarPart:
    """What was counted of the ``minute``-th minute of that Monday."""
    start = MONDAY + minute * MINUTE
    return BarPart(
        start, price, price + 1, price - 1, price + 0.5, volume, start + opened, start + closed
    )


def counted(*parts: BarPart, symbol: Symbol = AAPL, run: int = 1) -> list[CountedMinute]:
    return [CountedMinute(symbol, run, each) for each in parts]


def tick(timestamp: int, number: int = 0, symbol: Symbol = AAPL) -> Tick:
    return Tick(symbol, MONDAY + timestamp, number, 10.5, 3.0, 10.25, None)


def bar(start: int, price: float = 10.0, volume: float = 0.0) -> Bar:
    return Bar(timestamp=start, open=price, high=price, low=price, close=price, volume=volume)


def query(
    timeframe: Timeframe = Timeframe.M1,
    *,
    start: int = 0,
    end: int = 2**62,
    limit: int = 1_000,
    newest: bool = True,
    spans: Spans | None = None,
) -> BarQuery:
    return BarQuery(
        timeframe=timeframe,
        spans=spans or timeframe,
        start_ms=start,
        end_ms=end,
        limit=limit,
        newest=newest,
    )
