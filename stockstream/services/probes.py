"""What the monitor measures by itself: the process, and how promptly its event loop runs."""

import asyncio
from types import TracebackType
from typing import Final, Self

import psutil

from stockstream.ports import Clock

# Seconds between two looks. A stall is found short by at most this: each look costs some 10 µs.
_LOOK_EVERY: Final = 0.02


class ProcessProbe:
    """Memory and CPU time of this process, as the operating system counts them."""

    def __init__(self) -> None:
        self._process = psutil.Process()

    def memory_bytes(self) -> int:
        """Return the resident memory."""
        return int(self._process.memory_info().rss)

    def cpu_seconds(self) -> float:
        """Return the CPU time used since the process began, by all its threads."""
        times = self._process.cpu_times()
        return float(times.user + times.system)


class LoopLagProbe:
    """Finds out how long the event loop keeps ready tasks waiting, by being one of them.

    It sleeps again and again and sees how late it wakes. A stall of less than 20 ms may fall
    between two looks; a longer one is always found, and at most 20 ms too short.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._longest = 0.0
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._look(), name="loop lag probe")
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    def take_longest_ms(self) -> float:
        """Return the longest wait since the last call, in ms, and begin anew."""
        longest, self._longest = self._longest, 0.0
        return longest * 1000

    async def _look(self) -> None:
        while True:
            due = self._clock.monotonic() + _LOOK_EVERY
            await self._clock.sleep(_LOOK_EVERY)
            self._longest = max(self._longest, self._clock.monotonic() - due)
