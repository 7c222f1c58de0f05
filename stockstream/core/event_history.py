"""The events of late, by type, in bounded memory (documented, section 2.2)."""

from collections import deque
from heapq import merge
from itertools import islice
from typing import Any

from stockstream.model.event import Event


class EventHistory:
    """The newest events of each type, and at most ``limit`` of all types together.

    When it is full, the types share it evenly: a type that has its share or more gives up its own
    oldest event for a new one, a type that has less takes the room from the one that has most. So
    a flood of prices never washes out the rare alert.

    Args:
        limit: most events held, 0 to hold none.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        # Each with its number, which orders events of different types: clocks jump, numbers don't.
        self._by_type: dict[str, deque[tuple[int, Event[Any]]]] = {}
        self._size = 0
        self._number = 0

    def __len__(self) -> int:
        return self._size

    def add(self, event: Event[Any]) -> None:
        """Hold one more event."""
        if not self._limit:
            return
        own = self._by_type.get(event.type)
        if own is None:
            own = self._by_type[event.type] = deque()
        if self._size < self._limit:
            self._size += 1
        elif own and len(own) >= self._limit // len(self._by_type):
            own.popleft()
        else:
            self._shorten_longest()
        self._number += 1
        own.append((self._number, event))

    def newest(self, event_type: str | None, limit: int) -> list[Event[Any]]:
        """Return at most ``limit`` events of a type (None: of all), the newest first."""
        if event_type is not None:
            held = reversed(self._by_type.get(event_type, ()))
            return [event for _, event in islice(held, max(limit, 0))]
        lanes = [reversed(lane) for lane in self._by_type.values()]
        by_number = merge(*lanes, key=_number, reverse=True)
        return [event for _, event in islice(by_number, max(limit, 0))]

    def clear(self) -> None:
        """Forget everything."""
        self._by_type.clear()
        self._size = 0

    def _shorten_longest(self) -> None:
        event_type, longest = max(self._by_type.items(), key=lambda item: len(item[1]))
        longest.popleft()
        if not longest:
            del self._by_type[event_type]


def _number(entry: tuple[int, Event[Any]]) -> int:
    return entry[0]
