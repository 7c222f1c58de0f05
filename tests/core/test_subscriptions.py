from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stockstream.core.subscriptions import Subscriptions
from stockstream.errors import SubscriptionLimitError


def subscriptions(max_clients: int = 10, max_events: int = 10) -> Subscriptions[str]:
    return Subscriptions(max_clients=max_clients, max_events=max_events)


def test_a_client_is_subscribed_to_an_event_once() -> None:
    register = subscriptions()
    assert register.add("client", "event")
    assert not register.add("client", "event")
    assert register.counts() == {"event": 1}


def test_what_was_never_subscribed_can_be_ended_without_harm() -> None:
    register = subscriptions()
    assert not register.remove("client", "event")
    assert register.counts() == {}


def test_the_limit_of_a_client_is_named_and_changes_nothing() -> None:
    register = subscriptions(max_events=2)
    register.add("client", "a")
    register.add("client", "b")
    with pytest.raises(SubscriptionLimitError, match="at most 2 subscriptions"):
        register.add("client", "c")
    assert register.events_of("client") == ["a", "b"]
    assert register.counts() == {"a": 1, "b": 1}


def test_the_limit_of_an_event_is_named_and_changes_nothing() -> None:
    register = subscriptions(max_clients=1)
    register.add("one", "event")
    with pytest.raises(SubscriptionLimitError, match="event has at most 1 clients"):
        register.add("other", "event")
    assert register.events_of("other") == []


def test_a_full_client_may_repeat_what_it_has() -> None:
    register = subscriptions(max_clients=1, max_events=1)
    register.add("client", "event")
    assert not register.add("client", "event")


clients = st.sampled_from("abc")
events = st.sampled_from(["x", "y", "z"])


@given(st.lists(st.tuples(st.booleans(), clients, events)))
def test_the_counts_are_those_of_the_clients_and_nothing_stays_behind(
    steps: list[tuple[bool, str, str]],
) -> None:
    register = subscriptions()
    expected: set[tuple[str, str]] = set()
    for adds, client, event in steps:
        if adds:
            assert register.add(client, event) == ((client, event) not in expected)
            expected.add((client, event))
        else:
            assert register.remove(client, event) == ((client, event) in expected)
            expected.discard((client, event))
        assert register.counts() == Counter(e for _, e in expected)
    for client in "abc":
        held = {event for owner, event in expected if owner == client}
        assert set(register.events_of(client)) == held
        for event in held:
            assert register.remove(client, event)
    assert register.counts() == {}
