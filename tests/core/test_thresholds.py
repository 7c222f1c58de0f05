from collections.abc import Sequence
from math import nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stockstream.core.thresholds import AlertRules, Thresholds
from stockstream.model.alert import Alert, AlertState, AlertType
from stockstream.model.metrics import PerformanceMetrics


def metrics(
    *,
    timestamp: int = 0,
    latency: float = 0,
    error_rate: float = 0,
    memory_usage: float = 0,
    message_rate: float = 0,
) -> PerformanceMetrics:
    return PerformanceMetrics(
        connection_count=0,
        message_rate=message_rate,
        latency=latency,
        latency_p50=0,
        latency_p99=0,
        error_rate=error_rate,
        memory_usage=memory_usage,
        cpu_usage=0,
        event_loop_lag=0,
        timestamp=timestamp,
        node="n1",
    )


def states(rules: AlertRules, latencies: Sequence[float]) -> list[list[AlertState]]:
    return [[alert.state for alert in rules.check(metrics(latency=each))] for each in latencies]


def test_alert_fires_once_and_resolves_once() -> None:
    rules = AlertRules(Thresholds(max_latency_ms=100))

    assert states(rules, [99, 101, 150, 101, 10, 10, 101]) == [
        [],
        [AlertState.FIRING],
        [],
        [],
        [AlertState.RESOLVED],
        [],
        [AlertState.FIRING],
    ]


def test_value_that_wavers_around_its_threshold_does_not_resolve() -> None:
    rules = AlertRules(Thresholds(max_latency_ms=100))

    assert states(rules, [100, 100.1, 99.9, 100.1, 95.1, 95]) == [
        [],
        [AlertState.FIRING],
        [],
        [],
        [],
        [AlertState.RESOLVED],
    ]


def test_alert_says_value_threshold_node_and_since_when() -> None:
    rules = AlertRules(Thresholds(max_memory_mb=512))
    rules.check(metrics(timestamp=10, memory_usage=600))
    assert [alert.since for alert in rules.firing] == [10]
    rules.check(metrics(timestamp=20, memory_usage=700))

    assert rules.check(metrics(timestamp=30, memory_usage=300)) == (
        Alert(
            type=AlertType.HIGH_MEMORY_USAGE,
            state=AlertState.RESOLVED,
            value=300,
            threshold=512,
            node="n1",
            since=10,
            timestamp=30,
        ),
    )
    assert rules.firing == ()


def test_message_rate_is_not_checked_unless_it_is_asked_for() -> None:
    busy = metrics(message_rate=1e9)

    assert AlertRules(Thresholds()).check(busy) == ()
    (alert,) = AlertRules(Thresholds(max_message_rate=1_000)).check(busy)
    assert alert.type is AlertType.HIGH_MESSAGE_RATE


def test_each_value_is_held_against_its_own_threshold() -> None:
    everything = metrics(latency=1_001, error_rate=0.051, memory_usage=513)
    nothing = metrics(latency=1_000, error_rate=0.05, memory_usage=512)

    assert AlertRules(Thresholds()).check(nothing) == ()
    assert [
        (alert.type, alert.threshold) for alert in AlertRules(Thresholds()).check(everything)
    ] == [
        (AlertType.HIGH_LATENCY, 1_000),
        (AlertType.HIGH_ERROR_RATE, 0.05),
        (AlertType.HIGH_MEMORY_USAGE, 512),
    ]


def test_threshold_of_zero_fires_at_anything_and_resolves_at_nothing() -> None:
    rules = AlertRules(Thresholds(max_latency_ms=0))

    assert states(rules, [0, 0.1, 0.1, 0]) == [
        [],
        [AlertState.FIRING],
        [],
        [AlertState.RESOLVED],
    ]


@given(st.lists(st.floats(0, 200) | st.just(nan)), st.floats(0, 150))
def test_firing_and_resolved_take_turns(values: list[float], threshold: float) -> None:
    rules = AlertRules(Thresholds(max_latency_ms=threshold))
    told = [state for each in states(rules, values) for state in each]

    assert told == [AlertState.FIRING, AlertState.RESOLVED] * (len(told) // 2) + (
        [AlertState.FIRING] * (len(told) % 2)
    )
    assert len(rules.firing) == len(told) % 2


@pytest.mark.parametrize("field", ["max_latency_ms", "max_error_rate", "max_memory_mb"])
def test_threshold_of_none_is_off(field: str) -> None:
    off = Thresholds(**{field: None})
    checked = AlertRules(off).check(metrics(latency=1e9, error_rate=1, memory_usage=1e9))

    assert len(checked) == 2


def test_anything_that_the_history_gives_up_fires_until_nothing_more_is() -> None:
    rules = AlertRules(Thresholds())

    found = [rules.check(metrics(), history_shed=shed) for shed in (0, 3, 5, 0)]
    assert [[(each.type, each.state) for each in alerts] for alerts in found] == [
        [],
        [(AlertType.HISTORY_SHED, AlertState.FIRING)],
        [],
        [(AlertType.HISTORY_SHED, AlertState.RESOLVED)],
    ]
