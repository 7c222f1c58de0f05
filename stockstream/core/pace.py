"""A client's own pace: at most so many updates a second, and never without the last one."""

from typing import Generic, TypeVar

T = TypeVar("T")


class Pace(Generic[T]):
    """Conflates what comes faster than ``rate`` a second to the latest.

    Times are seconds on any clock that does not go back. What :meth:`offer` keeps back is due at
    ``due``; whoever drives this calls :meth:`take` then.
    """

    __slots__ = ("_free_at", "_interval", "_waiting", "conflated")

    def __init__(self, rate: float) -> None:
        self._interval = 1.0 / rate
        self._free_at = float("-inf")
        self._waiting: T | None = None
        #: Updates that a later one replaced.
        self.conflated = 0

    @property
    def due(self) -> float | None:
        """When the update that waits may go, or None where none waits."""
        return None if self._waiting is None else self._free_at

    def offer(self, item: T, now: float) -> T | None:
        """Return the item where it may go now, else keep it in place of one that waits."""
        if self._waiting is None and now >= self._free_at:
            self._free_at = now + self._interval
            return item
        self.conflated += self._waiting is not None
        self._waiting = item
        return None

    def take(self, now: float) -> T | None:
        """Return the item that waits, once its time has come."""
        if self._waiting is None or now < self._free_at:
            return None
        item, self._waiting = self._waiting, None
        self._free_at = now + self._interval
        return item

    def cancel(self) -> None:
        """Forget the item that waits."""
        self._waiting = None
