"""The machine's own clock, and waiting by any clock."""

import asyncio
import time

from stockstream.ports import Clock


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


async def wait_until(clock: Clock, moment: float, event: asyncio.Event) -> None:
    """Return when ``event`` is set, or at ``moment`` on the monotonic clock if that is sooner."""
    sleep = asyncio.create_task(clock.sleep(max(moment - clock.monotonic(), 0.0)))
    wake = asyncio.create_task(event.wait())
    try:
        await asyncio.wait((sleep, wake), return_when=asyncio.FIRST_COMPLETED)
    finally:
        sleep.cancel()
        wake.cancel()
