"""Runs what clients ask for: in order for each client, bounded, in tasks that are owned."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from stockstream.engine.core.connection import Connection
from stockstream.engine.core.deadlines import Deadlines
from stockstream.engine.limits import Limits
from stockstream.engine.metrics import Metrics
from stockstream.engine.shell.timer import SharedTimer
from stockstream.engine.sio.peer import Peer

logger = logging.getLogger("stockstream.engine")


class Inbox:
    """Starts the jobs of each client in their order.

    A client has no task while it has nothing to do. A burst of events is worked off by one
    task; a second one joins only where a handler waits for something.

    Args:
        at_once: Jobs of one client that may run at the same time; 1 runs them in turn.
        limits: Of queues.
        metrics: Where it is counted that handlers were stopped.
        owed: The job that runs even if its client has been gone for too long.
    """

    def __init__(
        self,
        *,
        at_once: int,
        limits: Limits,
        metrics: Metrics,
        owed: Callable[..., Coroutine[Any, Any, None]],
    ) -> None:
        self._at_once = at_once
        self._most = limits.queued_events
        self._drain_seconds = limits.drain_seconds
        self._metrics = metrics
        self._owed = owed
        self._tasks: dict[asyncio.Task[None], Peer] = {}
        self._timer = SharedTimer(self._tick, None)
        # Clients that are gone and have jobs left.
        self._gone: Deadlines[Peer] = Deadlines(limits.drain_seconds, self._timer.arm)
        self._closed = False

    def __len__(self) -> int:
        return len(self._tasks)

    def put(
        self, peer: Peer, function: Callable[..., Coroutine[Any, Any, None]], *args: Any
    ) -> None:
        """Run a coroutine function when it is the client's turn.

        Beyond `Limits.queued_events` the client's socket is not read until half of them are
        done.
        """
        jobs = peer.jobs
        if jobs is None:
            jobs = peer.jobs = deque()
        jobs.append((function, args))
        if len(jobs) >= self._most:
            peer.connection.hold()
        self._staff(peer)

    def run(
        self, peer: Peer, function: Callable[..., Coroutine[Any, Any, None]], *args: Any
    ) -> None:
        """Run a coroutine function at once, beside the queue.

        For acknowledgements: a handler of the same client may be waiting for one.
        """
        self._start(peer, function(*args))

    def finish(self, peer: Peer) -> None:
        """Give the jobs of a client that is gone a deadline.

        After `Limits.drain_seconds` those that run are stopped, those that wait are dropped, and
        what the client is owed starts at once.
        """
        if peer.workers:
            self._gone.start(peer, self._timer.now())

    async def close(self) -> None:
        """Wait a while for all jobs, then stop them."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=self._drain_seconds)
        # What waits behind a handler that hangs would only hang the shutdown.
        self._closed = True
        self._timer.stop()
        left = list(self._tasks)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def _start(self, peer: Peer, job: Coroutine[Any, Any, None]) -> None:
        peer.workers += 1
        task = asyncio.get_running_loop().create_task(job)
        self._tasks[task] = peer
        task.add_done_callback(self._done)

    def _staff(self, peer: Peer) -> None:
        if self._closed or peer.starting or peer.workers >= self._at_once:
            return
        peer.starting = True
        self._start(peer, self._work(peer))

    async def _work(self, peer: Peer) -> None:
        peer.starting = False
        while peer.jobs:
            function, args = peer.jobs.popleft()
            connection = peer.connection
            if connection.held and len(peer.jobs) <= self._most // 2:
                connection.release()
            if peer.jobs:
                # In case this job waits for something.
                self._staff(peer)
                # The answers to what came in together leave together.
                gather(connection)
            await function(*args)

    def _done(self, task: asyncio.Task[None]) -> None:
        peer = self._tasks.pop(task)
        peer.workers -= 1
        if not task.cancelled() and task.exception() is not None:
            logger.error("a client's event was lost", exc_info=task.exception())
        if peer.jobs:
            self._staff(peer)
        elif not peer.workers:
            peer.jobs = None
            self._gone.cancel(peer)

    def _tick(self, now: float) -> float | None:
        late = set(self._gone.expired(now))
        # One pass for all of them: thousands may leave at once.
        for task, peer in list(self._tasks.items()):
            if peer in late:
                self._metrics.handlers_stopped += 1
                task.cancel()
        for peer in late:
            self._give_up(peer)
        return self._gone.next()

    def _give_up(self, peer: Peer) -> None:
        jobs, peer.jobs = peer.jobs or (), None
        # A task that was cancelled before its first step never says so itself.
        peer.starting = False
        for function, args in jobs:
            if function == self._owed:
                self.run(peer, function, *args)
            else:
                self._metrics.handlers_stopped += 1
        # Handlers may resist, and what is owed may hang as well.
        self._gone.start(peer, self._timer.now())


def gather(connection: Connection, seconds: float = 0.0) -> None:
    """Let what is sent to a client within so many seconds leave in one write.

    Args:
        connection: The client's.
        seconds: Zero for no longer than the loop's present turn.
    """
    if connection.cork():
        loop = asyncio.get_running_loop()
        if seconds:
            loop.call_later(seconds, connection.uncork)
        else:
            loop.call_soon(connection.uncork)
