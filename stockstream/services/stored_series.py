"""Bars that are stored, continued by those that are counted here."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import structlog

from stockstream.core.bar_reading import FOREVER, BarQuery, StoredBars
from stockstream.core.bars import MinuteBars
from stockstream.core.spans import Spans
from stockstream.errors import StoreUnavailableError, UnavailableError
from stockstream.model import Bar, Symbol, Timeframe
from stockstream.ports import Clock, HistoryStore

_log = structlog.get_logger(__name__)

#: Seconds that what was read counts as fresh: with a counting of our own that continues it, and
#: without; and until a store that failed is asked again.
_FRESH: Final = 60.0
_FRESH_ALONE: Final = 2.0
_RETRY: Final = 5.0
#: Most bars remembered; the series that were asked for least recently leave first.
_MOST_BARS: Final = 200_000
#: More minutes than a counting keeps.
_ALL: Final = 10_000


class Series(NamedTuple):
    """Bars of one length of one symbol."""

    symbol: Symbol
    timeframe: Timeframe


class _Key(NamedTuple):
    series: Series
    depth: int


@dataclass(slots=True, kw_only=True, eq=False)
class Kept:
    """What was read of a series: its newest bars."""

    series: Series
    stored: StoredBars
    #: The counting that continues it.
    minutes: MinuteBars | None
    #: Until when it counts as fresh, in monotonic seconds.
    expires: float

    def bars(self, spans: Spans) -> Sequence[Bar]:
        """Return them with those that were counted since."""
        if self.minutes is None:
            return self.stored.bars()
        limit = self.stored.query.limit
        return self.stored.bars(self.minutes.bars(spans, limit, self.stored.until))

    def continues(self, minutes: MinuteBars | None) -> bool:
        """Return whether that counting goes on from it without a gap."""
        if self.minutes is not minutes:
            return False
        return minutes is None or (minutes.oldest or 0) <= self.stored.until


class StoredSeries:
    """Reads series, each once for all who ask meanwhile, and remembers their newest bars."""

    def __init__(self, store: HistoryStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._kept: OrderedDict[_Key, Kept] = OrderedDict()
        self._weight = 0
        self._reading: dict[_Key, asyncio.Task[Kept]] = {}

    async def newest(
        self, series: Series, spans: Spans, depth: int, minutes: MinuteBars | None
    ) -> Kept:
        """Return the newest ``depth`` bars; only those counted here while the store is away.

        Cancelling harms no other asker.

        Args:
            series: which ones.
            spans: the stretches of time that they are.
            depth: how many.
            minutes: our own counting of the symbol.
        """
        key = _Key(series, depth)
        kept = self._kept.get(key)
        if kept is not None and kept.continues(minutes) and self._clock.monotonic() < kept.expires:
            self._kept.move_to_end(key)
            return kept
        task = self._reading.get(key)
        if task is None:
            task = asyncio.create_task(self._read(key, spans, minutes))
            self._reading[key] = task
            task.add_done_callback(lambda _: self._reading.pop(key))
        await asyncio.wait((task,))
        if task.cancelled():
            raise UnavailableError("the server is shutting down", symbol=series.symbol)
        return task.result()

    async def stretch(
        self, symbol: Symbol, query: BarQuery, minutes: MinuteBars | None
    ) -> Sequence[Bar]:
        """Return the bars of a query, with those that were counted here.

        Raises:
            StoreUnavailableError: the store can't be reached.
        """
        stored, _ = await self._read_on(symbol, query, minutes)
        live = minutes.bars(query.spans, _ALL, stored.until) if minutes is not None else ()
        return stored.bars(live)

    def drop(self, symbol: Symbol) -> None:
        """Forget what is remembered of a symbol: more has been stored."""
        for key in [key for key in self._kept if key.series.symbol == symbol]:
            self._remove(key)

    async def aclose(self) -> None:
        """Give up what is being read."""
        tasks = list(self._reading.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _read(self, key: _Key, spans: Spans, minutes: MinuteBars | None) -> Kept:
        forming = minutes.forming if minutes is not None else None
        query = BarQuery(
            timeframe=key.series.timeframe,
            spans=spans,
            limit=key.depth,
            # What is later was stored when the same recording was played before.
            end_ms=FOREVER if forming is None else spans.floor(forming.timestamp) + 1,
        )
        fresh = _FRESH_ALONE if minutes is None else _FRESH
        try:
            stored, continues = await self._read_on(key.series.symbol, query, minutes)
            if not continues:
                fresh = 0.0
        except StoreUnavailableError as error:
            _log.info("bars_not_read", symbol=key.series.symbol, error=str(error))
            stored, fresh = StoredBars(query=query, counted=(), until=0, provided=()), _RETRY
        stored = replace(stored, query=replace(query, end_ms=FOREVER))
        kept = Kept(
            series=key.series,
            stored=stored,
            minutes=minutes,
            expires=self._clock.monotonic() + fresh,
        )
        self._remember(key, kept)
        return kept

    async def _read_on(
        self, symbol: Symbol, query: BarQuery, minutes: MinuteBars | None
    ) -> tuple[StoredBars, bool]:
        """Read up to where our own counting begins; whether that was reached comes second."""
        stored = await self._read_up_to(symbol, query, minutes)
        if minutes is not None and (minutes.oldest or 0) > stored.until:
            # Our oldest minutes have left meanwhile; they don't do so twice.
            stored = await self._read_up_to(symbol, query, minutes)
        return stored, minutes is None or (minutes.oldest or 0) <= stored.until

    async def _read_up_to(
        self, symbol: Symbol, query: BarQuery, minutes: MinuteBars | None
    ) -> StoredBars:
        since = FOREVER if minutes is None or minutes.oldest is None else minutes.oldest
        return await self._store.bars(symbol, replace(query, counted_before=since))

    def _remember(self, key: _Key, kept: Kept) -> None:
        self._remove(key)
        self._kept[key] = kept
        self._weight += key.depth
        while self._weight > _MOST_BARS:
            self._remove(next(iter(self._kept)))

    def _remove(self, key: _Key) -> None:
        if self._kept.pop(key, None) is not None:
            self._weight -= key.depth
