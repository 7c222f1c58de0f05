"""Asks the provider for bars that nobody has asked for yet, and stores them."""

import asyncio
from collections import Counter, OrderedDict
from typing import Final

import structlog

from stockstream.core.bar_reading import BarQuery
from stockstream.core.spans import gaps
from stockstream.errors import ProviderError, UnavailableError
from stockstream.model import Bar, Symbol
from stockstream.ports import Clock, HistoryStore
from stockstream.provider_ports import BarSource
from stockstream.services.bar_history import cleaned
from stockstream.services.stored_series import Series

_log = structlog.get_logger(__name__)

#: Bars in one request to the provider.
_PAGE: Final = 1_000
#: Most requests to the provider for one asker, and the seconds that he waits for them.
_MOST_REQUESTS: Final = 120
_PATIENCE: Final = 15.0
#: Seconds that the provider has to answer one.
_TIMEOUT: Final = 10.0
#: Requests to the provider a second, over time, and how many may come at once: what clients ask for
#: is stored, and must not fill a disk over night.
_REQUESTS_PER_SECOND: Final = 2.0
_BURST: Final = 600.0
#: Series that are filled at once, and how many may wait besides.
_CONCURRENT: Final = 2
_MOST_WAITING: Final = 500
#: Seconds until a provider that failed, or refused for good, is asked again.
_RETRY: Final = 5.0
_REFUSED_RETRY: Final = 60.0
_MOST_RESTING: Final = 10_000


class Backfill:
    """Fills gaps in what is stored of the provider's bars; one series is filled once at a time.

    Args:
        source: the provider.
        store: knows what the provider was asked for, and keeps what it says.
        clock: the time.
    """

    def __init__(self, source: BarSource, store: HistoryStore, clock: Clock) -> None:
        self._source = source
        self._store = store
        self._clock = clock
        self._tasks: dict[Series, asyncio.Task[None]] = {}
        self._resting: OrderedDict[Series, float] = OrderedDict()
        self._turn = asyncio.Semaphore(_CONCURRENT)
        self._waiting = 0
        #: Requests that may be sent now, as of that monotonic time.
        self._budget = _BURST
        self._budget_at = clock.monotonic()
        #: Requests sent to the provider, those that failed, and askers that were sent away.
        self.requests = Counter({"sent": 0, "failed": 0, "shed": 0})

    async def fill(self, symbol: Symbol, query: BarQuery) -> None:
        """Have what a query is about stored, as far as the provider has it.

        All who ask for a series meanwhile wait for the same requests. Cancelling is safe: they go
        on. Where the provider fails, what was stored before stays.

        Args:
            symbol: whose bars.
            query: which ones; it ends before the bar that is forming.

        Raises:
            UnavailableError: it takes longer than anybody waits, and goes on; or too many wait.
            StoreUnavailableError: the store can't be reached.
        """
        series = Series(symbol, query.timeframe)
        if self._resting.get(series, 0.0) > self._clock.monotonic():
            return
        if self._waiting >= _MOST_WAITING:
            self.requests["shed"] += 1
            raise UnavailableError("too many bars are being asked for", symbol=symbol)
        self._waiting += 1
        try:
            async with asyncio.timeout(_PATIENCE):
                while (task := self._tasks.get(series)) is not None:
                    # Of another stretch, maybe.
                    await asyncio.wait((task,))
                task = self._start(series, query)
                await asyncio.wait((task,))
        except TimeoutError:
            raise UnavailableError(
                f"the bars of {symbol} are being fetched: ask again", symbol=symbol
            ) from None
        finally:
            self._waiting -= 1
        if task.cancelled():
            raise UnavailableError("the server is shutting down", symbol=symbol)
        task.result()

    async def aclose(self) -> None:
        """Give up what is under way."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _start(self, series: Series, query: BarQuery) -> "asyncio.Task[None]":
        task = asyncio.create_task(self._fill(series, query), name=f"backfill {series.symbol}")
        self._tasks[series] = task

        def ended(task: "asyncio.Task[None]") -> None:
            del self._tasks[series]
            # Whoever asked may have left.
            if not task.cancelled():
                task.exception()

        task.add_done_callback(ended)
        return task

    async def _fill(self, series: Series, query: BarQuery) -> None:
        pages = 1
        async with self._turn:
            for _ in range(_MOST_REQUESTS):
                gap = await self._next_gap(series, query)
                if gap is None:
                    return
                if not self._may_ask():
                    break
                bars = await self._ask(series, gap, query, pages)
                if bars is None:
                    return
                # Where there is nothing, nothing may be for long.
                pages = 1 if bars else pages * 4
        raise UnavailableError(
            f"the bars of {series.symbol} are being fetched: ask again", symbol=series.symbol
        )

    async def _next_gap(self, series: Series, query: BarQuery) -> tuple[int, int] | None:
        """Return what is to be asked for next; None where what is known will do."""
        covered = await self._store.covered(*series)
        missing = gaps(covered, query.start_ms, query.end_ms)
        if not missing:
            return None
        gap = missing[-1] if query.newest else missing[0]
        start, end = (gap[1], query.end_ms) if query.newest else (query.start_ms, gap[0])
        if start < end and await self._holds_enough(series.symbol, query, start, end):
            return None
        return gap

    async def _holds_enough(self, symbol: Symbol, query: BarQuery, start: int, end: int) -> bool:
        known = BarQuery(
            timeframe=query.timeframe,
            spans=query.spans,
            limit=query.limit,
            start_ms=start,
            end_ms=end,
            newest=query.newest,
        )
        return len((await self._store.bars(symbol, known)).bars()) >= query.limit

    async def _ask(
        self, series: Series, gap: tuple[int, int], query: BarQuery, pages: int
    ) -> list[Bar] | None:
        """Ask for a page of a gap and store it; None where the provider fails."""
        start, end = gap
        if not query.newest:
            end = min(end, start + pages * _PAGE * series.timeframe.duration_ms)
        self.requests["sent"] += 1
        try:
            async with asyncio.timeout(_TIMEOUT):
                found = await self._source.fetch_bars(*series, end_ms=end, limit=_PAGE)
        except (ProviderError, TimeoutError) as error:
            self.requests["failed"] += 1
            retryable = not isinstance(error, ProviderError) or error.retryable
            self._rest(series, _RETRY if retryable else _REFUSED_RETRY)
            _log.warning("bars_not_fetched", symbol=series.symbol, error=str(error) or "no answer")
            return None
        # Before a short page there is nothing.
        first = found[0].timestamp if len(found) >= _PAGE else 0
        bars = [bar for bar in cleaned(found, *series) if bar.timestamp < end]
        await self._store.put_bars(*series, bars, (min(first, end), end))
        return [bar for bar in bars if bar.timestamp >= start]

    def _may_ask(self) -> bool:
        now = self._clock.monotonic()
        earned = (now - self._budget_at) * _REQUESTS_PER_SECOND
        self._budget, self._budget_at = min(_BURST, self._budget + earned), now
        if self._budget < 1:
            self.requests["shed"] += 1
            return False
        self._budget -= 1
        return True

    def _rest(self, series: Series, seconds: float) -> None:
        self._resting[series] = self._clock.monotonic() + seconds
        self._resting.move_to_end(series)
        if len(self._resting) > _MOST_RESTING:
            self._resting.popitem(last=False)
