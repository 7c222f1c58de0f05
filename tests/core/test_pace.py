from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from stockstream.core.pace import Pace


def test_the_first_item_goes_at_once_and_the_next_waits_its_turn() -> None:
    pace: Pace[str] = Pace(2.0)
    assert pace.offer("a", 10.0) == "a"
    assert pace.offer("b", 10.1) is None
    assert pace.due == 10.5
    assert pace.take(10.4) is None
    assert pace.take(10.5) == "b"
    assert pace.due is None


def test_what_waits_is_replaced_by_the_latest_and_counted() -> None:
    pace: Pace[str] = Pace(1.0)
    pace.offer("a", 0.0)
    for item in "bcd":
        pace.offer(item, 0.1)
    assert pace.take(1.0) == "d"
    assert pace.conflated == 2


def test_after_a_quiet_while_there_is_no_burst() -> None:
    pace: Pace[str] = Pace(1.0)
    assert pace.offer("a", 0.0) == "a"
    assert pace.offer("b", 100.0) == "b"
    assert pace.offer("c", 100.1) is None


def test_a_cancelled_pace_delivers_nothing() -> None:
    pace: Pace[str] = Pace(1.0)
    pace.offer("a", 0.0)
    pace.offer("b", 0.1)
    pace.cancel()
    assert pace.due is None
    assert pace.take(5.0) is None


@given(
    st.floats(min_value=0.5, max_value=100),
    st.lists(st.floats(min_value=0, max_value=2), min_size=1, max_size=100),
)
def test_the_rate_is_kept_and_the_last_item_is_never_lost(rate: float, gaps: list[float]) -> None:
    pace: Pace[int] = Pace(rate)
    now, sent = 0.0, []
    for number, gap in enumerate(gaps):
        end = now + gap
        if pace.due is not None and pace.due <= end:
            now = pace.due
            sent.append((now, pace.take(now)))
        now = end
        item = pace.offer(number, now)
        if item is not None:
            sent.append((now, item))
    if pace.due is not None:
        sent.append((pace.due, pace.take(pace.due)))
    items = [item for _, item in sent if item is not None]
    assert items[-1] == len(gaps) - 1
    assert items == sorted(set(items))
    for (earlier, _), (later, _) in pairwise(sent):
        assert later - earlier >= 1 / rate - 1e-9
