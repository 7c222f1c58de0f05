"""The way of updates into a store: behind the hot path, which never waits for it."""

import asyncio
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from types import TracebackType
from typing import Final, Self

import structlog

from stockstream.core.backoff import Backoff
from stockstream.errors import StoreUnavailableError
from stockstream.model import StockUpdate, Symbol
from stockstream.ports import Clock, QuoteStore

_log = structlog.get_logger(__name__)

_BACKOFF: Final = Backoff(initial=0.1, maximum=5.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class WriterState:
    """How the writer does; for readiness and metrics."""

    #: Whether the last attempt to write succeeded; true before the first one.
    healthy: bool
    #: Since when that is so, in ms since the epoch.
    since: int
    #: Why the last attempt failed; None where it did not.
    error: str | None
    #: Updates that wait, those included that are being written.
    pending: int
    #: Updates that were stored since the beginning.
    stored: int
    #: Updates that were given up since the beginning: the queue was full, the writer was closed,
    #: or the store failed in a way that it does not document.
    dropped: int
    #: Attempts to write that found the store unavailable, since the beginning.
    failures: int


class WriteBehind:
    """Implements :class:`stockstream.ports.QuoteRecorder` by one task that writes in batches.

    While the store is unavailable, updates wait and the same batch is tried again, so nothing is
    lost or reordered in a short outage. In a long one the queue fills up; each symbol then gives up
    the older half of what waits, and keeps its newest. Where there are so many symbols that this is
    not enough, the updates that have waited longest go.

    Args:
        store: where updates go to; it stays open when the writer closes.
        clock: what waits between attempts.
        random: scatters the attempts of many nodes.
        backoff: how long to wait after failures in a row.
        max_pending: most updates that wait, besides the batch that is being written; one takes
            about half a kilobyte.
        batch_size: most updates in one call of the store.
    """

    def __init__(
        self,
        store: QuoteStore,
        *,
        clock: Clock,
        random: Random,
        backoff: Backoff = _BACKOFF,
        max_pending: int = 100_000,
        batch_size: int = 500,
    ) -> None:
        self._store = store
        self._clock = clock
        self._random = random
        self._backoff = backoff
        self._max_pending = max_pending
        self._batch_size = batch_size
        # Updates with their numbers, in the order of their being submitted.
        self._pending: deque[tuple[int, StockUpdate]] = deque()
        self._writing: list[tuple[int, StockUpdate]] = []
        self._submitted = 0
        self._stored = 0
        self._dropped = 0
        self._failures = 0
        self._failures_in_a_row = 0
        self._error: str | None = None
        self._since = clock.time_ms()
        self._wake = asyncio.Event()
        # Set, and replaced by a new one, whenever an attempt to write has ended.
        self._attempted = asyncio.Event()
        self._rest: asyncio.Task[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._closing = False

    @property
    def state(self) -> WriterState:
        """How the writer does now."""
        return WriterState(
            healthy=self._error is None,
            since=self._since,
            error=self._error,
            pending=len(self._pending) + len(self._writing),
            stored=self._stored,
            dropped=self._dropped,
            failures=self._failures,
        )

    def submit(self, updates: Sequence[StockUpdate]) -> None:
        """See :meth:`stockstream.ports.QuoteRecorder.submit`; once closed, it only counts them."""
        if self._closing:
            self._dropped += len(updates)
            return
        for update in updates:
            self._submitted += 1
            self._pending.append((self._submitted, update))
        if len(self._pending) > self._max_pending:
            self._shed()
        self._wake.set()

    async def flush(self, within: float) -> bool:
        """See :meth:`stockstream.ports.QuoteRecorder.flush`.

        While the store is known to be unavailable, the answer is False at once. What was dropped
        is not waited for.
        """
        last = self._submitted
        try:
            async with asyncio.timeout(within):
                while self._waits(last):
                    if self._error is not None:
                        return False
                    await self._attempted.wait()
        except TimeoutError:
            return False
        return True

    async def __aenter__(self) -> Self:
        """Begin to write."""
        self._task = asyncio.create_task(self._run(), name="write-behind")
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close."""
        await self.aclose()

    async def aclose(self, within: float = 5.0) -> int:
        """Store what was accepted, then end; calling it twice does no harm.

        Args:
            within: seconds that this may take. What an attempt that was cut off had stored is
                stored, and counted as dropped all the same.

        Returns:
            How many updates could not be stored in time; they are counted as dropped.
        """
        self._closing = True
        self._wake.set()
        if self._rest is not None:
            self._rest.cancel()
        task, self._task = self._task, None
        if task is not None:
            try:
                await asyncio.wait((task,), timeout=within)
            finally:
                task.cancel()
            await asyncio.wait((task,))
        return self._give_up_the_rest()

    async def _run(self) -> None:
        while not self._closing or self._pending:
            await self._wake.wait()
            self._wake.clear()
            while self._pending:
                await self._write_batch()

    async def _write_batch(self) -> None:
        size = min(self._batch_size, len(self._pending))
        self._writing = [self._pending.popleft() for _ in range(size)]
        batch = [update for _, update in self._writing]
        while not await self._stores(batch):
            await self._pause(self._backoff.delay(self._failures_in_a_row, self._random))

    async def _stores(self, batch: Sequence[StockUpdate]) -> bool:
        """Try once; return whether the batch is done with."""
        try:
            await self._store.append(batch)
        except StoreUnavailableError as error:
            self._note_failure(error)
            return False
        # The border of the task: an error that no store documents must not end all writing.
        except Exception:  # noqa: BLE001 - logged with what was lost
            _log.exception("updates_lost", count=len(batch))
            self._dropped += len(batch)
        else:
            self._stored += len(batch)
            self._note_success()
        self._writing = []
        self._end_attempt()
        return True

    def _note_failure(self, error: StoreUnavailableError) -> None:
        if self._error is None:
            self._since = self._clock.time_ms()
            _log.warning("store_unavailable", error=str(error))
        self._error = str(error)
        self._failures += 1
        self._failures_in_a_row += 1
        self._end_attempt()

    def _note_success(self) -> None:
        if self._error is not None:
            now = self._clock.time_ms()
            _log.info("store_available", outage_ms=now - self._since, pending=len(self._pending))
            self._since = now
        self._error = None
        self._failures_in_a_row = 0

    def _end_attempt(self) -> None:
        self._attempted.set()
        self._attempted = asyncio.Event()

    async def _pause(self, seconds: float) -> None:
        # A task of its own, so that closing can end the rest without ending the writer.
        self._rest = asyncio.create_task(self._clock.sleep(seconds))
        try:
            await asyncio.wait((self._rest,))
        finally:
            self._rest.cancel()
            self._rest = None

    def _waits(self, number: int) -> bool:
        """Return whether an update up to that number is not stored yet."""
        oldest = self._writing or self._pending
        return bool(oldest) and oldest[0][0] <= number

    def _shed(self) -> None:
        before = len(self._pending)
        surplus = Counter(update.symbol for _, update in self._pending)
        for symbol, waiting in surplus.items():
            surplus[symbol] = waiting // 2
        self._pending = deque(item for item in self._pending if not _gives_up(item, surplus))
        # A queue that were still almost full would have to be gone through again at once.
        while len(self._pending) > self._max_pending * 3 // 4:
            self._pending.popleft()
        shed = before - len(self._pending)
        self._dropped += shed
        _log.warning("updates_shed", count=shed, pending=len(self._pending))

    def _give_up_the_rest(self) -> int:
        lost = len(self._writing) + len(self._pending)
        if lost:
            _log.warning("updates_not_stored", count=lost, error=self._error)
        self._dropped += lost
        self._writing = []
        self._pending.clear()
        return lost


def _gives_up(item: tuple[int, StockUpdate], surplus: Counter[Symbol]) -> bool:
    """Return whether the update is one of those that its symbol has too many of."""
    symbol = item[1].symbol
    surplus[symbol] -= 1
    return surplus[symbol] >= 0
