"""Keeps the history small: days that are over are packed and rolled up, old ones forgotten."""

from random import Random
from typing import Final

import structlog

from stockstream.errors import StockstreamError
from stockstream.model import Timeframe
from stockstream.ports import Clock, HistoryStore
from stockstream.services.calendars import Calendars

_log = structlog.get_logger(__name__)

_DAY_MS: Final = Timeframe.D1.duration_ms
#: Seconds between two rounds.
_INTERVAL: Final = 600.0
#: How long after its end a day is packed, in ms: nearly all that is late has come by then.
_SETTLED_MS: Final = 600_000
#: Days looked up at once.
_DAYS: Final = 100


class HistoryUpkeep:
    """Seals days and forgets old ones, in rounds.

    Ages are measured from the newest minute that is stored, where that is before now: a recording
    of last year does not expire while it is played.

    Args:
        store: whose upkeep it is.
        calendars: where trading days end.
        clock: the time.
        random: has many nodes take their rounds at different times.
        tick_days: how many days ticks are kept.
        minute_days: how many days minutes are kept; what they are rolled up to stays.
    """

    def __init__(
        self,
        store: HistoryStore,
        calendars: Calendars,
        *,
        clock: Clock,
        random: Random,
        tick_days: float,
        minute_days: float,
    ) -> None:
        self._store = store
        self._calendars = calendars
        self._clock = clock
        self._random = random
        self._tick_ms = round(tick_days * _DAY_MS)
        self._minute_ms = round(minute_days * _DAY_MS)
        #: Days that were packed since the beginning.
        self.sealed = 0

    async def run(self) -> None:
        """Take a round now and then, until cancelled."""
        while True:
            await self._clock.sleep(_INTERVAL * (0.5 + self._random.random()))
            try:
                await self.look()
            except StockstreamError as error:
                _log.info("history_not_kept_small", error=str(error))
            # The border of the task: the next round may do better.
            except Exception:  # noqa: BLE001 - logged with what is left as it is
                _log.exception("history_not_kept_small")

    async def look(self) -> None:
        """Take one round.

        Raises:
            StoreUnavailableError: the store can't be reached.
            UnavailableError: a calendar can't be had.
        """
        newest = await self._store.newest_ms()
        if newest is None:
            return
        now = min(newest + Timeframe.M1.duration_ms, self._clock.time_ms())
        while days := await self._store.unsealed(now - _SETTLED_MS, _DAYS):
            for symbol, day in days:
                await self._store.seal(symbol, day, await self._calendars.days(symbol))
                self.sealed += 1
        await self._store.expire(
            ticks_before_ms=now - self._tick_ms, minutes_before_ms=now - self._minute_ms
        )
