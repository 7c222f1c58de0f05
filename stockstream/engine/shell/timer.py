"""The one timer that all deadlines of a server share."""

import asyncio
from collections.abc import Callable

#: Seconds between two ticks at least: what is due together is done together. Rather sooner than
#: later: when a client's time is up by what it was told, its session has ended.
_GRAIN = 0.005


class SharedTimer:
    """Calls `tick` when something is due, up to 5 ms sooner.

    Args:
        tick: Does what is due by the time that it is given, which is up to 5 ms ahead; returns
            when the next thing is due, None for no call.
        clock: Seconds that only grow; the running loop's time by default.
    """

    def __init__(
        self, tick: Callable[[float], float | None], clock: Callable[[], float] | None
    ) -> None:
        self._tick = tick
        self._clock = clock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._handle: asyncio.TimerHandle | None = None
        self._when = 0.0

    def now(self) -> float:
        """Return the time."""
        if self._clock is not None:
            return self._clock()
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return self._loop.time()

    def arm(self, when: float) -> None:
        """See to it that `tick` is called for what is due at this time."""
        if self._handle is not None:
            if self._when <= when:
                return
            self._handle.cancel()
        self._when = when
        delay = max(when - self.now() - _GRAIN, _GRAIN)
        self._handle = asyncio.get_running_loop().call_later(delay, self._run)

    def stop(self) -> None:
        """Tick no more."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    async def wait_for(self, condition: Callable[[], bool], seconds: float) -> None:
        """Wait until the condition holds, but no longer than so many seconds."""
        deadline = self.now() + seconds
        # Only a shutdown waits like this: no reason to make each session's end signal something.
        while not condition() and self.now() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    def _run(self) -> None:
        self._handle = None
        when = self._tick(self.now() + _GRAIN)
        if when is not None:
            self.arm(when)
