"""What the services need from the outside world; each docstring is the contract of a port.

Read this first; what providers and stores of documents keep to is in files of their own. Every
port has an in-memory and a real implementation, and one suite of contract tests runs against both.
Cancelling any coroutine of a port is safe: it either happened as a whole or not at all, unless its
docstring says otherwise.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from stockstream.core.bar_parts import BarPart
from stockstream.core.bar_reading import BarQuery, StoredBars
from stockstream.core.spans import SessionDays
from stockstream.model import Bar, Position, StockUpdate, Symbol, Tick, Timeframe


class Clock(Protocol):
    """Time, so that tests can make it pass."""

    def time_ms(self) -> int:
        """Return the wall clock in ms since the epoch; it may jump, in both directions."""
        ...

    def monotonic(self) -> float:
        """Return seconds on a clock that never goes back; only differences mean anything."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after ``seconds`` on the monotonic clock; 0 gives way to others once."""
        ...


class QuoteCache(Protocol):
    """The current value of each symbol (documented, section 4.1).

    A value that was neither put nor touched for 300 s is gone.
    """

    async def get(self, symbol: Symbol) -> StockUpdate | None:
        """Return the current value, or None where there is none.

        Raises:
            StoreUnavailableError: the store can't be reached; None would claim that it is empty.
        """
        ...

    async def touch(self, symbols: Sequence[Symbol]) -> None:
        """Keep the values of symbols that still stream, though their prices stand still.

        Raises:
            StoreUnavailableError: the store can't be reached.
        """
        ...


class QuoteHistory(Protocol):
    """The last updates of each symbol (documented, section 4.1): at most 1,000."""

    async def newest(self, symbol: Symbol, limit: int) -> Sequence[StockUpdate]:
        """Return at most ``limit`` updates, the newest first.

        Raises:
            StoreUnavailableError: the store can't be reached.
        """
        ...

    async def after(self, symbol: Symbol, offset: int) -> Sequence[StockUpdate] | None:
        """Return every update whose ``offset`` is greater, in order; empty where there is none.

        Returns None where that can't be said without a gap: what is held does not reach back to an
        update of at most that ``offset``, nor to the symbol's first one.

        Raises:
            StoreUnavailableError: the store can't be reached.
        """
        ...

    async def since(self, symbol: Symbol, position: Position) -> Sequence[StockUpdate] | None:
        """Return every update after ``position``, in order of ``seq``; empty where there is none.

        Returns None where that can't be said without a gap: another epoch, updates that are no
        longer held, or a position ahead of what is held.

        Raises:
            StoreUnavailableError: the store can't be reached.
        """
        ...


class QuoteStore(QuoteCache, QuoteHistory, Protocol):
    """Current value and history of each symbol, written together."""

    async def append(self, updates: Sequence[StockUpdate]) -> None:
        """Make each update its symbol's current value and its history's newest.

        Updates of one symbol come in order of ``seq``, and their times do not go back within an
        epoch; an epoch that begins at an earlier time (a recording played again) replaces what
        others hold from that time on. Value and history of a symbol change in one
        atomic step. Appending an update twice changes nothing the second time, so a caller that
        does not know whether it happened may try again.

        Raises:
            StoreUnavailableError: none, some or all of the updates were stored.
        """
        ...

    async def ping(self) -> None:
        """Answer when the store can be used.

        Raises:
            StoreUnavailableError: it can't.
        """
        ...

    async def aclose(self) -> None:
        """Let go of connections; calling it twice does no harm."""
        ...


@dataclass(frozen=True, slots=True)
class CountedMinute:
    """What one counting of a symbol's quotes saw of a minute."""

    symbol: Symbol
    #: Names the counting; no other one ever has this number.
    run: int
    part: BarPart


class TickStore(Protocol):
    """Where ticks go to."""

    async def append(self, ticks: Sequence[Tick]) -> None:
        """Keep ticks, in any order; one that is there already stays as it is.

        Raises:
            StoreUnavailableError: none or all of them were kept.
        """
        ...


class HistoryStore(TickStore, Protocol):
    """What happened: ticks for days, bars for years. Nothing of it is needed to send prices.

    Each call happens as a whole or not at all, and whatever it stores may be stored again without
    harm. Cancelling a call leaves open whether it happens.
    """

    async def put_minutes(self, minutes: Sequence[CountedMinute]) -> None:
        """Keep what was counted, each in place of what the same counting said of that minute.

        Raises:
            StoreUnavailableError: it can't be said whether they were kept.
        """
        ...

    async def put_bars(
        self, symbol: Symbol, timeframe: Timeframe, bars: Sequence[Bar], covered: tuple[int, int]
    ) -> None:
        """Keep finished bars of a provider; they win over what was counted.

        Args:
            symbol: whose bars they are.
            timeframe: their length.
            bars: labelled as ours are, in any order.
            covered: from when to before when (ms) the provider was asked: what is not among the
                bars does not exist there.

        Raises:
            StoreUnavailableError: it can't be said whether they were kept.
        """
        ...

    async def covered(self, symbol: Symbol, timeframe: Timeframe) -> Sequence[tuple[int, int]]:
        """Return the stretches (ms) that a provider was asked for, in order, without overlaps.

        Raises:
            StoreUnavailableError: the store can't be reached.
        """
        ...

    async def bars(self, symbol: Symbol, query: BarQuery) -> StoredBars:
        """Return what is stored of some bars; what was just counted may be missing.

        Raises:
            StoreUnavailableError: the store can't be reached, or too many wait for it.
        """
        ...

    async def minutes(
        self, symbol: Symbol, start_ms: int, end_ms: int, *, but_run: int | None = None
    ) -> Sequence[BarPart]:
        """Return what was counted from ``start_ms`` to before ``end_ms``, each minute once.

        Args:
            symbol: of which symbol.
            start_ms: minutes that start before it are left out.
            end_ms: so are those that start at it or later.
            but_run: so is what this counting saw, of days that are not sealed.

        Raises:
            StoreUnavailableError: the store can't be reached, or too many wait for it.
        """
        ...

    async def ticks(
        self, symbol: Symbol, *, start_ms: int, end_ms: int, limit: int
    ) -> Sequence[Tick]:
        """Return the oldest ``limit`` ticks from ``start_ms`` to before ``end_ms``, in order.

        Raises:
            StoreUnavailableError: the store can't be reached, or too many wait for it.
        """
        ...

    async def newest_ms(self) -> int | None:
        """Return when the newest minute that is not sealed starts; None where there is none.

        Raises:
            StoreUnavailableError: the store can't be reached.
        """
        ...

    async def unsealed(self, before_ms: int, limit: int) -> Sequence[tuple[Symbol, int]]:
        """Return days of UTC (their start, in ms) with minutes to be sealed, the oldest first.

        Args:
            before_ms: only days that end at it or before.
            limit: most days returned.

        Raises:
            StoreUnavailableError: the store can't be reached.
        """
        ...

    async def seal(self, symbol: Symbol, day_ms: int, days: SessionDays) -> None:
        """Pack the minutes of a day of UTC, and roll them up to hours and trading days.

        Raises:
            StoreUnavailableError: it can't be said whether it happened.
        """
        ...

    async def expire(self, *, ticks_before_ms: int, minutes_before_ms: int) -> None:
        """Forget ticks and sealed minutes of days that end before; what they rolled up to stays.

        That a provider was asked for such minutes is forgotten too: it may be asked again.

        Raises:
            StoreUnavailableError: it can't be said whether it happened.
        """
        ...

    async def ping(self) -> None:
        """Answer when the store can be used.

        Raises:
            StoreUnavailableError: it can't.
        """
        ...

    async def aclose(self) -> None:
        """Let go of connections; calling it twice does no harm."""
        ...


class QuoteRecorder(Protocol):
    """Takes updates off the hot path and stores them, in order, sooner or later."""

    def submit(self, updates: Sequence[StockUpdate]) -> None:
        """Take over updates without waiting for anything; under pressure the oldest are shed."""
        ...

    async def flush(self, within: float) -> bool:
        """Return whether all that was submitted before is stored, after ``within`` s at most."""
        ...


class QuoteSink(Protocol):
    """Where updates leave the streaming service: towards the clients."""

    def publish(
        self, updates: Sequence[StockUpdate], received: float, encoded: Sequence[bytes] = ()
    ) -> None:
        """Send numbered updates on, in order, without waiting for anything.

        Args:
            updates: those of one symbol in order of ``seq``.
            received: monotonic time in seconds at which their quotes came in.
            encoded: the same as JSON, where somebody has encoded them already.
        """
        ...

    def settle(self, update: StockUpdate) -> None:
        """Give the symbol's state to clients that still wait for their first update of it."""
        ...

    def renew(self, update: StockUpdate) -> None:
        """Give the symbol's state to all its clients: updates before it may be missing."""
        ...
