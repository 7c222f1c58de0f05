"""The machine's own clock."""

import asyncio
import time


class SystemClock:
    """Time as the machine tells it; implements :class:`stockstream.ports.Clock`."""

    def time_ms(self) -> int:
        """Return the wall clock in ms since the epoch."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Return seconds on a clock that never goes back."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Return after ``seconds``; 0 gives way to others once."""
        await asyncio.sleep(seconds)
