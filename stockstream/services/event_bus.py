"""The event bus: parts of the house tell each other what happened (documented, section 2.2)."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from itertools import count
from random import Random
from typing import Any, Final, TypeVar, overload

import structlog

from stockstream.core.backoff import Backoff
from stockstream.core.event_history import EventHistory
from stockstream.errors import BusClosedError
from stockstream.model.event import Event, Priority, Topic
from stockstream.ports import Clock
from stockstream.services.event_delivery import (
    BatchHandler,
    DeliveryCounts,
    DeliveryOptions,
    EventFilter,
)
from stockstream.services.event_subscription import Subscription

T = TypeVar("T")

# Seconds that handlers get to end after they were cancelled.
_CANCEL_GRACE: Final = 1.0

_DEFAULTS: Final = DeliveryOptions()
_event_numbers = count(1)
_log = structlog.get_logger(__name__)


class EventBus:
    """Hands each published event to every subscriber of its topic, within this process.

    Each subscriber has a queue and a task of its own, so a slow or failing one holds up nobody:

    * **Order**: what waits leaves by priority; events of one priority leave in the order of their
      publication. One call of a handler at a time.
    * **Delivery**: once to each subscriber; once more for each retry after its handler failed. The
      failing subscriber alone is retried, and its later events wait meanwhile.
    * **Overflow**: where more than ``max_pending`` events wait, the oldest event of the lowest
      priority is dropped and counted: nothing is dropped while something of a lower priority
      waits, so a CRITICAL event only where all that wait are CRITICAL.
    * **Expiry**: an event is not handed over, nor retried, once its ``ttl`` is over.

    Not thread-safe: all of it belongs to the event loop's thread. A handler that blocks blocks
    everybody, as anywhere on that loop.

    Args:
        clock: time for events, ``ttl``, batches and retries.
        random: jitter of retries.
        history_size: most events of the past that are held, all types together.
    """

    def __init__(self, *, clock: Clock, random: Random, history_size: int = 1000) -> None:
        self._clock = clock
        self._random = random
        self._history = EventHistory(history_size)
        self._closed = False
        self._published = 0
        self._subscription_numbers = count(1)
        # By topic, replaced as a whole: a handler may subscribe while events are being published.
        self._by_topic: dict[str, tuple[Subscription, ...]] = {}
        # Also those that were closed while their handler was running.
        self._alive: dict[str, Subscription] = {}
        self._past = DeliveryCounts()

    @property
    def published(self) -> int:
        """Events published since the bus was made."""
        return self._published

    @property
    def subscriptions(self) -> Sequence[Subscription]:
        """Every subscriber that still works, with its own counts and what is pending."""
        return tuple(self._alive.values())

    @property
    def counts(self) -> DeliveryCounts:
        """What became of events at all subscribers, past ones included; none of it goes back."""
        total = DeliveryCounts()
        total.add(self._past)
        for subscription in self._alive.values():
            total.add(subscription.counts)
        return total

    def publish(
        self,
        topic: Topic[T],
        data: T,
        *,
        source: str,
        priority: Priority = Priority.MEDIUM,
        ttl_ms: int | None = None,
    ) -> Event[T]:
        """Tell every subscriber of the topic; never blocks, and calls no handler by itself.

        Args:
            topic: what kind of thing happened.
            data: what happened; subscribers share it and must not change it.
            source: the part of the house that says so.
            priority: which of two waiting events is delivered first.
            ttl_ms: milliseconds from now on after which nobody wants it any more; None: never.

        Returns:
            The event, with its id.

        Raises:
            BusClosedError: nobody will get it.
        """
        if self._closed:
            raise BusClosedError
        event = Event(
            id=f"event-{next(_event_numbers)}",
            type=topic.name,
            timestamp=self._clock.time_ms(),
            source=source,
            data=data,
            priority=priority,
            ttl_ms=ttl_ms,
            expires_at=None if ttl_ms is None else self._clock.monotonic() + ttl_ms / 1000,
        )
        self._published += 1
        self._history.add(event)
        for subscription in self._by_topic.get(topic.name, ()):
            subscription.offer(event)
        return event

    def subscribe(
        self,
        topics: Collection[Topic[T]],
        handler: Callable[[Event[T]], Awaitable[None] | None],
        *,
        name: str = "subscriber",
        filter: Callable[[Event[T]], bool] | None = None,  # noqa: A002 - the documented name
        max_retries: int = _DEFAULTS.max_retries,
        backoff: Backoff = _DEFAULTS.backoff,
        max_pending: int = _DEFAULTS.max_pending,
    ) -> Subscription:
        """Have a function or coroutine function called for each event of some topics.

        Needs a running event loop. Events published earlier are not delivered, see ``history``.

        Args:
            topics: the topics whose events are wanted.
            handler: takes one event. What it raises is retried.
            name: what logs and counters call it; the subscription's id adds a number.
            filter: says at once, while the event is being published, whether it is wanted: quick,
                and without side effects. Where it raises, the event is a dead letter.
            max_retries: how often an event is tried again before it is a dead letter.
            backoff: waiting times between these.
            max_pending: most events that wait for this handler.

        Raises:
            BusClosedError: there will be no events.
            ValueError: one of the numbers makes no sense.
        """
        options = DeliveryOptions(max_retries=max_retries, backoff=backoff, max_pending=max_pending)
        return self._add(name, topics, lambda batch: handler(batch[0]), filter, options)

    def subscribe_batches(
        self,
        topics: Collection[Topic[T]],
        handler: Callable[[Sequence[Event[T]]], Awaitable[None] | None],
        *,
        batch_size: int,
        batch_timeout: float = _DEFAULTS.batch_timeout,
        name: str = "subscriber",
        filter: Callable[[Event[T]], bool] | None = None,  # noqa: A002 - the documented name
        max_retries: int = _DEFAULTS.max_retries,
        backoff: Backoff = _DEFAULTS.backoff,
        max_pending: int = _DEFAULTS.max_pending,
    ) -> Subscription:
        """Have a handler called with several events at once; the rest is as with ``subscribe``.

        A batch that failed is retried as a whole, without those of its events that expired in the
        meantime: a handler that may fail halfway has to bear events that it already knows.

        Args:
            topics: the topics whose events are wanted.
            handler: takes 1 to ``batch_size`` events, the highest priority first.
            batch_size: a batch of that size is delivered at once.
            batch_timeout: seconds that a smaller one is waited for after its first event, or after
                the call before it if that ended later. An event with a shorter ``ttl`` may
                expire meanwhile.
            name: as with ``subscribe``.
            filter: as with ``subscribe``.
            max_retries: as with ``subscribe``.
            backoff: as with ``subscribe``.
            max_pending: as with ``subscribe``; a batch never gets larger than this either.

        Raises:
            BusClosedError: there will be no events.
            ValueError: one of the numbers makes no sense.
        """
        options = DeliveryOptions(
            batch_size=min(batch_size, max_pending),
            batch_timeout=batch_timeout,
            max_retries=max_retries,
            backoff=backoff,
            max_pending=max_pending,
        )
        return self._add(name, topics, handler, filter, options)

    @overload
    def history(self, topic: Topic[T], limit: int = 100) -> Sequence[Event[T]]: ...

    @overload
    def history(self, topic: None = None, limit: int = 100) -> Sequence[Event[Any]]: ...

    def history(self, topic: Topic[Any] | None = None, limit: int = 100) -> Sequence[Event[Any]]:
        """Return at most ``limit`` past events of a topic (None: of all), the newest first.

        Events are held whether or not anybody got them, and also after their ``ttl``.
        """
        return self._history.newest(None if topic is None else topic.name, limit)

    def clear_history(self) -> None:
        """Forget the past; events that still wait are delivered nevertheless."""
        self._history.clear()

    async def aclose(self, deadline: float) -> Mapping[str, int]:
        """Refuse new events, and finish those that were accepted, retries included.

        Batches no longer wait to be full. Calling it twice does no harm. Where it is cancelled, it
        gives up what is left at once.

        Args:
            deadline: seconds after which handlers are cancelled and the rest is given up.

        Returns:
            How many accepted events were not delivered, by subscription id; empty when all were.
        """
        self._closed = True
        subscriptions = self.subscriptions
        for subscription in subscriptions:
            subscription.drain()
        try:
            await self._until_ended(subscriptions, deadline)
        finally:
            undelivered = {each.id: each.pending for each in subscriptions if each.pending}
            for subscription in subscriptions:
                subscription.abort()
        await self._until_ended(subscriptions, _CANCEL_GRACE)
        if undelivered:
            _log.warning("events_undelivered", by_subscription=undelivered)
        return undelivered

    def _add(
        self,
        name: str,
        topics: Collection[Topic[Any]],
        handler: BatchHandler,
        accepts: EventFilter | None,
        options: DeliveryOptions,
    ) -> Subscription:
        if self._closed:
            raise BusClosedError
        subscription = Subscription(
            f"{name}-{next(self._subscription_numbers)}",
            topics=frozenset(topic.name for topic in topics),
            handler=handler,
            accepts=accepts,
            options=options,
            clock=self._clock,
            random=self._random,
            on_close=self._remove,
        )
        for topic in subscription.topics:
            self._by_topic[topic] = (*self._by_topic.get(topic, ()), subscription)
        self._alive[subscription.id] = subscription
        subscription.task.add_done_callback(lambda _: self._settle(subscription))
        return subscription

    def _remove(self, subscription: Subscription) -> None:
        for topic in subscription.topics:
            others = self._by_topic.pop(topic, ())
            rest = tuple(each for each in others if each is not subscription)
            if rest:
                self._by_topic[topic] = rest

    def _settle(self, subscription: Subscription) -> None:
        del self._alive[subscription.id]
        self._past.add(subscription.counts)

    async def _until_ended(self, subscriptions: Sequence[Subscription], seconds: float) -> None:
        tasks = [each.task for each in subscriptions if not each.task.done()]
        if not tasks:
            return
        timer = asyncio.create_task(self._clock.sleep(seconds))
        all_ended = asyncio.create_task(asyncio.wait(tasks))
        try:
            await asyncio.wait({timer, all_ended}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
            all_ended.cancel()
