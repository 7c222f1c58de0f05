"""Deadlines of equal length: a queue in which whoever was started first is due first."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item", bound=Hashable)


class Deadlines(Generic[Item]):
    """All deadlines of one kind. Starting, cancelling and finding the next one are O(1).

    Args:
        after: Seconds from the start of each deadline to its end.
        on_first: Called with the time of the only deadline when the queue was empty before;
            in every other case the earliest deadline has not moved forward.
    """

    __slots__ = ("_after", "_due", "_on_first")

    def __init__(self, after: float, on_first: Callable[[float], None]) -> None:
        self._after = after
        self._on_first = on_first
        # An OrderedDict: a plain dict would scan the places of all that left before the first.
        self._due: OrderedDict[Item, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._due)

    def __contains__(self, item: Item) -> bool:
        return item in self._due

    def start(self, item: Item, now: float) -> None:
        """Start the deadline of an item, anew if it had one."""
        due = self._due
        first = not due
        due[item] = end = now + self._after
        if first:
            self._on_first(end)
        else:
            due.move_to_end(item)

    def cancel(self, item: Item) -> bool:
        """Forget the deadline of an item; False if it had none."""
        return self._due.pop(item, None) is not None

    def next(self) -> float | None:
        """Return when the first one ends, None if there is none."""
        for end in self._due.values():
            return end
        return None

    def expired(self, now: float) -> Iterator[Item]:
        """Remove and yield all items whose time has come."""
        due = self._due
        while due:
            item, end = next(iter(due.items()))
            if end > now:
                return
            del due[item]
            yield item
