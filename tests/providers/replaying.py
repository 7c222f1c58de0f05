"""Recordings for tests, and who takes what is replayed of them."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Self

from stockstream.model import Quote, Symbol
from stockstream.providers.replay import ReplayProvider
from stockstream.providers.tick_file import HEADER
from tests.support.processes import ROOT

SLICE = ROOT / "tests" / "data" / "ticks_fx_20140506_1224.csv.gz"
EURUSD, NZDUSD, XAUUSD = Symbol("EURUSD"), Symbol("NZDUSD"), Symbol("XAUUSD")
A, B = Symbol("A"), Symbol("B")
Replay = Callable[..., ReplayProvider]


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join((HEADER, *lines)) + "\n")
    return path


def ticks(*times: int, symbol: Symbol = A) -> list[str]:
    return [f"{time},{symbol},{1 + time / 1000},,," for time in times]


def times(quotes: Sequence[Quote]) -> list[int | None]:
    return [quote.timestamp for quote in quotes]


async def take_all(provider: ReplayProvider) -> list[Quote]:
    async with aclosing(provider.stream()) as stream:
        return [quote async for batch in stream for quote in batch]


class Taker:
    """Takes whatever comes, in the background."""

    def __init__(self, provider: ReplayProvider) -> None:
        self.quotes: list[Quote] = []
        self.batches: list[int] = []
        self._provider = provider
        self._task = asyncio.create_task(self._take())

    async def _take(self) -> None:
        async with aclosing(self._provider.stream()) as stream:
            async for batch in stream:
                self.quotes.extend(batch)
                self.batches.append(len(batch))

    @property
    def times(self) -> list[int | None]:
        return times(self.quotes)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.wait({self._task})

    async def done(self) -> None:
        await self._task
