"""What a program has not taken yet: bounded, with a policy for those who are slow."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Hashable
from enum import StrEnum
from typing import Generic, TypeVar

from stockstream.errors import SlowConsumerError, StockstreamError

T = TypeVar("T")


class Overflow(StrEnum):
    """What happens to a program that takes its updates more slowly than they come."""

    #: It is given the latest of each symbol; what it was not given is counted.
    CONFLATE = "conflate"
    #: It gets :class:`stockstream.errors.SlowConsumerError` after what was there already.
    RAISE = "raise"


class InboxClosedError(Exception):
    """Nothing will come any more, and nothing is left."""


class Inbox(Generic[T]):
    """A queue with one reader.

    Args:
        limit: most items that wait.
        overflow: what happens at the limit.
        key: of two items with the same key, the newer one can stand for both.
    """

    def __init__(self, limit: int, overflow: Overflow, key: Callable[[T], Hashable]) -> None:
        self._limit = limit
        self._overflow = overflow
        self._key = key
        self._items: OrderedDict[int, T] = OrderedDict()
        #: By key, the number of its newest item.
        self._newest: dict[Hashable, int] = {}
        self._number = 0
        self._closed: Exception | None = None
        self._change = asyncio.Event()
        #: Items that a newer one of their key stood for.
        self.conflated = 0
        #: Items that were pushed out by those of other keys.
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: T) -> None:
        """Add an item without waiting; after the end it is passed over."""
        if self._closed is not None:
            return
        key = self._key(item)
        if len(self._items) >= self._limit:
            if self._overflow is Overflow.RAISE:
                self.close(SlowConsumerError(len(self._items)))
                return
            self._make_room(key)
        self._number += 1
        self._items[self._number] = item
        self._newest[key] = self._number
        self._change.set()

    def close(self, error: StockstreamError | None = None) -> None:
        """Let the reader have what is left, then the error, or a quiet end."""
        if self._closed is None:
            self._closed = error or InboxClosedError()
            self._change.set()

    async def get(self) -> T:
        """Return the oldest item, waiting for one. Cancelling it loses nothing.

        Raises:
            InboxClosedError: that was all.
            StockstreamError: that was all, and why.
        """
        while not self._items:
            if self._closed is not None:
                raise self._closed
            self._change.clear()
            await self._change.wait()
        number, item = self._items.popitem(last=False)
        key = self._key(item)
        if self._newest[key] == number:
            del self._newest[key]
        return item

    def _make_room(self, key: Hashable) -> None:
        if key in self._newest:
            del self._items[self._newest[key]]
            self.conflated += 1
            return
        newest = set(self._newest.values())
        for number in [number for number in self._items if number not in newest]:
            del self._items[number]
            self.conflated += 1
        if len(self._items) >= self._limit:
            _, oldest = self._items.popitem(last=False)
            del self._newest[self._key(oldest)]
            self.dropped += 1
