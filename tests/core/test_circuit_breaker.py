from random import Random

from stockstream.core.backoff import Backoff
from stockstream.core.circuit_breaker import CircuitBreaker, CircuitState


def breaker(threshold: int = 3) -> CircuitBreaker:
    backoff = Backoff(initial=1.0, maximum=8.0, jitter=0.0)
    return CircuitBreaker(backoff, Random(0), threshold=threshold)


def state(circuit: CircuitBreaker) -> CircuitState:
    return circuit.state


def test_it_stays_closed_until_failures_in_a_row_reach_the_threshold() -> None:
    circuit = breaker()
    circuit.failed(0.0)
    circuit.failed(0.0)
    circuit.succeeded()
    circuit.failed(0.0)
    circuit.failed(0.0)
    assert state(circuit) is CircuitState.CLOSED
    circuit.failed(0.0)
    assert state(circuit) is CircuitState.OPEN
    assert not circuit.allow(0.5)


def test_after_the_pause_a_single_trial_goes_out() -> None:
    circuit = breaker(threshold=1)
    circuit.failed(0.0)
    assert circuit.retry_at() == 1.0
    assert circuit.allow(1.0)
    assert state(circuit) is CircuitState.HALF_OPEN
    assert not circuit.allow(1.0)
    circuit.succeeded()
    assert state(circuit) is CircuitState.CLOSED
    assert circuit.allow(1.0)


def test_pauses_grow_while_trials_fail_and_start_small_again_after_a_success() -> None:
    circuit = breaker(threshold=1)
    now, pauses = 0.0, []
    for _ in range(5):
        circuit.failed(now)
        retry_at = circuit.retry_at()
        assert retry_at is not None
        pauses.append(retry_at - now)
        now = retry_at
        assert circuit.allow(now)
    assert pauses == [1.0, 2.0, 4.0, 8.0, 8.0]
    circuit.succeeded()
    circuit.failed(now)
    assert circuit.retry_at() == now + 1.0


def test_what_the_other_side_says_about_coming_back_is_obeyed_at_once() -> None:
    circuit = breaker(threshold=5)
    circuit.failed(0.0, retry_after=30.0)
    assert not circuit.allow(29.9)
    assert circuit.allow(30.0)


def test_a_trial_that_was_given_up_leaves_room_for_another() -> None:
    circuit = breaker(threshold=1)
    circuit.failed(0.0)
    assert circuit.allow(1.0)
    circuit.abandoned()
    assert circuit.allow(1.0)


def test_requests_that_fail_after_it_opened_do_not_lengthen_the_pause() -> None:
    circuit = breaker(threshold=1)
    circuit.failed(0.0)
    circuit.failed(0.5)
    circuit.failed(0.9)
    assert circuit.retry_at() == 1.0
    circuit.failed(0.9, retry_after=5.0)
    assert circuit.retry_at() == 5.9
    assert circuit.allow(5.9)
    circuit.failed(6.0)
    assert circuit.retry_at() == 8.0
