"""One subscriber of the event bus: its queue, its task, its retries and its dead letters."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from inspect import isawaitable
from random import Random
from types import TracebackType
from typing import Any, Final, Self

import structlog

from stockstream.core.event_queue import EventQueue
from stockstream.model.event import Event
from stockstream.ports import Clock
from stockstream.services.event_delivery import (
    BatchHandler,
    DeadLetter,
    DeliveryCounts,
    DeliveryOptions,
    EventFilter,
)

# Calls after which a subscriber with a backlog lets others run, even if its handler never awaits.
_TURN: Final = 64
# Dead letters that a subscription keeps for whoever looks for the cause.
_MAX_DEAD_LETTERS: Final = 100

_log = structlog.get_logger(__name__)


class Subscription:
    """Hands the events of some topics to one handler, one call at a time.

    Made by the bus. As a context manager it is closed at the end of the block.
    """

    def __init__(
        self,
        subscription_id: str,
        *,
        topics: frozenset[str],
        handler: BatchHandler,
        accepts: EventFilter | None,
        options: DeliveryOptions,
        clock: Clock,
        random: Random,
        on_close: Callable[["Subscription"], None],
    ) -> None:
        #: Unique within the bus.
        self.id = subscription_id
        #: Names of the topics.
        self.topics = topics
        self._handler = handler
        self._accepts = accepts
        self._options = options
        self._clock = clock
        self._random = random
        self._on_close = on_close
        self._counts = DeliveryCounts()
        self._dead_letters: deque[DeadLetter] = deque(maxlen=_MAX_DEAD_LETTERS)
        self._queue = EventQueue(options.max_pending)
        # What was taken from the queue, and is neither delivered nor given up.
        self._in_hand: Sequence[Event[Any]] = ()
        self._handling = False
        # Nothing more will come: deliver what waits without waiting for a batch to fill, then end.
        self._draining = False
        self._closed = False
        self._overflowing = False
        self._failing = False
        self._wake = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"bus {self.id}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def task(self) -> "asyncio.Task[None]":
        """The task that calls the handler; it ends after the subscription was closed."""
        return self._task

    @property
    def pending(self) -> int:
        """Events that wait, or that the handler has not yet taken with success."""
        return len(self._queue) + len(self._in_hand)

    @property
    def counts(self) -> DeliveryCounts:
        """What became of its events so far."""
        return replace(self._counts)

    @property
    def dead_letters(self) -> Sequence[DeadLetter]:
        """The last 100 events that it could not handle, the oldest first."""
        return tuple(self._dead_letters)

    def close(self) -> None:
        """Take no more events, and abandon those that wait.

        A call of the handler that is under way goes on to its end, but is not repeated if it
        fails. Closing twice does no harm; a handler may close its own subscription.
        """
        if not self._closed:
            self._detach()
            if not self._handling:
                self._task.cancel()

    def abort(self) -> None:
        """Close, and cancel a call of the handler that is under way."""
        self.close()
        self._task.cancel()

    def drain(self) -> None:
        """End as soon as all that was accepted is delivered or given up."""
        self._draining = True
        self._wake.set()

    def offer(self, event: Event[Any]) -> None:
        """Accept an event of one of its topics; never blocks, never calls the handler."""
        if self._accepts is not None and not self._passes_filter(self._accepts, event):
            return
        self._counts.accepted += 1
        if self._queue.push(event) is not None:
            self._note_overflow()
        self._wake.set()

    def _passes_filter(self, accepts: EventFilter, event: Event[Any]) -> bool:
        try:
            return accepts(event)
        except Exception as error:  # noqa: BLE001 - the border to code of the subscriber
            self._counts.accepted += 1
            self._bury((event,), error, attempts=0)
            return False

    def _note_overflow(self) -> None:
        self._counts.dropped += 1
        # Said once for each backlog: the counter has the rest.
        if not self._overflowing:
            self._overflowing = True
            _log.warning(
                "event_subscriber_too_slow", subscription=self.id, pending=len(self._queue)
            )

    async def _run(self) -> None:
        calls = 0
        try:
            while await self._ready():
                await self._deliver(self._take())
                calls += 1
                if calls % _TURN == 0:
                    await asyncio.sleep(0)
        finally:
            self._detach()
            self._counts.abandoned += len(self._in_hand)
            self._in_hand = ()

    def _detach(self) -> None:
        self._closed = True
        self._on_close(self)
        self._counts.abandoned += self._queue.clear()
        self.drain()

    async def _ready(self) -> bool:
        """Wait until there is something to deliver; False when nothing will come any more."""
        while not self._queue:
            self._overflowing = False
            if self._draining:
                return False
            await self._woken()
        if len(self._queue) < self._options.batch_size:
            await self._fill_batch()
        return True

    async def _woken(self) -> None:
        self._wake.clear()
        await self._wake.wait()

    async def _fill_batch(self) -> None:
        timer = asyncio.create_task(self._clock.sleep(self._options.batch_timeout))
        timer.add_done_callback(lambda _: self._wake.set())
        try:
            while not (
                self._draining or timer.done() or len(self._queue) >= self._options.batch_size
            ):
                await self._woken()
        finally:
            timer.cancel()

    def _take(self) -> Sequence[Event[Any]]:
        queue = self._queue
        return [queue.pop() for _ in range(min(len(queue), self._options.batch_size))]

    async def _deliver(self, batch: Sequence[Event[Any]]) -> None:
        """Call the handler until it succeeds; closing the subscription cancels waiting times."""
        failures = 0
        while batch := self._unexpired(batch):
            self._in_hand = batch
            if failures:
                self._counts.retried += len(batch)
            error = await self._call(batch)
            if error is None:
                self._note_success(len(batch))
                return
            if self._closed or failures == self._options.max_retries:
                self._in_hand = ()
                self._bury(batch, error, attempts=failures + 1)
                return
            failures += 1
            await self._clock.sleep(self._options.backoff.delay(failures, self._random))

    def _unexpired(self, batch: Sequence[Event[Any]]) -> Sequence[Event[Any]]:
        # Nearly no event has a ttl: those don't cost a look at the clock.
        if all(event.expires_at is None for event in batch):
            return batch
        now = self._clock.monotonic()
        alive = [event for event in batch if event.expires_at is None or now < event.expires_at]
        self._counts.expired += len(batch) - len(alive)
        self._in_hand = alive
        return alive

    async def _call(self, batch: Sequence[Event[Any]]) -> BaseException | None:
        """Call the handler; return the error that it raised."""
        self._handling = True
        try:
            result = self._handler(batch)
            if isawaitable(result):
                await result
        except asyncio.CancelledError as error:
            # A handler whose own work was cancelled failed like any other.
            if self._task.cancelling():
                raise
            return error
        except Exception as error:  # noqa: BLE001 - the border to code of the subscriber
            return error
        finally:
            self._handling = False
        return None

    def _note_success(self, count: int) -> None:
        self._in_hand = ()
        self._counts.delivered += count
        if self._failing:
            self._failing = False
            _log.info("event_subscriber_recovered", subscription=self.id, dead=self._counts.dead)

    def _bury(self, batch: Sequence[Event[Any]], error: BaseException, *, attempts: int) -> None:
        text = f"{type(error).__name__}: {error}"
        self._dead_letters.extend(
            DeadLetter(event=event, error=text, attempts=attempts) for event in batch
        )
        self._counts.dead += len(batch)
        # A subscriber that fails for good would flood the log: it speaks up once until it recovers.
        if not self._failing:
            self._failing = True
            _log.error(
                "event_subscriber_failed",
                subscription=self.id,
                event_type=batch[0].type,
                events_lost=len(batch),
                exc_info=error,
            )
