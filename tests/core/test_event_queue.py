import pytest
from hypothesis import given
from hypothesis import strategies as st

from stockstream.core.event_queue import EventQueue
from stockstream.model.event import Event, Priority
from tests.core.events import event

priorities = st.sampled_from(Priority)


def drain(queue: EventQueue) -> list[Event[int]]:
    return [queue.pop() for _ in range(len(queue))]


@given(st.lists(priorities))
def test_higher_priority_leaves_first_and_equals_keep_their_order(order: list[Priority]) -> None:
    queue = EventQueue(1_000)
    events = [event(number, priority) for number, priority in enumerate(order)]
    for each in events:
        assert queue.push(each) is None

    assert drain(queue) == sorted(events, key=lambda each: -each.priority)


@given(st.lists(priorities, max_size=60), st.integers(1, 8))
def test_oldest_of_the_lowest_priority_makes_room(order: list[Priority], limit: int) -> None:
    queue = EventQueue(limit)
    waiting: list[Event[int]] = []
    for number, priority in enumerate(order):
        new = event(number, priority)
        waiting.append(new)
        victim = queue.push(new)
        if len(waiting) <= limit:
            assert victim is None
        else:
            expected = min(waiting, key=lambda each: (each.priority, each.data))
            assert victim == expected
            waiting.remove(expected)

    assert drain(queue) == sorted(waiting, key=lambda each: (-each.priority, each.data))


def test_critical_event_is_dropped_only_for_another_critical_one() -> None:
    queue = EventQueue(2)
    first, second, third = (event(number, Priority.CRITICAL) for number in range(3))
    queue.push(first)
    queue.push(second)

    less = event(3, Priority.HIGH)
    assert queue.push(less) is less
    assert queue.push(third) is first


def test_cleared_queue_is_empty_and_says_how_many_it_forgot() -> None:
    queue = EventQueue(5)
    for number in range(3):
        queue.push(event(number))

    assert queue.clear() == 3
    assert len(queue) == 0
    with pytest.raises(IndexError):
        queue.pop()
