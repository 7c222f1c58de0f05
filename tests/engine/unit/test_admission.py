"""Who is let in: how many in all, by address and at once, and when those come back who are not."""

import pytest

from stockstream.engine import Limits
from stockstream.engine.errors import HandshakeRefused
from tests.engine.unit.fakes import FakeHub


def test_admission_counts_in_all_and_by_address() -> None:
    fake = FakeHub(Limits(connections=3, connections_per_address=2))
    fake.hub.admit("192.0.2.1")
    fake.hub.admit("192.0.2.1")
    with pytest.raises(HandshakeRefused) as address:
        fake.hub.admit("192.0.2.1")
    fake.hub.admit("192.0.2.2")
    with pytest.raises(HandshakeRefused) as full:
        fake.hub.admit("192.0.2.3")
    assert (address.value.status, full.value.status) == (429, 503)
    assert full.value.retry_after
    fake.hub.leave("192.0.2.1")
    fake.hub.admit("192.0.2.1")
    assert (fake.metrics.refused_address, fake.metrics.refused_connections) == (1, 1)


def test_ipv6_clients_count_by_their_network() -> None:
    fake = FakeHub(Limits(connections_per_address=1))
    fake.hub.admit("2001:db8::1")
    with pytest.raises(HandshakeRefused):
        fake.hub.admit("2001:db8::2")
    fake.hub.admit("2001:db8:0:1::1")


def test_handshakes_are_paced() -> None:
    fake = FakeHub(Limits(handshakes_per_second=10, handshake_burst=2))
    fake.hub.admit("a")
    fake.hub.admit("b")
    with pytest.raises(HandshakeRefused) as refused:
        fake.hub.admit("c")
    assert refused.value.retry_after == 1
    fake.now += 0.11
    fake.hub.admit("c")
    assert fake.metrics.refused_rate == 1


def _told_to_wait(fake: FakeHub) -> int:
    with pytest.raises(HandshakeRefused) as refused:
        fake.hub.admit("late")
    assert refused.value.retry_after is not None
    return refused.value.retry_after


def test_those_who_are_refused_are_told_to_come_back_one_after_the_other() -> None:
    fake = FakeHub(Limits(handshakes_per_second=2, handshake_burst=1))
    fake.hub.admit("first")
    assert [_told_to_wait(fake) for _ in range(6)] == [1, 1, 2, 2, 3, 3]
    fake.now += 100
    fake.hub.admit("late")
    assert _told_to_wait(fake) == 1


def test_nobody_is_told_to_wait_for_long() -> None:
    fake = FakeHub(Limits(handshakes_per_second=1, handshake_burst=1))
    fake.hub.admit("first")
    assert max(_told_to_wait(fake) for _ in range(1_000)) == 30


def test_ended_session_gives_its_place_back() -> None:
    fake = FakeHub(Limits(connections=1))
    connection, _ = fake.websocket()
    connection.close("kicked")
    fake.websocket("next")
    assert list(fake.hub.sessions) == ["next"]


def test_handshakes_during_shutdown_are_told_to_try_again() -> None:
    fake = FakeHub()
    fake.hub.accepting = False
    with pytest.raises(HandshakeRefused) as refused:
        fake.hub.admit("a")
    assert (refused.value.status, refused.value.retry_after) == (503, 1)
