"""Has a counting that begins go on from what others counted before it."""

import asyncio
from random import Random
from typing import Final

import structlog

from stockstream.core.backoff import Backoff
from stockstream.core.bars import MinuteBars
from stockstream.errors import StoreUnavailableError
from stockstream.model import Symbol, Timeframe
from stockstream.ports import Clock, HistoryStore

_log = structlog.get_logger(__name__)

_BACKOFF: Final = Backoff(initial=0.2, maximum=5.0)
#: Seconds that whoever asks for bars waits for that.
_PATIENCE: Final = 1.0
#: Before the first quote, in ms: late ones may still correct what was counted then.
_BEFORE: Final = 5 * Timeframe.M1.duration_ms


class Inheritance:
    """Reads what others counted of the minutes of a counting, one symbol after the other."""

    def __init__(self, store: HistoryStore, clock: Clock, random: Random) -> None:
        self._store = store
        self._clock = clock
        self._random = random
        self._heirs: dict[Symbol, MinuteBars] = {}
        self._wake = asyncio.Event()
        #: Whether heirs are served; not before the task runs, nor while the store is away.
        self._serving = False
        self._served = asyncio.Event()

    def claim(self, symbol: Symbol, minutes: MinuteBars) -> None:
        """Let a counting go on from what is stored, as soon as that is read."""
        self._heirs[symbol] = minutes
        self._wake.set()

    async def settle(self, symbol: Symbol) -> None:
        """Wait a moment for what a counting goes on from; not where that may take long."""
        try:
            async with asyncio.timeout(_PATIENCE):
                while self._serving and symbol in self._heirs:
                    await self._served.wait()
        except TimeoutError:
            return

    async def run(self) -> None:
        """Read until cancelled; while the store is away, heirs wait."""
        failures = 0
        self._serving = True
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._heirs:
                symbol, minutes = next(iter(self._heirs.items()))
                try:
                    await self._inherit(symbol, minutes)
                except StoreUnavailableError:
                    failures += 1
                    self._move(serving=False)
                    await self._clock.sleep(_BACKOFF.delay(failures, self._random))
                    continue
                # The border of the task: one symbol's fault is not that of the others.
                except Exception:  # noqa: BLE001 - logged with what is missing
                    _log.exception("minute_not_continued", symbol=symbol)
                failures = 0
                if self._heirs[symbol] is minutes:
                    del self._heirs[symbol]
                self._move(serving=True)

    def _move(self, *, serving: bool) -> None:
        self._serving = serving
        self._served.set()
        self._served = asyncio.Event()

    async def _inherit(self, symbol: Symbol, minutes: MinuteBars) -> None:
        first, forming = minutes.oldest, minutes.forming
        if first is not None and forming is not None:
            end = forming.timestamp + Timeframe.M1.duration_ms
            # Some of our own may be stored already, and is no inheritance.
            others = await self._store.minutes(symbol, first - _BEFORE, end, but_run=minutes.run)
            minutes.inherit(others)
