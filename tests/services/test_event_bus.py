import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from stockstream.errors import BusClosedError
from stockstream.model.event import Event, Priority, Topic
from stockstream.services.event_bus import EventBus
from stockstream.services.event_delivery import DeliveryCounts
from tests.services.event_bus_support import NUMBERS, WORDS, Hold, open_bus, settled, until
from tests.support.clock import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def bus(clock: ManualClock) -> AsyncIterator[EventBus]:
    async with open_bus(clock, history_size=10) as opened:
        yield opened


async def test_event_reaches_subscribers_of_its_topic_only(
    bus: EventBus, clock: ManualClock
) -> None:
    numbers: list[Event[int]] = []
    words: list[Event[str]] = []

    async def take_word(event: Event[str]) -> None:
        await asyncio.sleep(0)
        words.append(event)

    first = bus.subscribe([NUMBERS], numbers.append)
    second = bus.subscribe([WORDS], take_word)
    number = bus.publish(NUMBERS, 7, source="test", priority=Priority.LOW, ttl_ms=500)
    word = bus.publish(WORDS, "seven", source="test")
    await settled(first, second)

    assert numbers == [number]
    assert words == [word]
    assert number.id != word.id
    assert (number.type, number.data, number.source, number.priority, number.ttl_ms) == (
        "numbers",
        7,
        "test",
        Priority.LOW,
        500,
    )
    assert number.timestamp == clock.time_ms()


async def test_one_handler_takes_several_topics_in_order(bus: EventBus) -> None:
    topics: list[Topic[Any]] = [NUMBERS, WORDS]
    got: list[object] = []
    subscription = bus.subscribe(topics, lambda event: got.append(event.data))

    bus.publish(NUMBERS, 1, source="test")
    bus.publish(WORDS, "two", source="test")
    bus.publish(NUMBERS, 3, source="test")
    await settled(subscription)

    assert got == [1, "two", 3]


async def test_publishing_calls_no_handler_by_itself(bus: EventBus) -> None:
    got: list[Event[int]] = []
    subscription = bus.subscribe([NUMBERS], got.append)

    bus.publish(NUMBERS, 1, source="test")

    assert got == []
    assert subscription.pending == 1


async def test_filter_keeps_unwanted_events_out(bus: EventBus) -> None:
    got: list[int] = []
    even = bus.subscribe(
        [NUMBERS], lambda event: got.append(event.data), filter=lambda event: event.data % 2 == 0
    )

    for number in range(6):
        bus.publish(NUMBERS, number, source="test")
    await settled(even)

    assert got == [0, 2, 4]
    assert even.counts == DeliveryCounts(accepted=3, delivered=3)


async def test_what_waits_leaves_by_priority(bus: EventBus) -> None:
    got: list[tuple[str, int]] = []
    subscription = bus.subscribe(
        [NUMBERS], lambda event: got.append((event.priority.name, event.data))
    )

    for number, priority in enumerate([*Priority, *Priority]):
        bus.publish(NUMBERS, number, source="test", priority=priority)
    await settled(subscription)

    assert got == [
        ("CRITICAL", 3),
        ("CRITICAL", 7),
        ("HIGH", 2),
        ("HIGH", 6),
        ("MEDIUM", 1),
        ("MEDIUM", 5),
        ("LOW", 0),
        ("LOW", 4),
    ]


async def test_event_expires_while_it_waits(bus: EventBus, clock: ManualClock) -> None:
    hold = Hold()
    busy = bus.subscribe([NUMBERS], hold)
    bus.publish(NUMBERS, 1, source="test")
    await hold.entered.wait()
    bus.publish(NUMBERS, 2, source="test", ttl_ms=1_000)
    bus.publish(NUMBERS, 3, source="test", ttl_ms=1_001)
    await clock.advance(1)

    hold.let_go.set()
    await settled(busy)

    assert busy.counts == DeliveryCounts(accepted=3, delivered=2, expired=1)


async def test_setting_the_wall_clock_expires_nothing(bus: EventBus, clock: ManualClock) -> None:
    subscription = bus.subscribe([NUMBERS], lambda _: None)
    bus.publish(NUMBERS, 1, source="test", ttl_ms=10)

    clock.jump(3_600)
    await settled(subscription)

    assert subscription.counts == DeliveryCounts(accepted=1, delivered=1)


async def test_slow_handler_holds_up_nobody(bus: EventBus) -> None:
    hold = Hold()
    slow = bus.subscribe([NUMBERS], hold)
    got: list[int] = []
    quick = bus.subscribe([NUMBERS], lambda event: got.append(event.data))

    for number in range(100):
        bus.publish(NUMBERS, number, source="test")
    await settled(quick)

    assert got == list(range(100))
    assert slow.pending == 100


async def test_backlog_of_a_handler_that_never_awaits_lets_others_run(bus: EventBus) -> None:
    backlog = bus.subscribe([NUMBERS], lambda _: None)
    for number in range(1_000):
        bus.publish(NUMBERS, number, source="test")

    await until(lambda: backlog.counts.delivered > 0)

    assert backlog.counts.delivered < 1_000


async def test_full_queue_drops_the_oldest_of_the_lowest_priority(bus: EventBus) -> None:
    got: list[int] = []
    subscription = bus.subscribe([NUMBERS], lambda event: got.append(event.data), max_pending=3)

    bus.publish(NUMBERS, 0, source="test", priority=Priority.CRITICAL)
    for number in range(1, 6):
        bus.publish(NUMBERS, number, source="test")
    bus.publish(NUMBERS, 6, source="test", priority=Priority.LOW)
    await settled(subscription)

    assert got == [0, 4, 5]
    assert subscription.counts == DeliveryCounts(accepted=7, delivered=3, dropped=4)


async def test_full_batch_is_delivered_at_once(bus: EventBus) -> None:
    got: list[list[int]] = []
    subscription = bus.subscribe_batches(
        [NUMBERS], lambda batch: got.append([event.data for event in batch]), batch_size=3
    )

    for number in range(6):
        bus.publish(NUMBERS, number, source="test")
    await settled(subscription)

    assert got == [[0, 1, 2], [3, 4, 5]]


async def test_batch_that_fills_in_time_leaves_no_timer_behind(
    bus: EventBus, clock: ManualClock
) -> None:
    subscription = bus.subscribe_batches(
        [NUMBERS], lambda _: None, batch_size=2, batch_timeout=3_600
    )
    bus.publish(NUMBERS, 1, source="test")
    await clock.wait_for_sleepers(1)
    bus.publish(NUMBERS, 2, source="test")
    await settled(subscription)

    await until(lambda: clock.sleepers == 0)


async def test_batch_that_does_not_fill_is_delivered_when_its_time_is_over(
    bus: EventBus, clock: ManualClock
) -> None:
    got: list[Sequence[Event[int]]] = []
    bus.subscribe_batches([NUMBERS], got.append, batch_size=3, batch_timeout=0.5)

    bus.publish(NUMBERS, 1, source="test")
    await clock.advance(0.3)
    bus.publish(NUMBERS, 2, source="test")
    await clock.advance(0.1)
    assert got == []
    await clock.advance(0.1)

    assert [[event.data for event in batch] for batch in got] == [[1, 2]]


async def test_batch_is_never_waited_for_beyond_what_the_queue_holds(bus: EventBus) -> None:
    got: list[Sequence[Event[int]]] = []
    subscription = bus.subscribe_batches([NUMBERS], got.append, batch_size=10, max_pending=2)

    bus.publish(NUMBERS, 1, source="test")
    bus.publish(NUMBERS, 2, source="test")
    await settled(subscription)

    assert [len(batch) for batch in got] == [2]


async def test_closed_subscription_gets_nothing_more(bus: EventBus) -> None:
    got: list[Event[int]] = []
    with bus.subscribe([NUMBERS], got.append, name="short") as subscription:
        bus.publish(NUMBERS, 1, source="test")
        await settled(subscription)
        bus.publish(NUMBERS, 2, source="test")
    bus.publish(NUMBERS, 3, source="test")
    await until(lambda: not bus.subscriptions)

    assert [event.data for event in got] == [1]
    assert subscription.counts == DeliveryCounts(accepted=2, delivered=1, abandoned=1)
    assert bus.counts == subscription.counts


async def test_handler_may_close_its_own_subscription(bus: EventBus) -> None:
    got: list[int] = []

    async def once(event: Event[int]) -> None:
        subscription.close()
        await asyncio.sleep(0)
        got.append(event.data)

    subscription = bus.subscribe([NUMBERS], once)
    bus.publish(NUMBERS, 1, source="test")
    bus.publish(NUMBERS, 2, source="test")
    await until(subscription.task.done)

    assert got == [1]
    assert subscription.counts == DeliveryCounts(accepted=2, delivered=1, abandoned=1)


async def test_subscription_that_is_closed_at_once_leaves_nothing_behind(bus: EventBus) -> None:
    subscription = bus.subscribe([NUMBERS, NUMBERS], lambda _: None)
    subscription.close()
    subscription.close()
    await until(lambda: not bus.subscriptions)

    bus.publish(NUMBERS, 1, source="test")
    assert bus.counts == DeliveryCounts()


async def test_two_subscribers_of_one_name_have_ids_of_their_own(bus: EventBus) -> None:
    first = bus.subscribe([NUMBERS], lambda _: None, name="same")
    second = bus.subscribe([NUMBERS], lambda _: None, name="same")

    assert first.id != second.id
    assert first.id.startswith("same")


async def test_history_gives_the_newest_of_a_type_first(bus: EventBus) -> None:
    numbers = [bus.publish(NUMBERS, number, source="test") for number in range(4)]
    word = bus.publish(WORDS, "word", source="test")

    assert bus.history(NUMBERS) == numbers[::-1]
    assert bus.history(NUMBERS, 2) == [numbers[3], numbers[2]]
    assert bus.history(limit=2) == [word, numbers[3]]
    bus.clear_history()
    assert bus.history() == []


async def test_history_is_bounded(bus: EventBus) -> None:
    for number in range(50):
        bus.publish(NUMBERS, number, source="test")

    assert [event.data for event in bus.history(limit=1_000)] == list(range(49, 39, -1))
    assert bus.published == 50


@pytest.mark.parametrize(
    ("batch_size", "batch_timeout", "max_retries", "max_pending"),
    [(0, 1, 1, 1), (1, -1, 1, 1), (1, 1, -1, 1), (1, 1, 1, 0)],
)
async def test_options_that_make_no_sense_are_refused(
    bus: EventBus, batch_size: int, batch_timeout: float, max_retries: int, max_pending: int
) -> None:
    with pytest.raises(ValueError, match="below"):
        bus.subscribe_batches(
            [NUMBERS],
            lambda _: None,
            batch_size=batch_size,
            batch_timeout=batch_timeout,
            max_retries=max_retries,
            max_pending=max_pending,
        )
    assert bus.subscriptions == ()


async def test_closed_bus_refuses_events_and_subscribers(bus: EventBus) -> None:
    assert await bus.aclose(1) == {}

    with pytest.raises(BusClosedError):
        bus.publish(NUMBERS, 1, source="test")
    with pytest.raises(BusClosedError):
        bus.subscribe([NUMBERS], lambda _: None)
    assert await bus.aclose(1) == {}
