"""Operators over what streams: small, pure, and made to be put together.

An operator is called with one item after the other and returns what goes on, or None where nothing
does. It may remember what it saw: one operator belongs to one stream. Its items come in the order
of the stream; where time matters, the operator says what it does with an item that is late.

    average = pipe(SlidingWindow(Mean(), duration_ms=60_000), Changed())
"""

from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
K = TypeVar("K")
R = TypeVar("R")

Operator = Callable[[A], B | None]


def pipe(first: Operator[A, B], second: Operator[B, C]) -> Operator[A, C]:
    """Return both, one behind the other; a plain function is an operator too (map)."""

    def both(item: A) -> C | None:
        between = first(item)
        return None if between is None else second(between)

    return both


def keep(wanted: Callable[[A], bool]) -> Operator[A, A]:
    """Return an operator that lets those items on that are wanted (filter)."""

    def kept(item: A) -> A | None:
        return item if wanted(item) else None

    return kept


def enrich(
    table: Mapping[K, R], key: Callable[[A], K], merge: Callable[[A, R], A]
) -> Operator[A, A]:
    """Return an operator that completes items by reference data; others go on as they are.

    Args:
        table: the reference data; looked up for each item, so that it may change.
        key: which row of it is an item's.
        merge: returns the item with what the row says.
    """

    def enriched(item: A) -> A:
        row = table.get(key(item))
        return item if row is None else merge(item, row)

    return enriched


class Changed(Generic[A]):
    """Lets an item on when it differs from the one that was let on before (deduplicate)."""

    __slots__ = ("last",)

    def __init__(self, last: A | None = None) -> None:
        #: What was let on last; None where nothing was.
        self.last = last

    def __call__(self, item: A) -> A | None:
        """Return the item, None where it equals the one that was let on last."""
        if item == self.last:
            return None
        self.last = item
        return item
