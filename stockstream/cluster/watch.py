"""What a node listens to: one symbol, who takes it, and the order after a loss."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum, auto
from typing import NamedTuple, Protocol

from stockstream.cluster.quote_log import LoggedState, LoggedUpdate
from stockstream.model import Symbol


class BusUpdate(NamedTuple):
    """An update as it arrives; deliveries are in order of ``offset``, whatever their symbols."""

    symbol: Symbol
    #: Place in the one order of all updates.
    offset: int
    #: The StockUpdate as JSON.
    payload: bytes


class QuoteReceiver(Protocol):
    """Who takes what the bus brings; it neither waits nor raises."""

    def quotes(self, updates: Sequence[BusUpdate]) -> None:
        """Take updates of watched symbols: all that one read of the connection brought.

        In order of offset, over all calls. Of each symbol they follow its snapshot without a gap.
        """
        ...

    def snapshot(self, symbol: Symbol, update: LoggedUpdate | None) -> None:
        """Take the state of a symbol; what was delivered of it before no longer counts.

        Comes first for each watch, and again where a gap could not be closed. None: nothing is
        known of the symbol. Whoever has this snapshot, and had all deliveries of other symbols, has
        everything up to the bus's ``position`` at this moment.
        """
        ...


class Phase(Enum):
    """How far a watch has come."""

    #: Redis has not confirmed the subscription.
    ASKED = auto()
    #: It has; the symbol's state has not been read.
    CONFIRMED = auto()
    #: Updates are delivered as they come.
    LIVE = auto()


class Watch:
    """A symbol and what was delivered of it."""

    __slots__ = ("newest", "offset", "phase", "symbol")

    def __init__(self, symbol: Symbol) -> None:
        self.symbol = symbol
        self.phase = Phase.ASKED
        #: Offset of the last update that was delivered; 0 before the first.
        self.offset = 0
        #: The newest update that was heard before the state was read.
        self.newest: BusUpdate | None = None

    def start(self, state: LoggedState | None) -> LoggedUpdate | None:
        """Go live, and return the snapshot to start with: the newer of what was read and heard."""
        snapshot = LoggedUpdate(state.offset, state.payload) if state else None
        newest = self.newest
        if newest is not None and (snapshot is None or newest.offset > snapshot.offset):
            snapshot = LoggedUpdate(newest.offset, newest.payload)
        self.phase = Phase.LIVE
        self.newest = None
        if snapshot is not None:
            self.offset = max(self.offset, snapshot.offset)
        return snapshot


def parse_message(symbol: Symbol, message: bytes) -> list[BusUpdate]:
    """Return the updates of a message, a line each: "offset payload".

    Raises:
        ValueError: it is not a message of ours.
    """
    updates = []
    for line in message.split(b"\n"):
        offset, _, payload = line.partition(b" ")
        updates.append(BusUpdate(symbol, int(offset), payload))
    return updates


def in_order(missed: Iterable[BusUpdate], heard: Iterable[BusUpdate]) -> list[BusUpdate]:
    """Join what a log says was missed and what was heard meanwhile: in order, each update once."""
    updates = {update.offset: update for update in (*missed, *heard)}
    return [updates[offset] for offset in sorted(updates)]


def due(watches: Mapping[Symbol, Watch], updates: Iterable[BusUpdate]) -> Iterator[BusUpdate]:
    """Yield those updates that live watches have not had, and note that they have them."""
    for update in updates:
        # Some have left meanwhile, or start again with a snapshot.
        watch = watches.get(update.symbol)
        if watch is not None and watch.phase is Phase.LIVE and update.offset > watch.offset:
            watch.offset = update.offset
            yield update
