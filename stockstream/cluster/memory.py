"""The log and the bus of a node that is alone: the same API, no Redis, nothing shared."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from secrets import token_hex
from time import time_ns
from typing import Final

from stockstream.cluster.quote_log import (
    CommitResult,
    Committed,
    Group,
    LoggedState,
    LoggedUpdate,
    SymbolChanges,
)
from stockstream.cluster.watch import BusUpdate, QuoteReceiver
from stockstream.model import Position, Symbol
from stockstream.storage.history import HISTORY_LIMIT

#: Symbols that are remembered; those that were updated longest ago make room.
MAX_SYMBOLS: Final = 10_000


class _Sequence:
    """One symbol: where its numbers stand, and its last updates."""

    __slots__ = ("epoch", "kept", "origin", "price", "seq", "serial")

    def __init__(self, origin: int) -> None:
        self.epoch = ""
        self.seq = 0
        self.price = ""
        self.serial = -1
        #: Every update after this offset is kept.
        self.origin = origin
        self.kept: deque[LoggedUpdate] = deque()


class MemoryQuoteLog:
    """A log for one node; see :class:`stockstream.cluster.quote_log.QuoteLog`.

    Nobody else could own anything, so that no token is stale. Nothing here waits or fails.

    Args:
        max_symbols: most symbols that are remembered.
        time_us: where offsets begin, so that a node that starts anew does not give them again.
    """

    def __init__(
        self,
        *,
        max_symbols: int = MAX_SYMBOLS,
        time_us: Callable[[], int] = lambda: time_ns() // 1_000,
    ) -> None:
        self._max_symbols = max_symbols
        self._offset = self._origin = time_us()
        self._sequences: OrderedDict[Symbol, _Sequence] = OrderedDict()
        self._publish: Callable[[Sequence[BusUpdate]], None] = lambda _: None

    def on_updates(self, publish: Callable[[Sequence[BusUpdate]], None]) -> None:
        """Have someone told of each commit's updates, in order."""
        self._publish = publish

    async def commit(self, groups: Sequence[Group]) -> CommitResult:
        """Number, keep and publish changes, in one step."""
        updates: list[BusUpdate] = []
        committed = [self._commit(c, updates) for group in groups for c in group.symbols]
        if updates:
            self._publish(updates)
        return CommitResult(committed=committed, stale=frozenset())

    async def touch(self, symbols: Sequence[Symbol]) -> None:
        """Do nothing: what stands still is kept."""

    async def state(self, symbol: Symbol) -> LoggedState | None:
        """Return the current value of a symbol; None where there is none."""
        return self.state_now(symbol)

    def state_now(self, symbol: Symbol) -> LoggedState | None:
        """Return the same without a turn of the loop."""
        sequence = self._sequences.get(symbol)
        if sequence is None or not sequence.kept:
            return None
        offset, payload = sequence.kept[-1]
        position = Position(epoch=sequence.epoch, seq=sequence.seq)
        return LoggedState(offset=offset, position=position, price=sequence.price, payload=payload)

    async def since(self, symbol: Symbol, position: Position) -> Sequence[LoggedUpdate] | None:
        """Return every update after a position, or None where that can't be told."""
        sequence = self._sequences.get(symbol)
        if sequence is None or sequence.epoch != position.epoch:
            return None
        missed = sequence.seq - position.seq
        if not 0 <= missed <= len(sequence.kept):
            return None
        return list(sequence.kept)[len(sequence.kept) - missed :]

    async def after(self, symbol: Symbol, offset: int) -> Sequence[LoggedUpdate] | None:
        """Return every update after an offset, or None where one may be missing."""
        sequence = self._sequences.get(symbol)
        if offset < (sequence.origin if sequence else self._origin):
            return None
        return [update for update in sequence.kept if update.offset > offset] if sequence else []

    async def read(
        self, symbols: Sequence[Symbol], offset: int | None
    ) -> list[Sequence[LoggedUpdate] | LoggedState | None]:
        """Return of each symbol what followed an offset, or else its current value."""
        found: list[Sequence[LoggedUpdate] | LoggedState | None] = []
        for symbol in symbols:
            missed = None if offset is None else await self.after(symbol, offset)
            found.append(self.state_now(symbol) if missed is None else missed)
        return found

    async def current_offset(self) -> int:
        """Return the offset of the last update."""
        return self._offset

    def _commit(self, changes: SymbolChanges, updates: list[BusUpdate]) -> Committed:
        sequence = self._sequence(changes.symbol)
        restart = changes.restart or not sequence.epoch
        seqs: list[int] = []
        for change in changes.changes:
            if change.serial <= sequence.serial:
                seqs.append(0)
                continue
            if restart:
                sequence.epoch, sequence.seq, sequence.price = token_hex(6), 0, ""
                restart = False
            if change.price == sequence.price:
                seqs.append(0)
                continue
            sequence.seq += 1
            sequence.price, sequence.serial = change.price, change.serial
            payload = change.payload(sequence.epoch, sequence.seq)
            self._offset += 1
            sequence.kept.append(LoggedUpdate(self._offset, payload))
            if len(sequence.kept) > HISTORY_LIMIT:
                sequence.origin = sequence.kept.popleft().offset
            updates.append(BusUpdate(changes.symbol, self._offset, payload))
            seqs.append(sequence.seq)
        return Committed(changes.symbol, sequence.epoch, seqs)

    def _sequence(self, symbol: Symbol) -> _Sequence:
        sequence = self._sequences.get(symbol)
        if sequence is None:
            sequence = self._sequences[symbol] = _Sequence(self._origin)
            if len(self._sequences) > self._max_symbols:
                self._sequences.popitem(last=False)
                # What was forgotten can't be told any more, of whichever symbol comes back.
                self._origin = self._offset
        self._sequences.move_to_end(symbol)
        return sequence


class MemoryQuoteBus:
    """A bus for one node; see :class:`stockstream.cluster.quote_bus.QuoteBus`.

    A commit's updates are delivered before it returns.

    Args:
        log: whose updates it brings.
        receiver: who takes them.
    """

    hearing: Final = True

    def __init__(self, *, log: MemoryQuoteLog, receiver: QuoteReceiver) -> None:
        self._log = log
        self._receiver = receiver
        # Whether the snapshot of a watched symbol has been delivered.
        self._watched: dict[Symbol, bool] = {}
        #: Every update up to this offset has been delivered.
        self.position = 0
        log.on_updates(self._deliver)

    @property
    def watched(self) -> int:
        """How many symbols are watched."""
        return len(self._watched)

    def watch(self, symbol: Symbol) -> None:
        """Hear a symbol: its snapshot at the turn's end, then every update."""
        if symbol not in self._watched:
            self._watched[symbol] = False
            asyncio.get_running_loop().call_soon(self._start, symbol)

    def unwatch(self, symbol: Symbol) -> None:
        """Hear no more of a symbol, from this moment on."""
        self._watched.pop(symbol, None)

    def _start(self, symbol: Symbol) -> None:
        if self._watched.get(symbol) is False:
            self._watched[symbol] = True
            state = self._log.state_now(symbol)
            update = LoggedUpdate(state.offset, state.payload) if state else None
            self._receiver.snapshot(symbol, update)

    def _deliver(self, updates: Sequence[BusUpdate]) -> None:
        self.position = updates[-1].offset
        wanted = [update for update in updates if self._watched.get(update.symbol)]
        if wanted:
            self._receiver.quotes(wanted)
