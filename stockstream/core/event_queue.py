"""What waits for one subscriber of the event bus: ordered by priority, and bounded."""

from collections import deque
from typing import Any

from stockstream.model.event import Event, Priority


class EventQueue:
    """Events that wait: the highest priority leaves first, the oldest of that priority before.

    When it is full, the oldest event of the lowest priority makes room, which is the new one itself
    where all that wait matter more. So nothing critical is lost while something lesser is held, and
    of equals the newest, which say how things stand now, are kept.

    Args:
        limit: most events that wait, at least 1.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        # One for each priority, the lowest first.
        self._lanes: tuple[deque[Event[Any]], ...] = tuple(deque() for _ in Priority)
        self._highest_first = self._lanes[::-1]
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def push(self, event: Event[Any]) -> Event[Any] | None:
        """Let an event wait; return the one that had to go for it, if any."""
        if self._size < self._limit:
            self._lanes[event.priority].append(event)
            self._size += 1
            return None
        for lane in self._lanes[: event.priority + 1]:
            if lane:
                victim = lane.popleft()
                self._lanes[event.priority].append(event)
                return victim
        return event

    def pop(self) -> Event[Any]:
        """Take the next event.

        Raises:
            IndexError: nothing waits.
        """
        for lane in self._highest_first:
            if lane:
                self._size -= 1
                return lane.popleft()
        raise IndexError("pop from an empty event queue")

    def clear(self) -> int:
        """Forget all that waits; return how many they were."""
        forgotten = self._size
        for lane in self._lanes:
            lane.clear()
        self._size = 0
        return forgotten
