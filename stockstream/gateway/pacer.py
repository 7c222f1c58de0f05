"""Delivers, when its time has come, what clients with a pace of their own were not yet given."""

import asyncio
from collections.abc import Mapping
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Final

from stockstream.clock import wait_until
from stockstream.core.pace import Pace
from stockstream.engine import Connection, Message
from stockstream.ports import Clock

#: Due times that may be those of clients that left, before it is worth looking for them.
_TIDY_ABOVE: Final = 1_000


class Pacer:
    """One timer for all paces; of each connection and event at most one message waits."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        #: Due time, a number that breaks ties, and whose pace it is.
        self._due: list[tuple[float, int, Connection, str, Pace[Message]]] = []
        self._numbers = count()
        self._tidy_above = _TIDY_ABOVE
        self._wake = asyncio.Event()
        #: Messages delivered by the timer, and those that a later one replaced before.
        self.sent = 0
        self.conflated = 0

    def offer(self, event: str, paces: Mapping[Connection, Pace[Message]], message: Message) -> int:
        """Send a message to those whose pace allows it now; returns to how many."""
        now = self._clock.monotonic()
        sent = 0
        for connection, pace in paces.items():
            waited = pace.due is not None
            allowed = pace.offer(message, now)
            if allowed is not None:
                connection.offer(event, allowed)
                sent += 1
            elif waited:
                self.conflated += 1
            elif pace.due is not None:
                heappush(self._due, (pace.due, next(self._numbers), connection, event, pace))
                self._wake.set()
        if len(self._due) > self._tidy_above:
            self._tidy()
        return sent

    async def run(self) -> None:
        """Deliver what comes due, until cancelled."""
        while True:
            self._wake.clear()
            self._send_due()
            if not self._due:
                await self._wake.wait()
                continue
            await wait_until(self._clock, self._due[0][0], self._wake)

    def _tidy(self) -> None:
        """Forget those who left: a slow pace would keep them for hours."""
        self._due = [entry for entry in self._due if entry[-1].due is not None]
        heapify(self._due)
        self._tidy_above = max(_TIDY_ABOVE, 2 * len(self._due))

    def _send_due(self) -> None:
        now = self._clock.monotonic()
        bursts: dict[Connection, list[tuple[str, Message]]] = {}
        while self._due and self._due[0][0] <= now:
            _, _, connection, event, pace = heappop(self._due)
            message = pace.take(now)
            if message is not None:
                bursts.setdefault(connection, []).append((event, message))
        for connection, deliveries in bursts.items():
            self.sent += len(deliveries)
            connection.offer_many(deliveries)
