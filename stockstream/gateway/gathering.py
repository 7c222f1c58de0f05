"""Holds connections' writes back for a moment, so that several updates leave in one."""

import asyncio
from collections.abc import Iterable

from stockstream.core.latency import LatencyHistogram
from stockstream.core.pressure import Pressure
from stockstream.engine import Connection, Message
from stockstream.ports import Clock


class Gathering:
    """Between :meth:`begin` and its end, messages wait in their connections' outboxes, in order.

    Whatever else is sent to such a connection meanwhile queues up behind them.
    """

    def __init__(self, clock: Clock, latency: LatencyHistogram) -> None:
        self._clock = clock
        self._latency = latency
        self._pressure = Pressure()
        self._corked: set[Connection] = set()
        #: What waits: when its quotes were received, and for how many recipients.
        self._waiting: list[tuple[float, int]] = []
        self._timer: asyncio.TimerHandle | None = None
        #: Times that updates were gathered.
        self.gathered = 0

    @property
    def active(self) -> bool:
        """Whether updates are being gathered now."""
        return self._timer is not None

    def begin(self, now: float) -> bool:
        """Return whether what is to be sent now is to be gathered."""
        if self._timer is not None:
            return True
        delay = self._pressure.delay(now)
        if delay <= 0.0:
            return False
        self.gathered += 1
        self._timer = asyncio.get_running_loop().call_later(delay, self._end)
        return True

    def add(self, event: str, connections: Iterable[Connection], message: Message) -> None:
        """Keep a message for each connection; for one that can't take it, as its latest."""
        corked = self._corked
        for connection in connections:
            if connection in corked:
                connection.send(message)
            elif connection.cork():
                corked.add(connection)
                connection.send(message)
            else:
                connection.offer(event, message)

    def note(self, received: float, recipients: int) -> None:
        """Note that what came at ``received`` has so many recipients, and is not sent yet."""
        self._waiting.append((received, recipients))

    def sent(self, start: float, end: float) -> None:
        """Note a sending that was not gathered."""
        self._pressure.sent(start, end)

    def close(self) -> None:
        """Send what waits now."""
        if self._timer is not None:
            self._timer.cancel()
            self._end()

    def _end(self) -> None:
        start = self._clock.monotonic()
        self._timer = None
        corked, self._corked = self._corked, set()
        waiting, self._waiting = self._waiting, []
        for connection in corked:
            connection.uncork()
        end = self._clock.monotonic()
        self._pressure.gathered(start, end, len(waiting))
        for received, recipients in waiting:
            self._latency.record((end - received) * 1000, recipients)
