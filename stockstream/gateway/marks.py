"""The marks of events: where each stands in the one order of all updates (see recovery.py)."""

from typing import Any, Final

from stockstream.gateway.late import LateSnapshots
from stockstream.model import StockUpdate

#: Digits of an offset, at most: more is no number of ours.
_LONGEST_OFFSET: Final = 19


class Marks:
    """Makes marks, and reads those that clients come back with.

    Args:
        order: name of the one order that the updates' offsets stand in, without a dot. Empty:
            clients can't go on where they were, and no event is marked.
    """

    def __init__(self, order: str) -> None:
        self._order = order
        self._late = LateSnapshots()
        #: Offset of the newest update that was published.
        self.offset = 0

    def now(self) -> str:
        """Return the mark of an event that tells a client the state of now."""
        return f"{self._order}.{self.offset}" if self._order else ""

    def of(self, payload: Any) -> str:
        """Return the mark of an event with this payload.

        Only what all clients get in the order of publication has one: neither a snapshot nor what
        is sent at a client's own pace.
        """
        if self._order and isinstance(payload, StockUpdate) and not payload.snapshot:
            return f"{self._order}.{payload.offset}"
        return ""

    def read(self, mark: str) -> int | None:
        """Return the offset that a mark stands for, None where it is not of this order."""
        order, _, offset = mark.rpartition(".")
        valid = order == self._order and offset.isdecimal() and len(offset) < _LONGEST_OFFSET
        return int(offset) if valid else None

    def use_order(self, order: str) -> None:
        """Have events from now on marked as of another order; see the constructor."""
        self._order = order

    def reach(self, offset: int) -> None:
        """Note that all updates up to an offset were published, of symbols that have listeners."""
        self.offset = max(self.offset, offset)

    def note_late(self, event: str) -> None:
        """Note that a first price was told now that is no update.

        Whoever comes back with an older mark may not have got it.
        """
        self._late.note(event, self.offset)

    def told_before(self, event: str, offset: int) -> bool:
        """Return whether who has listened to an event, and got a mark, got its first snapshot.

        What a client is told at the beginning comes before all its marks, but the first price of a
        symbol may come later, and need not be an update: it may be what the symbol stood at.
        """
        return self._late.last(event) < offset
