"""What every store of quotes agrees on: its limits, and what "since" means."""

from collections.abc import Iterable
from typing import Final

import msgspec

from stockstream.model import Position, StockUpdate

#: Seconds that a current value outlives the last time it was put or touched (section 4.1).
VALUE_TTL: Final = 300

#: Most updates that are kept of a symbol (section 4.1).
HISTORY_LIMIT: Final = 1_000


def as_stored(update: StockUpdate) -> StockUpdate:
    """Return the update as the change that it was: being a snapshot is one client's view of it."""
    return msgspec.structs.replace(update, snapshot=False) if update.snapshot else update


def updates_after(
    newest_first: Iterable[StockUpdate], position: Position
) -> list[StockUpdate] | None:
    """Return the updates that follow ``position``, the oldest first.

    Takes no more from ``newest_first`` than it returns, and one: a client that missed little costs
    little.

    Returns:
        Empty where ``position`` is the newest. None where a gap can't be ruled out: another epoch,
        a position that lies ahead of what is held, or an update that is not held.
    """
    missed: list[StockUpdate] = []
    for update in newest_first:
        if update.epoch != position.epoch or update.seq < position.seq:
            return None
        if missed and update.seq != missed[-1].seq - 1:
            return None
        if update.seq > position.seq:
            missed.append(update)
        if update.seq <= position.seq + 1:
            return missed[::-1]
    return None


def updates_beyond(newest_first: Iterable[StockUpdate], offset: int) -> list[StockUpdate] | None:
    """Return the updates whose offset is greater, the oldest first.

    Takes no more from ``newest_first`` than it returns, and one.

    Returns:
        None where a gap can't be ruled out: what is held begins later, and not with a first update;
        or it is told by two epochs of which nobody knows whether one order has both.
    """
    missed: list[StockUpdate] = []
    for update in newest_first:
        if missed and not _is_next(update, missed[-1]):
            # Offsets of another process, which had an order of its own, say nothing here; those
            # that lie ahead can't be of this one.
            foreign = update.offset > missed[-1].offset or update.offset <= offset
            return missed[::-1] if missed[-1].seq == 1 and foreign else None
        if update.offset <= offset:
            return missed[::-1]
        missed.append(update)
    return missed[::-1] if missed and missed[-1].seq == 1 else None


def _is_next(update: StockUpdate, newer: StockUpdate) -> bool:
    return update.epoch == newer.epoch and update.seq == newer.seq - 1
