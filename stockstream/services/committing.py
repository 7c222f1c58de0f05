"""Turns price changes of symbols that this node owns into updates of all nodes.

What comes while a commit is under way goes with the next one: the more there is, the larger the
steps. While Redis is out of reach changes wait; once it has been so for a while the node goes on
alone: it numbers changes by itself, in an epoch of its own, and offers them under these very
numbers when Redis is back. Where another node has streamed the symbol meanwhile, they are not
taken: they were of this node's clients alone, and older than what others have got.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import islice
from random import Random
from secrets import token_hex
from typing import Final

import msgspec
import structlog

from stockstream.cluster.outflow import keep_sending
from stockstream.cluster.quote_log import Change, Committed, Group, QuoteLog, SymbolChanges
from stockstream.core.backoff import Backoff
from stockstream.core.latency import LatencyHistogram
from stockstream.core.ownership import partition_of
from stockstream.errors import StoreUnavailableError
from stockstream.model import StockUpdate, Symbol
from stockstream.ports import Clock

log = structlog.get_logger(__name__)

#: Most changes of one symbol, and of all, that wait; the oldest give way.
MOST_OF_ONE: Final = 1_000
MOST: Final = 100_000
#: Most changes offered at once; the log commits them in steps.
_OFFERED: Final = 2_000
_BACKOFF: Final = Backoff(initial=0.05, maximum=2.0, jitter=0.9)
#: Seconds until what was refused is offered again.
_ASK_AGAIN: Final = 0.02
_encoder: Final = msgspec.json.Encoder()


class _Waiting:
    """A symbol's changes that are not committed."""

    __slots__ = ("changes", "epoch", "seq")

    def __init__(self) -> None:
        self.changes: deque[tuple[Change, StockUpdate, float]] = deque()
        #: The epoch that begins with the first of them; empty: the sequence goes on.
        self.epoch = ""
        #: The last number given in that epoch by this node.
        self.seq = 0


class Committer:
    """Commits what it is offered: one commit at a time, and so one for a symbol at a time.

    Args:
        log: where to.
        token: says of a partition under which token this node owns it, None where it does not.
        clock: times what is tried again.
        random: spreads it.
        on_alone: called with updates that this node has numbered by itself.
        on_refused: called when a commit was refused because others own the partitions.
        on_superseded: called with a symbol of which nobody else will get what this node has
            numbered by itself, or offered when another one had gone on: what is asked for from now
            on is newer.
    """

    def __init__(
        self,
        log: QuoteLog,
        *,
        token: Callable[[int], int | None],
        clock: Clock,
        random: Random,
        on_alone: Callable[[Sequence[StockUpdate], float], None],
        on_refused: Callable[[], None],
        on_superseded: Callable[[Symbol], None],
    ) -> None:
        self._log = log
        self._token = token
        self._clock = clock
        self._random = random
        self._on_alone = on_alone
        self._on_refused = on_refused
        self._on_superseded = on_superseded
        self._waiting: dict[Symbol, _Waiting] = {}
        self._size = 0
        self._busy: set[Symbol] = set()
        #: Partitions of which this node numbers the changes by itself.
        self._alone: frozenset[int] = frozenset()
        self._serial = 0
        self._wake = asyncio.Event()
        self._progress = asyncio.Event()
        #: Commits that succeeded, updates made by them, and prices that turned out unchanged.
        self.commits = 0
        self.updates = 0
        self.unchanged = 0
        #: Commits that failed, and those that were refused: somebody else owns the partition.
        self.failures = 0
        self.stale = 0
        #: Changes that were given up: too many waited, or the partition was lost.
        self.shed = 0
        self.dropped = 0
        #: Changes that were not taken because another node had made updates of the symbol.
        self.superseded = 0
        #: From the receipt of a quote to its being committed, in ms.
        self.latency = LatencyHistogram()

    @property
    def pending(self) -> int:
        """Changes that wait to be committed."""
        return self._size

    def offer(self, updates: Sequence[StockUpdate], received: float) -> None:
        """Take over changes, in order; their numbers do not matter."""
        alone: list[StockUpdate] = []
        for update in updates:
            waiting = self._waiting.get(update.symbol)
            if waiting is None:
                waiting = self._waiting[update.symbol] = _Waiting()
            self._make_room(waiting)
            offered = update
            if partition_of(update.symbol) in self._alone:
                offered = self._number(waiting, update)
                alone.append(offered)
            waiting.changes.append((self._change(offered), offered, received))
            self._size += 1
        if alone:
            self._on_alone(alone, received)
        self._wake.set()

    def kick(self) -> None:
        """Try again now: partitions were acquired."""
        self._wake.set()

    def go_on_alone(self, partitions: Collection[int]) -> None:
        """Number the changes of these partitions here, those that wait first; at last commit them.

        Those that wait may have been committed without our hearing of it: then they are twice in
        the log, once in each epoch.
        """
        self._alone |= frozenset(partitions)
        for symbol, waiting in self._waiting.items():
            if partition_of(symbol) not in partitions:
                continue
            kept, waiting.changes = waiting.changes, deque()
            for change, update, received in kept:
                if waiting.epoch and update.epoch == waiting.epoch:
                    waiting.changes.append((change, update, received))
                    continue
                numbered = self._number(waiting, update)
                # A serial of its own: whether the former was taken must not matter.
                waiting.changes.append((self._change(numbered), numbered, received))
                self._on_alone([numbered], received)

    def go_on_together(self) -> None:
        """Leave numbering to the log again."""
        self._alone = frozenset()
        self._wake.set()

    def drop(self, partitions: Collection[int]) -> None:
        """Give up what waits of partitions that somebody else owns."""
        for symbol in [s for s in self._waiting if partition_of(s) in partitions]:
            waiting = self._waiting.pop(symbol)
            self.dropped += len(waiting.changes)
            self._size -= len(waiting.changes)
            if waiting.epoch:
                # Nor will anybody hear them if we own the partition again a moment later.
                self._on_superseded(symbol)
        self._alone -= frozenset(partitions)
        self._progress.set()

    async def flush(self, partitions: Collection[int]) -> None:
        """Return when nothing of these partitions waits; cancelling is safe."""
        while any(partition_of(symbol) in partitions for symbol in (*self._waiting, *self._busy)):
            self._progress.clear()
            await self._progress.wait()

    async def run(self) -> None:
        """Commit until cancelled."""
        await keep_sending(
            self._wake,
            self._commit_some,
            self._failed,
            backoff=_BACKOFF,
            clock=self._clock,
            random=self._random,
        )

    # ------------------------------------------------------------------------------------------

    def _failed(self, error: StoreUnavailableError) -> None:
        self.failures += 1
        log.debug("updates_not_committed", pending=self._size, error=str(error))

    async def _commit_some(self) -> bool:
        groups = list(self._groups())
        if groups:
            await self._commit(groups)
        return bool(groups)

    def _number(self, waiting: _Waiting, update: StockUpdate) -> StockUpdate:
        if not waiting.epoch:
            waiting.epoch, waiting.seq = token_hex(6), 0
        waiting.seq += 1
        return msgspec.structs.replace(update, epoch=waiting.epoch, seq=waiting.seq, offset=0)

    def _change(self, update: StockUpdate) -> Change:
        self._serial += 1
        numbers = f',"seq":{update.seq},"epoch":"{update.epoch}"'.encode()
        plain = msgspec.structs.replace(update, offset=0) if update.offset else update
        return Change(
            serial=self._serial,
            price=repr(update.price),
            timestamp=update.timestamp,
            body=_encoder.encode(plain).replace(numbers, b"", 1)[:-1],
        )

    def _make_room(self, waiting: _Waiting) -> None:
        if len(waiting.changes) < MOST_OF_ONE and self._size < MOST:
            return
        if waiting.epoch:
            # They were numbered: without the first of them the others are another sequence.
            given_up = len(waiting.changes)
            waiting.changes.clear()
            waiting.epoch = ""
        else:
            given_up = min(len(waiting.changes), 1)
            if waiting.changes:
                waiting.changes.popleft()
        self.shed += given_up
        self._size -= given_up

    def _groups(self) -> Iterator[Group]:
        """Yield what can be committed now, by partition."""
        by_partition: defaultdict[int, list[SymbolChanges]] = defaultdict(list)
        size = 0
        for symbol, waiting in self._waiting.items():
            partition = partition_of(symbol)
            if partition in self._alone or self._token(partition) is None:
                continue
            changes = [change for change, _, _ in waiting.changes]
            by_partition[partition].append(
                SymbolChanges(symbol=symbol, changes=changes, epoch=waiting.epoch)
            )
            size += len(changes)
            if size >= _OFFERED:
                break
        for partition, symbols in by_partition.items():
            token = self._token(partition)
            if token is not None:
                yield Group(partition=partition, token=token, symbols=symbols)

    async def _commit(self, groups: Sequence[Group]) -> None:
        self._busy = {each.symbol for group in groups for each in group.symbols}
        try:
            result = await self._log.commit(groups)
        finally:
            self._busy = set()
            self._progress.set()
        self.commits += 1
        offered = {each.symbol: iter(each.changes) for group in groups for each in group.symbols}
        for entry in result.committed:
            # A symbol with many changes was committed in several pieces.
            *_, last = islice(offered[entry.symbol], len(entry.seqs))
            self._committed(entry, last.serial)
        self._progress.set()
        if result.stale:
            self.stale += len(result.stale)
            log.warning("commit_refused", partitions=sorted(result.stale))
            # What was refused waits until it is known who owns the partitions.
            self._on_refused()
            await self._clock.sleep(_ASK_AGAIN)

    def _committed(self, entry: Committed, last_serial: int) -> None:
        made = sum(seq > 0 for seq in entry.seqs)
        self.updates += made
        self.unchanged += sum(seq == 0 for seq in entry.seqs)
        self.superseded += sum(seq < 0 for seq in entry.seqs)
        waiting = self._waiting.get(entry.symbol)
        if waiting is None:
            return
        now = self._clock.monotonic()
        changes = waiting.changes
        # None of them, where they have been given other serials or were given up meanwhile.
        while changes and changes[0][0].serial <= last_serial:
            *_, received = changes.popleft()
            self.latency.record((now - received) * 1000)
            self._size -= 1
        is_alone = partition_of(entry.symbol) in self._alone
        if entry.superseded and not is_alone:
            # They came from the same time as those that were refused.
            self.superseded += len(changes)
            self._size -= len(changes)
            changes.clear()
        if not changes:
            del self._waiting[entry.symbol]
        elif not is_alone:
            # What follows goes on where these ended.
            waiting.epoch = ""
        if entry.superseded:
            self._on_superseded(entry.symbol)
