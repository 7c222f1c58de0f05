"""The way of ticks and bars into the history: behind the hot path, which never waits for it."""

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final, NamedTuple

import structlog

from stockstream.core.backoff import Backoff
from stockstream.core.bar_parts import BarPart
from stockstream.core.bars import MinuteBars
from stockstream.errors import StoreUnavailableError
from stockstream.model import Bar, Quote, Symbol, Tick, Timeframe
from stockstream.ports import Clock, CountedMinute, HistoryStore

_log = structlog.get_logger(__name__)

_BACKOFF: Final = Backoff(initial=0.2, maximum=5.0)
#: Seconds between two writings: what a node that is killed may lose.
INTERVAL: Final = 0.5
#: Most ticks, or minutes, in one call of the store.
_BATCH: Final = 1_000
#: Most answers of a provider that wait.
_MOST_ANSWERS: Final = 1_000


class ProvidedBars(NamedTuple):
    """Finished bars of a provider, to be stored; see :meth:`HistoryStore.put_bars`."""

    symbol: Symbol
    timeframe: Timeframe
    bars: Sequence[Bar]
    covered: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryState:
    """How the writing of the history does; all counts are since the beginning."""

    #: Why the last attempt failed; None where it did not.
    error: str | None
    #: Ticks that wait, and symbols whose minutes have changed.
    pending_ticks: int
    pending_symbols: int
    #: What was stored, by kind: ``ticks``, ``minutes``, ``bars``.
    written: Mapping[str, int]
    #: What was given up, by kind: too much waited, or the store would not have it.
    shed: Mapping[str, int]
    #: Attempts that found the store unavailable.
    failures: int


class HistoryWriter:
    """Stores what it is handed, in batches, by one task: :meth:`run`.

    While the store is unavailable, ticks wait in a queue, of which the oldest leave when it is
    full; minutes wait where they are counted, for two days; answers of a provider, which can be
    had again, leave before all else.

    Args:
        store: where everything goes to; it stays open.
        clock: what waits between attempts.
        random: scatters the attempts of many nodes.
        keep_ticks: whether ticks are stored.
        max_ticks: most ticks that wait; one takes about 200 bytes.
    """

    def __init__(
        self,
        store: HistoryStore,
        *,
        clock: Clock,
        random: Random,
        keep_ticks: bool = True,
        max_ticks: int = 100_000,
    ) -> None:
        self._store = store
        self._clock = clock
        self._random = random
        self._keep_ticks = keep_ticks
        self._max_ticks = max_ticks
        self._ticks: deque[Tick] = deque()
        #: Those that are being stored, or are tried again.
        self._batch: list[Tick] = []
        self._changed: dict[Symbol, MinuteBars] = {}
        #: Symbols whose minutes are being stored.
        self._in_flight: frozenset[Symbol] = frozenset()
        self._provided: deque[ProvidedBars] = deque()
        #: Time and number of each symbol's newest tick, and how many came late.
        self._numbers: dict[Symbol, tuple[int, int]] = {}
        self._late: Counter[Symbol] = Counter()
        self._written = Counter(dict.fromkeys(("ticks", "minutes", "bars"), 0))
        self._shed = self._written.copy()
        self._shedding = False
        self._reached = False
        self._failures = 0
        self._failures_in_a_row = 0
        self._error: str | None = None

    @property
    def state(self) -> HistoryState:
        """How the writing does now."""
        shed = self._shed.copy()
        shed["minutes"] += sum(minutes.lost for minutes in self._changed.values())
        return HistoryState(
            error=self._error,
            pending_ticks=len(self._ticks) + len(self._batch),
            pending_symbols=len(self._changed.keys() | self._in_flight),
            written=self._written,
            shed=shed,
            failures=self._failures,
        )

    @property
    def shed(self) -> int:
        """Ticks and bars that were given up since the beginning."""
        return sum(self.state.shed.values())

    # --- what is handed over ------------------------------------------------------------------

    def take(self, quote: Quote, minutes: MinuteBars, timestamp: int, traded: float) -> None:
        """Take over a quote that was counted; time and volume as in :class:`Tick`."""
        symbol = quote.symbol
        self._changed[symbol] = minutes
        if not self._keep_ticks:
            return
        newest, number = self._numbers.get(symbol, (-1, 0))
        if timestamp >= newest:
            number = number + 1 if timestamp == newest else 0
            self._numbers[symbol] = timestamp, number
        else:
            number = 1_000 + self._late[symbol] % 30_000
            self._late[symbol] += 1
        self._ticks.append(
            Tick(symbol, timestamp, number, quote.price, traded, quote.bid, quote.ask)
        )
        if len(self._ticks) > self._max_ticks:
            self._shed_ticks()

    def holds(self, symbol: Symbol) -> bool:
        """Return whether minutes of a symbol are not stored yet."""
        return symbol in self._changed or symbol in self._in_flight

    def forget(self, symbol: Symbol) -> None:
        """Note that no more quotes of a symbol come for now; what waits is stored all the same."""
        self._numbers.pop(symbol, None)
        self._late.pop(symbol, None)

    def provide(self, provided: ProvidedBars) -> None:
        """Take over finished bars of a provider."""
        self._provided.append(provided)
        if len(self._provided) > _MOST_ANSWERS:
            self._shed["bars"] += len(self._provided.popleft().bars)

    # --- the task -----------------------------------------------------------------------------

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            wrote = await self.write()
            pause = INTERVAL
            if not wrote:
                pause = _BACKOFF.delay(self._failures_in_a_row, self._random)
            await self._clock.sleep(pause)

    async def write(self) -> bool:
        """Store what waits; return whether the store took it. Nothing else writes meanwhile."""
        try:
            if not self._reached:
                # A wrong address is told at the start, not when something is to be written.
                await self._store.ping()
                self._reached = True
            await self._write_ticks()
            await self._write_minutes()
            await self._write_provided()
        except StoreUnavailableError as error:
            self._failures += 1
            self._failures_in_a_row += 1
            if self._error is None:
                _log.warning("history_unavailable", error=str(error))
            self._error = str(error)
            return False
        if self._error is not None:
            _log.info("history_available", written=dict(self._written), shed=dict(self._shed))
        self._error = None
        self._shedding = False
        self._failures_in_a_row = 0
        return True

    async def aclose(self, within: float) -> None:
        """Store what waits, when :meth:`run` has ended; in so many seconds at most."""
        try:
            async with asyncio.timeout(within):
                while self._waits and await self.write():
                    pass
        except TimeoutError:
            self._error = f"no answer within {within:g} s"
        if self._waits:
            _log.warning(
                "history_not_stored",
                ticks=self.state.pending_ticks,
                symbols=len(self._changed),
                error=self._error,
            )

    @property
    def _waits(self) -> bool:
        return bool(self._ticks or self._batch or self._changed or self._provided)

    async def _write_ticks(self) -> None:
        while self._batch or self._ticks:
            if not self._batch:
                size = min(_BATCH, len(self._ticks))
                self._batch = [self._ticks.popleft() for _ in range(size)]
            await self._put("ticks", len(self._batch), self._store.append(self._batch))
            self._batch = []

    async def _write_minutes(self) -> None:
        changed, self._changed = self._changed, {}
        self._in_flight = frozenset(changed)
        batch: dict[Symbol, tuple[MinuteBars, list[BarPart]]] = {}
        size = 0
        try:
            while changed:
                symbol, minutes = changed.popitem()
                self._shed["minutes"] += minutes.lost
                minutes.lost = 0
                batch[symbol] = minutes, minutes.take_changed()
                size += len(batch[symbol][1])
                if size >= _BATCH or not changed:
                    await self._put("minutes", size, self._store.put_minutes(_rows(batch)))
                    batch, size = {}, 0
        except BaseException:
            # Also where it was cancelled: whether it was stored does not matter.
            for symbol, (minutes, parts) in batch.items():
                minutes.put_back(parts)
                self._changed[symbol] = minutes
            self._changed.update(changed)
            raise
        finally:
            self._in_flight = frozenset()

    async def _write_provided(self) -> None:
        while self._provided:
            first = self._provided[0]
            await self._put("bars", len(first.bars), self._store.put_bars(*first))
            if self._provided and self._provided[0] is first:
                self._provided.popleft()

    async def _put(self, kind: str, count: int, call: Awaitable[None]) -> None:
        try:
            await call
        except StoreUnavailableError:
            raise
        # The border of the task: what the store will never take must not hold up the rest.
        except Exception:  # noqa: BLE001 - logged with what was lost
            _log.exception("history_lost", kind=kind, count=count)
            self._shed[kind] += count
        else:
            self._written[kind] += count

    def _shed_ticks(self) -> None:
        # Some more than needed, so that the next tick does not have to look again.
        surplus = self._max_ticks // 20 + 1
        for _ in range(surplus):
            self._ticks.popleft()
        self._shed["ticks"] += surplus
        if not self._shedding:
            self._shedding = True
            _log.warning("ticks_shed", waiting=len(self._ticks), error=self._error)


def _rows(batch: Mapping[Symbol, tuple[MinuteBars, Sequence[BarPart]]]) -> list[CountedMinute]:
    return [
        CountedMinute(symbol, minutes.run, part)
        for symbol, (minutes, parts) in batch.items()
        if minutes.run is not None
        for part in parts
    ]
