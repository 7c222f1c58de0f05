"""The symbols that this node streams for all: owned, and wanted by any node."""

import asyncio
import sys
from collections.abc import Callable, Collection, Mapping
from typing import Final
from uuid import uuid4

import structlog

from stockstream.cluster.demand import SharedDemand
from stockstream.cluster.membership import Membership, Role
from stockstream.cluster.quote_log import LoggedState, QuoteLog
from stockstream.core.demand import Demand
from stockstream.core.ownership import partition_of
from stockstream.core.symbol_stream import SymbolStream
from stockstream.errors import StoreUnavailableError
from stockstream.model import StockUpdate, Symbol
from stockstream.model.topics import QuoteFailure
from stockstream.ports import Clock
from stockstream.services.committing import Committer
from stockstream.services.hearing import decode_update
from stockstream.services.live_symbol import LiveSymbol
from stockstream.services.producing import QuoteProducer

log = structlog.get_logger(__name__)

#: Seconds for which Redis must have failed before this node goes on alone: one that was stopped,
#: and woke up, fails once as well.
_CERTAIN_LOSS: Final = 1.0


class _Produced(LiveSymbol):
    """A symbol as its owner sees it; what goes wrong is passed on to this node's clients."""

    __slots__ = ("_tell",)

    def __init__(self, tell: Callable[[QuoteFailure | None], None]) -> None:
        super().__init__()
        self._tell = tell

    def wake(self) -> None:
        super().wake()
        self._tell(self.failure)


class OwnedSymbols:
    """Starts and ends producing as ownership and demand change; listens to the membership.

    Args:
        producer: asks the provider.
        committer: takes its changes.
        log: says what was emitted last.
        linger: seconds that a symbol streams on after the last node ceased to want it.
        clock: the time.
        on_failure: called when a symbol's provider fails, or answers again.
        on_begin: called with a symbol whose stream begins here.
        on_end: called when it ends.
    """

    membership: Membership
    demand: SharedDemand

    def __init__(
        self,
        producer: QuoteProducer,
        committer: Committer,
        log: QuoteLog,
        *,
        linger: float,
        clock: Clock,
        on_failure: Callable[[Symbol, QuoteFailure | None], None],
        on_begin: Callable[[Symbol], None],
        on_end: Callable[[Symbol], None],
    ) -> None:
        self._producer = producer
        self._committer = committer
        self._log = log
        self._clock = clock
        self._on_failure = on_failure
        self._on_begin = on_begin
        self._on_end = on_end
        #: Which symbols any node wants, all nodes counting as one; some of them linger. Each node
        #: limits those that its own clients want.
        self._wanted = Demand(linger, sys.maxsize)
        self._unseeded: list[Symbol] = []
        self._seed_due = asyncio.Event()
        #: Partitions of which nobody can say who owns them.
        self._orphans: set[int] = set()
        #: Whether this node numbers the changes of its symbols by itself.
        self.alone = False
        #: Partitions handed over to others, and taken from them or from nobody.
        self.released = 0
        self.acquisitions = 0

    @property
    def orphans(self) -> frozenset[int]:
        """Partitions that this node goes on streaming although Redis is out of reach."""
        return frozenset(self._orphans)

    # --- what the demand says -----------------------------------------------------------------

    def want(self, symbol: Symbol, wanted: bool) -> None:  # noqa: FBT001 - SharedDemand's callback
        """Learn that the first node wants a symbol, or the last one no longer does."""
        if not wanted:
            if symbol in self._wanted.counts:
                self._wanted.release(symbol, self._clock.monotonic())
            return
        if self._wanted.acquire(symbol):
            self._begin_if_owned(symbol)

    def begin_again(self, symbol: Symbol) -> None:
        """Stream a symbol on from where other nodes have brought it meanwhile."""
        if symbol in self._producer.streams:
            self._end(symbol)
            self._begin_if_owned(symbol)

    # --- what the membership says -------------------------------------------------------------

    def acquired(self, partitions: Mapping[int, int]) -> None:
        """See :class:`stockstream.cluster.membership.MembershipListener`."""
        self.acquisitions += len(partitions)
        self._orphans.difference_update(partitions)
        for symbol in self._wanted.counts:
            if partition_of(symbol) in partitions:
                self._begin_if_owned(symbol)
        self._go_on_together()
        self._committer.kick()

    def certain(self) -> None:
        """See :class:`stockstream.cluster.membership.MembershipListener`."""
        for symbol in self._wanted.counts:
            self._begin_if_owned(symbol)
        self._committer.kick()

    def isolated(self, partitions: Collection[int]) -> None:
        """See :class:`stockstream.cluster.membership.MembershipListener`."""
        self._orphans.update(partitions)

    async def releasing(self, partitions: Collection[int]) -> None:
        """See :class:`stockstream.cluster.membership.MembershipListener`."""
        self._end_all(partitions)
        await self._committer.flush(partitions)

    def lost(self, partitions: Collection[int]) -> None:
        """See :class:`stockstream.cluster.membership.MembershipListener`."""
        self.released += len(partitions)
        self._orphans.difference_update(partitions)
        self._end_all(partitions)
        self._committer.drop(partitions)
        self._go_on_together()

    def members(self, nodes: Mapping[str, Role]) -> None:
        """See :class:`stockstream.cluster.membership.MembershipListener`."""
        self.demand.members(nodes)

    # --- what time says -----------------------------------------------------------------------

    def look(self) -> None:
        """End what nobody came back for, and go on alone when Redis is gone; call it often."""
        now = self._clock.monotonic()
        for symbol in self._wanted.expire(now):
            self._end(symbol)
        since = self.membership.failing_since
        if self._orphans and not self.alone and since is not None and now - since >= _CERTAIN_LOSS:
            self.alone = True
            log.warning("going_on_alone", partitions=len(self._orphans))
            self._committer.go_on_alone(self._orphans)

    async def run(self) -> None:
        """Learn what was emitted last of symbols that begin, until cancelled."""
        while True:
            await self._seed_due.wait()
            self._seed_due.clear()
            symbols, self._unseeded = self._unseeded, []
            try:
                found = await self._log.read(symbols, None)
            except StoreUnavailableError as error:
                # The log itself compares prices: an unchanged one is not sent again all the same.
                log.warning("states_not_read", symbols=len(symbols), error=str(error))
                found = [None for _ in symbols]
            except Exception:
                # The border of the task: nothing that is stored may keep symbols silent.
                log.exception("states_not_read", symbols=len(symbols))
                found = [None for _ in symbols]
            for symbol, state in zip(symbols, found, strict=True):
                self._producer.seed(
                    symbol, _last(state) if isinstance(state, LoggedState) else None
                )

    # ------------------------------------------------------------------------------------------

    def owns(self, symbol: Symbol) -> bool:
        """Return whether a symbol is this node's to stream, or nobody can say otherwise."""
        partition = partition_of(symbol)
        return partition in self._orphans or self.membership.token(partition) is not None

    def _begin_if_owned(self, symbol: Symbol) -> None:
        if symbol in self._producer.streams or not self.owns(symbol):
            return
        state = SymbolStream(symbol, uuid4().hex[:12])
        live = _Produced(lambda failure: self._on_failure(symbol, failure))
        self._producer.begin(symbol, state, live)
        self._unseeded.append(symbol)
        self._seed_due.set()
        self._on_begin(symbol)

    def _end_all(self, partitions: Collection[int]) -> None:
        for symbol in [s for s in self._producer.streams if partition_of(s) in partitions]:
            self._end(symbol)

    def _end(self, symbol: Symbol) -> None:
        if symbol in self._producer.streams:
            self._producer.end(symbol)
            self._on_end(symbol)

    def _go_on_together(self) -> None:
        if self.alone and not self._orphans:
            self.alone = False
            log.info("going_on_together")
            self._committer.go_on_together()


def _last(state: LoggedState) -> StockUpdate | None:
    return decode_update(state.payload, state.offset)
