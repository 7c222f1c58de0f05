from hypothesis import given
from hypothesis import strategies as st

from stockstream.core.event_history import EventHistory
from tests.core.events import event

kinds = st.lists(st.sampled_from("abcdef"), max_size=80)


@given(kinds, st.integers(0, 20))
def test_history_never_holds_more_than_its_limit(published: list[str], limit: int) -> None:
    history = EventHistory(limit)
    for number, kind in enumerate(published):
        history.add(event(number, kind=kind))

        assert len(history) == len(history.newest(None, 1_000)) == min(number + 1, limit)


@given(kinds, st.integers(1, 20), st.integers(-1, 30))
def test_newest_of_a_type_come_first_without_gaps(
    published: list[str], limit: int, asked: int
) -> None:
    history = EventHistory(limit)
    for number, kind in enumerate(published):
        history.add(event(number, kind=kind))

    for kind in set(published):
        of_kind = [event(n, kind=k) for n, k in enumerate(published) if k == kind][::-1]
        answer = history.newest(kind, asked)
        assert answer == of_kind[: len(answer)]
        assert len(answer) <= max(asked, 0)
    numbers = [each.data for each in history.newest(None, asked)]
    assert numbers == sorted(numbers, reverse=True)


def test_flood_of_one_type_does_not_wash_out_another() -> None:
    history = EventHistory(10)
    history.add(event(0, kind="alert"))
    for number in range(1, 1_000):
        history.add(event(number, kind="price"))

    assert [each.data for each in history.newest("alert", 10)] == [0]
    assert [each.data for each in history.newest("price", 10)] == list(range(999, 990, -1))


def test_newcomer_takes_its_share_from_the_type_that_has_most() -> None:
    history = EventHistory(10)
    for number in range(10):
        history.add(event(number, kind="price"))
    for number in range(10, 30):
        history.add(event(number, kind="alert"))

    assert [each.data for each in history.newest("price", 10)] == [9, 8, 7, 6, 5]
    assert [each.data for each in history.newest("alert", 10)] == [29, 28, 27, 26, 25]


def test_cleared_history_is_empty_and_fills_again() -> None:
    history = EventHistory(2)
    for number in range(3):
        history.add(event(number))

    history.clear()
    assert history.newest(None, 5) == []

    history.add(event(3))
    assert [each.data for each in history.newest("kind", 5)] == [3]
