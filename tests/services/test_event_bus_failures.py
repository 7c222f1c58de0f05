import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from structlog.testing import capture_logs

from stockstream.model.event import Event
from stockstream.services.event_bus import EventBus
from stockstream.services.event_delivery import DeliveryCounts
from tests.services.event_bus_support import NUMBERS, WAITS, Hold, open_bus, settled, until
from tests.support.clock import ManualClock


class BrokenError(Exception):
    """What the handlers of these tests raise."""


class Flaky:
    """A handler whose first calls fail."""

    def __init__(self, failures: int) -> None:
        self._failures = failures
        self.calls: list[int] = []

    def __call__(self, event: Event[int]) -> None:
        self.calls.append(event.data)
        if len(self.calls) <= self._failures:
            raise BrokenError(f"call {len(self.calls)}")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def bus(clock: ManualClock) -> AsyncIterator[EventBus]:
    async with open_bus(clock) as opened:
        yield opened


async def test_failing_subscriber_alone_is_retried(bus: EventBus, clock: ManualClock) -> None:
    flaky, healthy = Flaky(2), Flaky(0)
    failing = bus.subscribe([NUMBERS], flaky, backoff=WAITS)
    other = bus.subscribe([NUMBERS], healthy)

    bus.publish(NUMBERS, 1, source="test")
    await clock.advance(10)

    assert flaky.calls == [1, 1, 1]
    assert healthy.calls == [1]
    assert failing.counts == DeliveryCounts(accepted=1, delivered=1, retried=2)
    assert other.counts == DeliveryCounts(accepted=1, delivered=1)
    assert bus.counts == DeliveryCounts(accepted=2, delivered=2, retried=2)


async def test_retries_wait_longer_each_time(bus: EventBus, clock: ManualClock) -> None:
    started = clock.monotonic()
    called: list[float] = []

    def fail(_: Event[int]) -> None:
        called.append(clock.monotonic() - started)
        raise BrokenError

    bus.subscribe([NUMBERS], fail, backoff=WAITS, max_retries=3)
    bus.publish(NUMBERS, 1, source="test")
    await clock.advance(60)

    assert called == [0, 1, 3, 7]


async def test_after_the_last_retry_an_event_is_a_dead_letter_and_the_next_is_delivered(
    bus: EventBus, clock: ManualClock
) -> None:
    flaky = Flaky(3)
    subscription = bus.subscribe([NUMBERS], flaky, backoff=WAITS, max_retries=2)

    dead = bus.publish(NUMBERS, 1, source="test")
    bus.publish(NUMBERS, 2, source="test")
    await clock.advance(10)

    assert flaky.calls == [1, 1, 1, 2]
    assert subscription.counts == DeliveryCounts(accepted=2, delivered=1, retried=2, dead=1)
    (letter,) = subscription.dead_letters
    assert (letter.event, letter.error, letter.attempts) == (dead, "BrokenError: call 3", 3)


async def test_later_events_wait_for_the_retries_of_an_earlier_one(
    bus: EventBus, clock: ManualClock
) -> None:
    flaky = Flaky(1)
    subscription = bus.subscribe([NUMBERS], flaky, backoff=WAITS)

    bus.publish(NUMBERS, 1, source="test")
    bus.publish(NUMBERS, 2, source="test")
    await clock.advance(0.9)
    assert (flaky.calls, subscription.pending) == ([1], 2)
    await clock.advance(0.1)

    assert flaky.calls == [1, 1, 2]


async def test_event_that_expires_between_retries_is_given_up(
    bus: EventBus, clock: ManualClock
) -> None:
    flaky = Flaky(9)
    subscription = bus.subscribe([NUMBERS], flaky, backoff=WAITS, max_retries=9)

    bus.publish(NUMBERS, 1, source="test", ttl_ms=2_000)
    await clock.advance(60)

    assert flaky.calls == [1, 1]
    assert subscription.counts == DeliveryCounts(accepted=1, retried=1, expired=1)


async def test_failed_batch_is_retried_without_what_expired(
    bus: EventBus, clock: ManualClock
) -> None:
    calls: list[list[int]] = []

    def fail_once(batch: Sequence[Event[int]]) -> None:
        calls.append([event.data for event in batch])
        if len(calls) == 1:
            raise BrokenError

    subscription = bus.subscribe_batches([NUMBERS], fail_once, batch_size=2, backoff=WAITS)
    bus.publish(NUMBERS, 1, source="test", ttl_ms=500)
    bus.publish(NUMBERS, 2, source="test")
    await clock.advance(1)

    assert calls == [[1, 2], [2]]
    assert subscription.counts == DeliveryCounts(accepted=2, delivered=1, retried=1, expired=1)


async def test_every_event_of_a_dead_batch_is_a_dead_letter(bus: EventBus) -> None:
    def fail(_: Sequence[Event[int]]) -> None:
        raise BrokenError

    subscription = bus.subscribe_batches([NUMBERS], fail, batch_size=3, max_retries=0)
    for number in range(3):
        bus.publish(NUMBERS, number, source="test")
    await settled(subscription)

    assert [letter.event.data for letter in subscription.dead_letters] == [0, 1, 2]
    assert subscription.counts.dead == 3


async def test_dead_letters_are_bounded_and_their_count_is_not(bus: EventBus) -> None:
    subscription = bus.subscribe([NUMBERS], Flaky(500), max_retries=0)
    for number in range(500):
        bus.publish(NUMBERS, number, source="test")
    await settled(subscription)

    assert subscription.counts.dead == 500
    assert [letter.event.data for letter in subscription.dead_letters] == list(range(400, 500))


async def test_call_that_fails_after_its_subscription_was_closed_is_not_repeated(
    bus: EventBus, clock: ManualClock
) -> None:
    calls: list[int] = []

    def close_and_fail(event: Event[int]) -> None:
        calls.append(event.data)
        subscription.close()
        raise BrokenError

    subscription = bus.subscribe([NUMBERS], close_and_fail, backoff=WAITS)
    bus.publish(NUMBERS, 1, source="test")
    await clock.advance(60)

    assert calls == [1]
    assert subscription.task.done()
    assert subscription.counts == DeliveryCounts(accepted=1, dead=1)


async def test_filter_that_fails_makes_a_dead_letter_and_spares_the_publisher(
    bus: EventBus,
) -> None:
    got: list[int] = []

    def choosy(event: Event[int]) -> bool:
        if event.data == 1:
            raise BrokenError
        return True

    subscription = bus.subscribe(
        [NUMBERS], lambda event: got.append(event.data), filter=choosy, backoff=WAITS
    )
    for number in range(3):
        bus.publish(NUMBERS, number, source="test")
    await settled(subscription)

    assert got == [0, 2]
    assert subscription.counts == DeliveryCounts(accepted=3, delivered=2, dead=1)
    assert subscription.dead_letters[0].attempts == 0


async def test_handler_whose_own_work_was_cancelled_failed_like_any_other(
    bus: EventBus, clock: ManualClock
) -> None:
    calls: list[int] = []

    async def cancelled_once(event: Event[int]) -> None:
        calls.append(event.data)
        if len(calls) == 1:
            raise asyncio.CancelledError

    bus.subscribe([NUMBERS], cancelled_once, backoff=WAITS)
    bus.publish(NUMBERS, 1, source="test")
    bus.publish(NUMBERS, 2, source="test")
    await clock.advance(1)

    assert calls == [1, 1, 2]


async def test_subscriber_that_fails_for_good_is_logged_once_until_it_recovers(
    bus: EventBus,
) -> None:
    with capture_logs() as logs:
        subscription = bus.subscribe([NUMBERS], Flaky(20), name="flaky", max_retries=0)
        for number in range(30):
            bus.publish(NUMBERS, number, source="test")
        await settled(subscription)

    assert [(log["event"], log["subscription"]) for log in logs] == [
        ("event_subscriber_failed", subscription.id),
        ("event_subscriber_recovered", subscription.id),
    ]
    assert isinstance(logs[0]["exc_info"], BrokenError)


async def test_overflow_is_logged_once_for_each_backlog(bus: EventBus) -> None:
    with capture_logs() as logs:
        subscription = bus.subscribe([NUMBERS], lambda _: None, max_pending=2)
        for _ in range(2):
            for number in range(10):
                bus.publish(NUMBERS, number, source="test")
            await settled(subscription)
            await until(lambda: subscription.counts.delivered % 2 == 0)

    assert [log["event"] for log in logs] == ["event_subscriber_too_slow"] * 2
    assert subscription.counts.dropped == 16


async def test_closing_the_bus_finishes_what_was_accepted(
    bus: EventBus, clock: ManualClock
) -> None:
    flaky = Flaky(2)
    batches: list[int] = []
    bus.subscribe([NUMBERS], flaky, backoff=WAITS)
    bus.subscribe_batches(
        [NUMBERS],
        lambda batch: batches.append(len(batch)),
        batch_size=100,
        batch_timeout=3_600,
    )
    for number in range(5):
        bus.publish(NUMBERS, number, source="test")

    closing = asyncio.create_task(bus.aclose(10))
    await clock.advance(3)

    assert closing.done()
    assert await closing == {}
    assert batches == [5]
    assert flaky.calls == [0, 0, 0, 1, 2, 3, 4]
    assert bus.subscriptions == ()


async def test_closing_a_bus_whose_batch_is_being_waited_for_delivers_it(
    bus: EventBus, clock: ManualClock
) -> None:
    batches: list[int] = []
    bus.subscribe_batches(
        [NUMBERS], lambda batch: batches.append(len(batch)), batch_size=9, batch_timeout=3_600
    )
    bus.publish(NUMBERS, 1, source="test")
    await clock.wait_for_sleepers(1)

    assert await bus.aclose(10) == {}
    assert batches == [1]


async def test_closed_bus_says_what_it_could_not_deliver_by_its_deadline(
    bus: EventBus, clock: ManualClock
) -> None:
    hold = Hold()
    stuck = bus.subscribe([NUMBERS], hold, name="stuck")
    fine = bus.subscribe([NUMBERS], lambda _: None)
    for number in range(3):
        bus.publish(NUMBERS, number, source="test")
    await hold.entered.wait()

    closing = asyncio.create_task(bus.aclose(5))
    await clock.advance(4.9)
    assert not closing.done()
    await clock.advance(0.1)

    assert await closing == {stuck.id: 3}
    assert stuck.task.done()
    assert stuck.counts == DeliveryCounts(accepted=3, abandoned=3)
    assert fine.counts == DeliveryCounts(accepted=3, delivered=3)


async def test_handler_that_ignores_its_cancellation_does_not_hang_the_close(
    bus: EventBus, clock: ManualClock
) -> None:
    entered, let_go = asyncio.Event(), asyncio.Event()

    async def stubborn(_: Event[int]) -> None:
        entered.set()
        while not let_go.is_set():
            try:
                await let_go.wait()
            except asyncio.CancelledError:
                continue

    subscription = bus.subscribe([NUMBERS], stubborn)
    bus.publish(NUMBERS, 1, source="test")
    bus.publish(NUMBERS, 2, source="test")
    await entered.wait()

    closing = asyncio.create_task(bus.aclose(5))
    await clock.advance(10)
    assert await closing == {subscription.id: 2}

    let_go.set()
    await until(subscription.task.done)
    # The call that was under way came to its end after all; the event behind it was given up.
    assert subscription.counts == DeliveryCounts(accepted=2, delivered=1, abandoned=1)


async def test_cancelled_close_still_ends_every_task(bus: EventBus, clock: ManualClock) -> None:
    hold = Hold()
    subscription = bus.subscribe([NUMBERS], hold)
    bus.publish(NUMBERS, 1, source="test")
    await hold.entered.wait()

    closing = asyncio.create_task(bus.aclose(5))
    await clock.wait_for_sleepers(1)
    closing.cancel()
    await until(subscription.task.done)

    with pytest.raises(asyncio.CancelledError):
        await closing
    assert subscription.counts.abandoned == 1
