"""A source of bars that answers what it was told, and bars for it."""

import asyncio
from collections.abc import Sequence

from stockstream.errors import (
    PermanentProviderError,
    TemporaryProviderError,
)
from stockstream.model import Bar, Symbol, Timeframe

AAPL, MSFT, IBM = Symbol("AAPL"), Symbol("MSFT"), Symbol("IBM")
M1, M5, D1 = Timeframe.M1, Timeframe.M5, Timeframe.D1
MINUTE = 60_000
#: The start of a minute, and of every other timeframe up to the week: a Monday, 00:00 UTC.
NOW = 1_709_510_400_000


class Provider:
    """A BarSource that answers what it was told, when it is let."""

    def __init__(self, *bars: Bar, error: Exception | None = None) -> None:
        self.bars = bars
        self.error = error
        self.calls: list[tuple[Symbol, Timeframe, int, int]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.busy = 0
        self.busiest = 0

    async def fetch_bars(
        self, symbol: Symbol, timeframe: Timeframe, *, end_ms: int, limit: int
    ) -> Sequence[Bar]:
        self.calls.append((symbol, timeframe, end_ms, limit))
        self.busy += 1
        self.busiest = max(self.busy, self.busiest)
        try:
            await self.open.wait()
        finally:
            self.busy -= 1
        if self.error is not None:
            raise self.error
        return self.bars

    async def wait_for_calls(self, count: int) -> None:
        while len(self.calls) < count:
            await asyncio.sleep(0)


def bar(timestamp: int, price: float = 10.0, volume: float = 0.0) -> Bar:
    return Bar(timestamp=timestamp, open=price, high=price, low=price, close=price, volume=volume)


TEMPORARY = TemporaryProviderError("test", "busy")
PERMANENT = PermanentProviderError("test", "no such symbol")
