import asyncio
import time

from stockstream.clock import SystemClock
from stockstream.services.probes import LoopLagProbe, ProcessProbe
from tests.services.event_bus_support import until


class LateClock:
    """A clock on which each sleeper wakes late, by what a test says, and the last one never."""

    def __init__(self, *late: float) -> None:
        self._now = 0.0
        self._late = list(late)
        self.exhausted = False

    def time_ms(self) -> int:
        return round(self._now * 1000)

    def monotonic(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        if not self._late:
            self.exhausted = True
            await asyncio.Event().wait()
        self._now += seconds + self._late.pop(0)
        await asyncio.sleep(0)


async def test_longest_wait_is_found_and_forgotten_once_it_was_taken() -> None:
    clock = LateClock(0.001, 0.25, 0.003)
    async with LoopLagProbe(clock) as probe:
        await until(lambda: clock.exhausted)

        assert round(probe.take_longest_ms(), 6) == 250
        assert probe.take_longest_ms() == 0


async def test_loop_that_was_blocked_is_found_out() -> None:
    async with LoopLagProbe(SystemClock()) as probe:
        # Lets the probe fall asleep.
        await asyncio.sleep(0)
        # Blocking the loop is what is tested.
        time.sleep(0.2)

        longest = 0.0
        while longest < 180:
            await asyncio.sleep(0)
            longest = max(longest, probe.take_longest_ms())


def test_process_has_memory_and_uses_cpu_time() -> None:
    process = ProcessProbe()
    before = process.cpu_seconds()

    while process.cpu_seconds() == before:
        sum(range(100_000))

    assert process.cpu_seconds() > before
    assert 1_000_000 < process.memory_bytes() < 100_000_000_000
