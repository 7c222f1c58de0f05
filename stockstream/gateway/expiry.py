"""Ends what lasts only as long as a token: one timer for all of it."""

import asyncio
import heapq
from collections.abc import Awaitable, Callable, Hashable
from typing import Final

import structlog

from stockstream.clock import wait_until
from stockstream.ports import Clock

log = structlog.get_logger(__name__)

End = Callable[[], Awaitable[None]]

#: Longest time between two looks at the wall clock, which may jump, in seconds.
_LONGEST_SLEEP: Final = 30.0
#: Entries that were overtaken are cleared away when they are more than half, and more than this.
_SLACK: Final = 64


class Expiry:
    """Ends sessions when their tokens expire.

    Args:
        clock: the time.
        leeway_ms: how much later than a token says its session ends: clocks differ.
    """

    def __init__(self, clock: Clock, leeway_ms: int) -> None:
        self._clock = clock
        self._leeway_ms = leeway_ms
        self._sessions: dict[Hashable, tuple[int, End]] = {}
        #: Times in ms, each with the session that may still end then.
        self._queue: list[tuple[int, int, Hashable]] = []
        self._number = 0
        self._sooner = asyncio.Event()
        #: Sessions ended.
        self.ended = 0

    def __len__(self) -> int:
        return len(self._sessions)

    def watch(self, session: Hashable, expires_at: int | None, end: End) -> None:
        """Have a session ended at a time, in place of the one before.

        Args:
            session: anything that stands for it; forget it when it ends otherwise.
            expires_at: when its token expires, in ms since the epoch; None: never.
            end: ends it; called once, and must neither wait for long nor raise.
        """
        if expires_at is None:
            self.forget(session)
        else:
            self._set(session, expires_at + self._leeway_ms, end)

    def renew(self, session: Hashable, expires_at: int | None) -> None:
        """Have a session end at another time; nothing happens where it has ended by now."""
        known = self._sessions.get(session)
        if known is not None:
            self.watch(session, expires_at, known[1])

    def forget(self, session: Hashable) -> None:
        """End nothing: the session has ended by itself."""
        self._sessions.pop(session, None)

    async def run(self) -> None:
        """End each session at its time, until cancelled."""
        while True:
            self._sooner.clear()
            await self._end_due()
            now = self._clock.time_ms()
            wait = (self._queue[0][0] - now) / 1000 if self._queue else _LONGEST_SLEEP
            moment = self._clock.monotonic() + min(wait, _LONGEST_SLEEP)
            await wait_until(self._clock, moment, self._sooner)

    def _set(self, session: Hashable, due: int, end: End) -> None:
        self._sessions[session] = (due, end)
        self._number += 1
        if not self._queue or due < self._queue[0][0]:
            self._sooner.set()
        heapq.heappush(self._queue, (due, self._number, session))
        if len(self._queue) > 2 * len(self._sessions) + _SLACK:
            self._queue = [entry for entry in self._queue if self._is_current(entry)]
            heapq.heapify(self._queue)

    async def _end_due(self) -> None:
        while self._queue and self._queue[0][0] <= self._clock.time_ms():
            entry = heapq.heappop(self._queue)
            if not self._is_current(entry):
                continue
            _, end = self._sessions.pop(entry[2])
            self.ended += 1
            try:
                await end()
            except Exception:
                # The border of the session: others must end, too.
                log.exception("session_not_ended")
            # Thousands may end at once: whoever else waits has its turn.
            await asyncio.sleep(0)

    def _is_current(self, entry: tuple[int, int, Hashable]) -> bool:
        known = self._sessions.get(entry[2])
        return known is not None and known[0] == entry[0]
