from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from stockstream.core.poll_schedule import PollSchedule
from stockstream.model import Symbol

A, B, C = Symbol("A"), Symbol("B"), Symbol("C")


def test_a_new_symbol_is_due_at_once() -> None:
    schedule = PollSchedule(1.0)
    schedule.add(A, 10.3)
    assert schedule.take(10.3, 100) == [A]


def test_symbols_added_at_different_moments_come_due_together() -> None:
    schedule = PollSchedule(1.0)
    for symbol, now in ((A, 10.1), (B, 10.4), (C, 10.7)):
        schedule.add(symbol, now)
        schedule.done(schedule.take(now, 100), now)
    assert schedule.next_due() == 11.0
    assert sorted(schedule.take(11.0, 100)) == [A, B, C]


def test_a_symbol_that_is_asked_for_is_not_handed_out_again() -> None:
    schedule = PollSchedule(1.0)
    schedule.add(A, 0.0)
    assert schedule.take(0.0, 100) == [A]
    assert schedule.take(1_000.0, 100) == []
    assert schedule.next_due() is None


def test_a_symbol_that_left_and_came_back_waits_for_its_first_answer() -> None:
    schedule = PollSchedule(1.0)
    schedule.add(A, 0.0)
    schedule.take(0.0, 100)
    schedule.remove(A)
    schedule.add(A, 0.1)
    assert schedule.take(0.1, 100) == []
    schedule.done([A], 0.2)
    assert schedule.take(1.0, 100) == [A]


def test_a_symbol_that_left_while_it_was_asked_for_stays_away() -> None:
    schedule = PollSchedule(1.0)
    schedule.add(A, 0.0)
    schedule.take(0.0, 100)
    schedule.remove(A)
    schedule.done([A], 0.2)
    assert schedule.next_due() is None
    assert A not in schedule


def test_a_batch_holds_no_more_than_asked_for_and_the_longest_waiting_first() -> None:
    schedule = PollSchedule(1.0)
    for number, symbol in enumerate((C, A, B)):
        schedule.add(symbol, float(number))
    assert schedule.take(5.0, 2) == [C, A]
    assert schedule.take(5.0, 2) == [B]


def test_a_delay_holds_for_one_time_only() -> None:
    schedule = PollSchedule(1.0)
    schedule.add(A, 0.0)
    schedule.done(schedule.take(0.0, 1), 0.0, delay=60.0)
    assert schedule.next_due() == 60.0
    schedule.done(schedule.take(60.0, 1), 60.0)
    assert schedule.next_due() == 61.0


def test_replacing_keeps_those_that_stay_in_their_place() -> None:
    schedule = PollSchedule(1.0)
    assert schedule.replace([A, B], 0.0)
    schedule.done(schedule.take(0.0, 100), 0.0)
    assert schedule.replace([B, C], 0.5)
    assert schedule.take(0.5, 100) == [C]
    assert schedule.take(1.0, 100) == [B]
    assert not schedule.replace([B], 1.0)


@given(
    st.floats(min_value=0.05, max_value=60), st.floats(min_value=0, max_value=1e6), st.floats(0, 90)
)
def test_the_next_time_is_never_now_and_at_most_an_interval_after_the_delay(
    interval: float, now: float, delay: float
) -> None:
    schedule = PollSchedule(interval)
    schedule.add(A, now)
    schedule.done(schedule.take(now, 1), now, delay=delay)
    due = schedule.next_due()
    assert due is not None
    slack = 1e-6 * max(now, 1)
    assert now < due + slack
    assert now + delay - slack <= due <= now + max(delay, 0) + interval + slack


class ScheduleMachine(RuleBasedStateMachine):
    """Whatever is added, removed, taken and given back: nothing is asked for twice at once."""

    def __init__(self) -> None:
        super().__init__()
        self.schedule = PollSchedule(1.0)
        self.now = 0.0
        self.asked: list[Symbol] = []
        self.wanted: set[Symbol] = set()

    @rule(symbol=st.sampled_from([A, B, C]))
    def add(self, symbol: Symbol) -> None:
        self.schedule.add(symbol, self.now)
        self.wanted.add(symbol)

    @rule(symbol=st.sampled_from([A, B, C]))
    def remove(self, symbol: Symbol) -> None:
        self.schedule.remove(symbol)
        self.wanted.discard(symbol)

    @rule(limit=st.integers(1, 3))
    def take(self, limit: int) -> None:
        taken = self.schedule.take(self.now, limit)
        assert len(taken) <= limit
        assert not set(taken) & set(self.asked)
        assert set(taken) <= self.wanted
        self.asked += taken

    @precondition(lambda self: bool(self.asked))
    @rule()
    def done(self) -> None:
        self.schedule.done([self.asked.pop(0)], self.now)

    @rule(seconds=st.floats(0.1, 3))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def every_wanted_symbol_is_waiting_or_asked_for(self) -> None:
        assert len(self.schedule) == len(self.wanted)
        idle = self.wanted - set(self.asked)
        assert (self.schedule.next_due() is not None) == bool(idle)


TestScheduleMachine = ScheduleMachine.TestCase
