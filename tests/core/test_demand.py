import pytest

from stockstream.core.allocation import allocate
from stockstream.core.demand import Demand
from stockstream.errors import SubscriptionLimitError
from stockstream.model import Symbol

A, B, C = Symbol("A"), Symbol("B"), Symbol("C")


def test_only_the_first_one_starts_a_stream() -> None:
    demand = Demand(5.0, 10)
    assert demand.acquire(A)
    assert not demand.acquire(A)
    assert demand.counts == {A: 2}


def test_a_symbol_is_given_up_its_linger_after_the_last_one_left() -> None:
    demand = Demand(5.0, 10)
    demand.acquire(A)
    demand.acquire(A)
    demand.release(A, 1.0)
    assert demand.next_end() is None
    demand.release(A, 2.0)
    assert demand.next_end() == 7.0
    assert demand.expire(6.9) == []
    assert demand.expire(7.0) == [A]
    assert demand.counts == {}


def test_whoever_comes_back_in_time_finds_the_stream_running() -> None:
    demand = Demand(5.0, 10)
    demand.acquire(A)
    demand.release(A, 0.0)
    assert not demand.acquire(A)
    assert demand.expire(100.0) == []


def test_symbols_are_given_up_in_the_order_of_leaving() -> None:
    demand = Demand(5.0, 10)
    for symbol in (A, B, C):
        demand.acquire(symbol)
    for now, symbol in enumerate((B, C, A)):
        demand.release(symbol, float(now))
    assert demand.expire(6.0) == [B, C]
    assert demand.next_end() == 7.0


def test_symbols_that_nobody_wants_make_room_for_others() -> None:
    demand = Demand(5.0, 2)
    for symbol in (A, B):
        demand.acquire(symbol)
        demand.release(symbol, 0.0)
    assert demand.make_room() == []
    assert demand.acquire(C)
    assert demand.make_room() == [A]
    assert demand.counts == {B: 0, C: 1}
    assert demand.expire(5.0) == [B]


def test_a_symbol_beyond_the_limit_is_refused_and_changes_nothing() -> None:
    demand = Demand(5.0, 2)
    demand.acquire(A)
    demand.acquire(B)
    with pytest.raises(SubscriptionLimitError) as caught:
        demand.acquire(C)
    assert caught.value.symbol == C
    assert demand.counts == {A: 1, B: 1}
    assert not demand.acquire(A)


def test_without_a_limit_everything_is_pushed() -> None:
    assert allocate({A: 1, B: 0}, None, ()) == {A, B}


def test_the_symbols_that_most_clients_want_are_pushed_first() -> None:
    assert allocate({A: 1, B: 5, C: 3}, 2, ()) == {B, C}


def test_at_a_tie_what_is_pushed_stays_pushed() -> None:
    assert allocate({A: 1, B: 1, C: 1}, 1, {B}) == {B}
    assert allocate({A: 1, B: 1, C: 1}, 1, {A}) == {A}


def test_a_limit_of_zero_pushes_nothing() -> None:
    assert allocate({A: 1}, 0, {A}) == set()
