"""A clock that stands still until a test makes time pass."""

import asyncio
import heapq
import itertools
from typing import Final

# Turns of the event loop that a woken task gets for what it does before it sleeps again.
_SETTLE_TURNS: Final = 20


class ManualClock:
    """Implements :class:`stockstream.ports.Clock` for tests.

    Args:
        time_ms: the wall clock at the beginning; the default is 2024-03-05 14:30:00 UTC.
    """

    def __init__(self, time_ms: int = 1_709_649_000_000) -> None:
        self._wall_ms = float(time_ms)
        self._monotonic = 1_000.0
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def time_ms(self) -> int:
        # Half up: sums of fractions of a second must not come out a millisecond early.
        return int(self._wall_ms + 0.5)

    def monotonic(self) -> float:
        return self._monotonic

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._monotonic + seconds, next(self._order), woken))
        await woken

    async def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass, waking sleepers at their times, in order.

        Whoever wakes runs before time goes on, so a loop that sleeps 1 s runs ten times in an
        ``advance(10)``. Work that waits for a thread or a socket is not waited for: wait for its
        effect, or for :meth:`wait_for_sleepers`, afterwards.
        """
        end = self._monotonic + seconds
        await self._settle()
        while (deadline := self._next_deadline()) is not None and deadline <= end:
            self._move_to(deadline)
            heapq.heappop(self._sleepers)[2].set_result(None)
            await self._settle()
        self._move_to(end)

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward or back, as an administrator would; nobody wakes."""
        self._wall_ms += seconds * 1000

    @property
    def sleepers(self) -> int:
        """How many tasks are asleep."""
        return sum(not woken.done() for _, _, woken in self._sleepers)

    async def wait_for_sleepers(self, count: int = 1) -> None:
        """Return once at least ``count`` tasks are asleep; the test's own timeout is the limit."""
        while self.sleepers < count:
            # Threads that the sleepers-to-be may wait for need real time, however little.
            await asyncio.sleep(0.0005)

    def _next_deadline(self) -> float | None:
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        return self._sleepers[0][0] if self._sleepers else None

    def _move_to(self, monotonic: float) -> None:
        self._wall_ms += (monotonic - self._monotonic) * 1000
        self._monotonic = monotonic

    async def _settle(self) -> None:
        for _ in range(_SETTLE_TURNS):
            await asyncio.sleep(0)
