"""Minute bars that went through a database, against those that another program made."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

from stockstream.clock import SystemClock
from stockstream.model import Bar, Quote, Symbol
from stockstream.services.bars import BarService
from stockstream.services.calendars import Calendars
from stockstream.services.keeping import History
from stockstream.storage.sessions import load_sessions
from stockstream.storage.sql.history import SqlHistory
from tests.acceptance.test_bars_against_the_recording import rows, their_bars

#: Quotes between two breaths of the tasks that store them.
STEP = 5_000
#: Milliseconds by which quotes come late, at most: less than the grace period.
LATE = 55_000


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'history.db'}"
    found: str = request.getfixturevalue("postgres_url")
    return found


async def count(url: str, quotes: Sequence[Quote]) -> None:
    """Count and store quotes as a node does, which then ends."""
    clock = SystemClock()
    history = History(
        SqlHistory(url),
        Calendars({}, load_sessions),
        clock=clock,
        random=Random(1),
        tick_days=0,
        minute_days=1,
    )
    newest: dict[Symbol, int] = {}
    async with history, BarService(None, clock, history=history) as bars:
        tasks = asyncio.create_task(history.run())
        for first in range(0, len(quotes), STEP):
            for quote in quotes[first : first + STEP]:
                timestamp = quote.timestamp
                assert timestamp is not None
                if timestamp < newest.get(quote.symbol, 0):
                    bars.on_late(quote)
                else:
                    newest[quote.symbol] = timestamp
                    bars.on_believed(quote, timestamp, 0.0)
            await history.writer.write()
        tasks.cancel()
        await asyncio.wait((tasks,))


async def stored(url: str) -> dict[str, list[Bar]]:
    history = SqlHistory(url)
    try:
        return {
            symbol: [part.bar() for part in await history.minutes(Symbol(symbol), 0, 2**62)]
            for symbol in ("EURUSD", "NZDUSD", "XAUUSD")
        }
    finally:
        await history.aclose()


@pytest.mark.recordings
@pytest.mark.parametrize("side", ["bid", "ask"])
async def test_every_bar_of_a_recorded_day_agrees_shuffled_and_with_a_restart(
    recordings: Path, url: str, side: str
) -> None:
    quotes = [
        Quote(
            symbol=Symbol(row["symbol"]),
            price=float(row[side]),
            timestamp=int(row["timestamp_ms"]),
        )
        for row in rows(recordings / "ticks_fx_oanda_20140506.csv.gz")
    ]
    # Those of one millisecond keep their order: nothing else says which came first.
    random = Random(20140506)
    late = {quote.timestamp: random.randint(0, LATE) for quote in quotes}
    shuffled = sorted(quotes, key=lambda quote: (quote.timestamp or 0) + late[quote.timestamp])
    middle = len(shuffled) // 2 + 1_234
    await count(url, shuffled[:middle])
    await count(url, shuffled[middle:])

    theirs = their_bars(recordings / f"bars_1m_fx_oanda_20140506_{side}.csv.gz")
    assert await stored(url) == theirs
    assert sum(map(len, theirs.values())) == 4_198
