"""Updates of all symbols in one order: numbered, stored and published in one step."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from secrets import token_hex
from typing import Any, Final, NamedTuple

from stockstream.cluster import keys
from stockstream.cluster.link import Argument, RedisLink, Script, link_call
from stockstream.model import Position, Symbol
from stockstream.storage.history import HISTORY_LIMIT, VALUE_TTL
from stockstream.storage.redis import HISTORY_TTL

#: Seconds that a symbol's numbers and last updates outlive its last update: a day.
LOG_TTL: Final = 24 * 3600
#: Most changes in one step: Redis does nothing else meanwhile.
STEP_SIZE: Final = 500
# Symbols whose logs are read in one step; each may hold 1,000 updates.
_READ_SIZE: Final = 50
# Symbols of which it is remembered what Redis said last.
_REMEMBERED: Final = 100_000

_COMMIT: Final = Script("commit")
_READ: Final = Script("read")
_SINCE: Final = Script("since")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A price that is to become an update, unless it is the one that was emitted last."""

    #: Grows with each change of the symbol that this node makes. A change that is offered again,
    #: because nobody knows whether it was taken, keeps it and happens once.
    serial: int
    #: The price as text without blanks; two prices are equal when their texts are.
    price: str
    #: The quote's own time in ms since the epoch.
    timestamp: int
    #: JSON of the StockUpdate without seq, epoch and the closing brace.
    body: bytes

    def payload(self, epoch: str, seq: int) -> bytes:
        """Return the StockUpdate as JSON, as the update of this number."""
        return b'%b,"seq":%d,"epoch":"%b"}' % (self.body, seq, epoch.encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class SymbolChanges:
    """Changes of one symbol, in order."""

    symbol: Symbol
    changes: Sequence[Change]
    #: Epoch that begins with the first of them; empty: the sequence goes on.
    epoch: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Changes of one partition, by whom Redis believes to own it."""

    partition: int
    #: From :meth:`stockstream.cluster.membership.Membership.token`.
    token: int
    symbols: Sequence[SymbolChanges]


class Committed(NamedTuple):
    """What became of one symbol's changes."""

    symbol: Symbol
    #: Of its last update; empty where the next one will begin a new epoch.
    epoch: str
    #: For each change its number; 0 where the price was unchanged, or the change is an old one. All
    #: are -1 where another node has made updates since the last one that this node knows of, from a
    #: commit of its own or from reading the symbol's state.
    seqs: Sequence[int]

    @property
    def superseded(self) -> bool:
        """Whether the changes were refused: what another node has made may be newer."""
        return self.seqs[-1] < 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitResult:
    """What became of a commit."""

    #: Of each symbol that was not refused.
    committed: Sequence[Committed]
    #: Partitions that were refused as a whole: somebody else owns them, or nobody.
    stale: frozenset[int]


class LoggedUpdate(NamedTuple):
    """An update in the one order of all updates."""

    #: Its place in that order.
    offset: int
    #: The StockUpdate as JSON, seq and epoch included.
    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedState:
    """The current value of a symbol."""

    #: Offset of the update that made it.
    offset: int
    position: Position
    #: The price as it was committed.
    price: str
    #: The StockUpdate as JSON.
    payload: bytes


class QuoteLog:
    """The store of all updates, for the node of this name.

    A symbol's commits must not overlap: one begins when the one before has ended. Cancelling a
    commit leaves unknown whether it happened; offering the same changes again settles it.

    Args:
        link: the way to Redis.
        node: name of this node.
    """

    def __init__(self, link: RedisLink, *, node: str) -> None:
        self._link = link
        self._node = node
        # Epoch and seq that Redis told last of each symbol. If it knows less, it lost something.
        self._told: OrderedDict[Symbol, tuple[str, int]] = OrderedDict()

    async def commit(self, groups: Sequence[Group]) -> CommitResult:
        """Number, store and publish changes: at most 500 in one atomic step, in the order given.

        The changes of a symbol get consecutive places in the one order, in one message.

        Raises:
            StoreUnavailableError: none, some or all of it happened; offering it again is safe.
        """
        committed: list[Committed] = []
        stale: set[int] = set()
        for step in _steps(groups):
            await self._commit_step(step, committed, stale)
        return CommitResult(committed=committed, stale=frozenset(stale))

    async def _commit_step(
        self, groups: Sequence[Group], committed: list[Committed], stale: set[int]
    ) -> None:
        link = self._link
        documented = link.has_all_slots
        script_keys = [keys.LEASES, keys.OFFSET, keys.ORIGIN]
        args: list[Argument] = [self._node, link.publish, link.channels.quotes_prefix]
        args += (token_hex(6), HISTORY_LIMIT, LOG_TTL)
        args += (VALUE_TTL, HISTORY_TTL) if documented else ("", "")
        for group in groups:
            args.append(f"{group.partition} {group.token} {len(group.symbols)}")
            for changes in group.symbols:
                symbol = changes.symbol
                script_keys += (keys.state(symbol), keys.log(symbol))
                if documented:
                    script_keys += (keys.value(symbol), keys.history(symbol))
                epoch, seq = self._told.get(symbol, ("", ""))
                count = len(changes.changes)
                args.append(f"{symbol} {epoch} {seq} {changes.epoch or '-'} {count}")
                args += map(_packed, changes.changes)
        replies = await link.run(_COMMIT, script_keys, args)
        for group, reply in zip(groups, replies, strict=True):
            if reply is None:
                stale.add(group.partition)
            else:
                committed += self._take(group, reply)
        if not documented:
            await self._write_documented(groups, committed)

    def _take(self, group: Group, reply: Sequence[Any]) -> Iterator[Committed]:
        for changes, (epoch, last, *seqs) in zip(group.symbols, reply, strict=True):
            self._remember(changes.symbol, epoch.decode(), last)
            yield Committed(changes.symbol, epoch.decode(), seqs)

    def _remember(self, symbol: Symbol, epoch: str, seq: int) -> None:
        self._told[symbol] = (epoch, seq)
        self._told.move_to_end(symbol)
        if len(self._told) > _REMEMBERED:
            self._told.popitem(last=False)

    async def _write_documented(
        self, groups: Sequence[Group], committed: Sequence[Committed]
    ) -> None:
        """Write the documented keys where each has its own slot, out of reach of the script."""
        seqs = {entry.symbol: entry for entry in committed}
        commands: list[Sequence[Argument]] = []
        for changes in (changes for group in groups for changes in group.symbols):
            entry = seqs.get(changes.symbol)
            if entry is not None:
                commands += _documented(changes, entry)
        if commands:
            await self._link.run_all(commands)

    async def touch(self, symbols: Sequence[Symbol]) -> None:
        """Keep what is known of symbols that still stream, though their prices stand still.

        Raises:
            StoreUnavailableError: Redis can't be reached.
        """
        for start in range(0, len(symbols), STEP_SIZE):
            commands: list[Sequence[Argument]] = []
            for symbol in symbols[start : start + STEP_SIZE]:
                commands.append(("EXPIRE", keys.state(symbol), LOG_TTL))
                commands.append(("EXPIRE", keys.log(symbol), 2 * LOG_TTL))
                commands.append(("EXPIRE", keys.value(symbol), VALUE_TTL))
            await self._link.run_all(commands)

    async def state(self, symbol: Symbol) -> LoggedState | None:
        """Return the current value of a symbol; None where there is none.

        Raises:
            StoreUnavailableError: Redis can't be reached.
        """
        found = (await self.read([symbol], None))[0]
        return found if isinstance(found, LoggedState) else None

    async def since(self, symbol: Symbol, position: Position) -> Sequence[LoggedUpdate] | None:
        """Return every update of a symbol after a position, in order; empty where there is none.

        Returns None where that can't be said without a gap: another epoch, updates that are no
        longer held (1,000 are), or a position ahead of what is held.

        Raises:
            StoreUnavailableError: Redis can't be reached.
        """
        script_keys = [keys.state(symbol), keys.log(symbol)]
        lines = await self._link.run(_SINCE, script_keys, [position.epoch, position.seq])
        return None if lines is None else [parse_line(line) for line in lines]

    async def begun(
        self, symbol: Symbol, state: LoggedState, offset: int
    ) -> Sequence[LoggedUpdate] | None:
        """Return all updates of the epoch that a symbol is in, where that began after an offset.

        Returns None where it began before, or its first updates are no longer held.

        Raises:
            StoreUnavailableError: Redis can't be reached.
        """
        found = await self.since(symbol, Position(epoch=state.position.epoch, seq=0))
        return found if found and found[0].offset > offset else None

    async def after(self, symbol: Symbol, offset: int) -> Sequence[LoggedUpdate] | None:
        """Return every update of a symbol after an offset, in order; empty where there is none.

        Returns None where an update between them may be missing: no longer held, or lost by Redis.

        Raises:
            StoreUnavailableError: Redis can't be reached.
        """
        found = (await self.read([symbol], offset))[0]
        return None if found is None or isinstance(found, LoggedState) else found

    async def read(
        self, symbols: Sequence[Symbol], offset: int | None
    ) -> list[Sequence[LoggedUpdate] | LoggedState | None]:
        """Return of each symbol what followed ``offset``, as :meth:`after` does.

        Where that can't be told, or ``offset`` is None, returns its current value instead; None
        where it has none. 50 symbols are read at one moment; between them time passes.

        Raises:
            StoreUnavailableError: Redis can't be reached.
        """
        found: list[Sequence[LoggedUpdate] | LoggedState | None] = []
        from_offset = "" if offset is None else offset
        for start in range(0, len(symbols), _READ_SIZE):
            chunk = symbols[start : start + _READ_SIZE]
            script_keys = [keys.ORIGIN]
            for symbol in chunk:
                script_keys += (keys.state(symbol), keys.log(symbol))
            args = [LOG_TTL, *(from_offset for _ in chunk)]
            found += map(_parse_found, await self._link.run(_READ, script_keys, args))
        if offset is None:
            for symbol, state in zip(symbols, found, strict=True):
                if isinstance(state, LoggedState):
                    self._remember(symbol, state.position.epoch, state.position.seq)
        return found

    async def current_offset(self) -> int:
        """Return the offset of the last update of any symbol; 0 where there was none.

        Raises:
            StoreUnavailableError: Redis can't be reached.
        """
        async with link_call(within=self._link.timeout):
            return int(await self._link.client.get(keys.OFFSET) or 0)


def parse_line(line: bytes) -> LoggedUpdate:
    """Return the update that a line of a log or of a message holds: "offset payload"."""
    offset, _, payload = line.partition(b" ")
    return LoggedUpdate(int(offset), payload)


def _parse_found(reply: Sequence[Any]) -> Sequence[LoggedUpdate] | LoggedState | None:
    complete, *rest = reply
    if complete:
        return [parse_line(line) for line in rest]
    if not rest:
        return None
    epoch, seq, price, offset, payload = rest
    return LoggedState(
        offset=int(offset),
        position=Position(epoch=epoch.decode(), seq=int(seq)),
        price=price.decode(),
        payload=payload,
    )


def _packed(change: Change) -> bytes:
    return b"%d %b %d %b" % (change.serial, change.price.encode(), change.timestamp, change.body)


def _documented(changes: SymbolChanges, entry: Committed) -> Iterator[Sequence[Argument]]:
    """Yield the commands that write the documented keys of a symbol."""
    history, payload = keys.history(changes.symbol), b""
    for change, seq in zip(changes.changes, entry.seqs, strict=True):
        if seq > 0:
            payload = change.payload(entry.epoch, seq)
            yield ("ZADD", history, change.timestamp, payload)
    if payload:
        yield ("ZREMRANGEBYRANK", history, 0, -HISTORY_LIMIT - 1)
        yield ("EXPIRE", history, HISTORY_TTL)
        yield ("SET", keys.value(changes.symbol), payload, "EX", VALUE_TTL)


def _steps(groups: Iterable[Group]) -> Iterator[list[Group]]:
    """Cut a commit into steps of a bounded size; what is one symbol's stays in order."""
    step: list[Group] = []
    size = 0
    for group in groups:
        symbols: list[SymbolChanges] = []
        for changes in _pieces(group.symbols):
            if size + len(changes.changes) > STEP_SIZE and size:
                if symbols:
                    step.append(_with(group, symbols))
                yield step
                step, symbols, size = [], [], 0
            symbols.append(changes)
            size += len(changes.changes)
        if symbols:
            step.append(_with(group, symbols))
    if step:
        yield step


def _pieces(symbols: Iterable[SymbolChanges]) -> Iterator[SymbolChanges]:
    for changes in symbols:
        for start in range(0, len(changes.changes), STEP_SIZE):
            yield SymbolChanges(
                symbol=changes.symbol,
                changes=changes.changes[start : start + STEP_SIZE],
                epoch=changes.epoch,
            )


def _with(group: Group, symbols: Sequence[SymbolChanges]) -> Group:
    return Group(partition=group.partition, token=group.token, symbols=symbols)
