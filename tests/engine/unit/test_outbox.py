"""The one ordered way out of a connection."""

import pytest

from stockstream.engine import Limits, Message
from stockstream.engine.core.connection import Connection
from tests.engine.unit.fakes import FakeHub, FakePoll, FakeSocket


@pytest.fixture
def fake() -> FakeHub:
    return FakeHub(Limits(unread_bytes=200, slow_consumer_seconds=10))


@pytest.fixture
def client(fake: FakeHub) -> tuple[Connection, FakeSocket]:
    return fake.websocket()


def test_message_is_encoded_once_for_all_recipients() -> None:
    message = Message('2["price",1]')
    assert message.frame is message.frame
    assert message.frame == b"\x81\x0d42" + b'["price",1]'
    assert message.packet is message.packet
    assert message.packet == '42["price",1]'


@pytest.mark.parametrize(("size", "head"), [(125, 2), (126, 4), (65_535, 4), (65_536, 10)])
def test_binary_frame_announces_its_length(size: int, head: int) -> None:
    frame = Message(bytes(size)).frame
    assert len(frame) == head + size
    assert frame[0] == 0x82


def test_binary_message_is_base64_in_a_payload() -> None:
    assert Message(b"\x01\x02\x03\x04").packet == "bAQIDBA=="


def test_lone_update_goes_straight_to_the_socket(client: tuple[Connection, FakeSocket]) -> None:
    connection, socket = client
    assert connection.writable
    connection.offer("AAPL", Message("2a"))
    connection.send(Message("2b"))
    assert socket.texts == ["42a", "42b"]
    assert (connection.messages_out, connection.bytes_out) == (2, 10)


def test_burst_leaves_in_one_write(client: tuple[Connection, FakeSocket]) -> None:
    connection, socket = client
    connection.offer_many([(n, Message(f"2{n}")) for n in range(5)])
    assert len(socket.written) == 1
    assert socket.texts == [f"42{n}" for n in range(5)]


def test_newer_message_waits_at_the_end_instead_of_the_older_one(
    client: tuple[Connection, FakeSocket],
) -> None:
    connection, socket = client
    connection.pause_writing()
    connection.offer("A", Message("2a1"))
    connection.send(Message("2control"))
    connection.offer("B", Message("2b1"))
    connection.offer("A", Message("2a2"))
    connection.send(Message("2control"))
    assert socket.texts == []
    connection.resume_writing()
    assert socket.texts == ["42control", "42b1", "42a2", "42control"]
    assert len(socket.written) == 1
    assert connection.conflated == 1
    assert connection.unread_bytes == 0


def test_same_message_sent_twice_is_sent_twice(client: tuple[Connection, FakeSocket]) -> None:
    connection, socket = client
    message = Message("2x")
    connection.pause_writing()
    connection.send(message)
    connection.send(message)
    connection.resume_writing()
    assert socket.texts == ["42x", "42x"]


def test_withdrawn_message_is_not_sent(client: tuple[Connection, FakeSocket]) -> None:
    connection, socket = client
    connection.pause_writing()
    connection.offer("A", Message("2a"))
    assert connection.withdraw("A")
    assert not connection.withdraw("A")
    assert connection.unread_bytes == 0
    connection.resume_writing()
    assert socket.texts == []


def test_socket_that_fills_up_during_a_burst_keeps_the_rest_waiting(
    client: tuple[Connection, FakeSocket],
) -> None:
    connection, socket = client
    socket.when_written = connection.pause_writing
    big = Message(bytes(70_000))
    connection.offer_many([("big", big), ("a", Message("2a")), ("b", Message("2b"))])
    assert len(socket.written) == 1
    socket.when_written = lambda: None
    connection.offer("a", Message("2a2"))
    connection.resume_writing()
    assert socket.written[1] == Message("2b").frame + Message("2a2").frame


def test_message_in_front_leaves_first_however_often_others_are_renewed() -> None:
    connection, socket = FakeHub().websocket()
    connection.pause_writing()
    connection.offer("rare", Message(b"rare" + bytes(70_000)))
    for n in range(50):
        connection.offer("busy", Message(f"2{n}"))
    # There is room for no more than the first.
    socket.when_written = connection.pause_writing
    connection.resume_writing()
    connection.offer("busy", Message("2last"))
    connection.resume_writing()
    assert socket.written == [Message(b"rare" + bytes(70_000)).frame, Message("2last").frame]


def test_outbox_over_its_bytes_closes_the_slow_consumer(
    fake: FakeHub, client: tuple[Connection, FakeSocket]
) -> None:
    connection, socket = client
    connection.pause_writing()
    for n in range(100):
        connection.send(Message(f"2{n:010}"))
        assert connection.unread_bytes <= 200
    assert fake.closed == [("ws", "slow consumer")]
    assert socket.aborted
    assert fake.metrics.slow_consumers == 1
    assert connection.dropped + connection.messages_out == 100
    assert fake.metrics.dropped == connection.dropped
    assert not fake.hub.sessions


def test_conflation_keeps_a_slow_reader_within_its_bytes(
    fake: FakeHub, client: tuple[Connection, FakeSocket]
) -> None:
    connection, _ = client
    connection.pause_writing()
    for n in range(1_000):
        connection.offer("AAPL", Message(f"2{n:010}"))
    assert connection.conflated == 999
    assert fake.closed == []


def test_something_unread_for_too_long_closes_the_slow_consumer(
    fake: FakeHub, client: tuple[Connection, FakeSocket]
) -> None:
    connection, socket = client
    connection.pause_writing()
    fake.pass_time(9)
    assert fake.closed == []
    fake.pass_time(2)
    assert fake.closed == [("ws", "slow consumer")]
    assert socket.aborted


def test_reader_that_catches_up_in_time_stays(
    fake: FakeHub, client: tuple[Connection, FakeSocket]
) -> None:
    connection, _ = client
    for _ in range(2):
        connection.pause_writing()
        fake.pass_time(9)
        connection.resume_writing()
    assert fake.closed == []


def test_client_that_does_not_poll_is_closed_as_a_slow_consumer(fake: FakeHub) -> None:
    connection = fake.polling()
    connection.send(Message("2x"))
    fake.pass_time(11)
    assert fake.closed == [("poll", "slow consumer")]


def test_message_after_the_end_is_dropped_and_counted(
    fake: FakeHub, client: tuple[Connection, FakeSocket]
) -> None:
    connection, _ = client
    connection.close("kicked")
    connection.send(Message("2x"))
    connection.offer("A", Message("2y"))
    assert connection.dropped == 2
    assert fake.metrics.dropped == 2


def test_what_waits_is_sent_before_the_close_frame(client: tuple[Connection, FakeSocket]) -> None:
    connection, socket = client
    connection.pause_writing()
    connection.send(Message("2last"))
    connection.close("kicked")
    assert socket.texts == ["42last"]
    assert socket.closed_with == 1000


def test_a_client_between_two_polls_is_given_every_update_until_much_waits() -> None:
    connection = FakeHub(Limits(unread_bytes=1_000_000)).polling()
    long = "x" * 80_000
    for number in range(5):
        connection.offer("A", Message(f"2a{number}{long}"))
        connection.offer("B", Message(f"2b{number}"))
    # Four long ones are more than 256 KiB: from there on only the newest one is kept.
    answer = [packet[:4] for packet in FakePoll(connection).answer()]
    assert answer == ["42a0", "42b0", "42a1", "42b1", "42a2", "42a4", "42b4"]
    assert connection.conflated == 3


def test_what_is_withdrawn_between_two_polls_is_withdrawn_as_a_whole(fake: FakeHub) -> None:
    connection = fake.polling()
    for number in range(3):
        connection.offer("A", Message(f"2a{number}"))
        connection.offer("B", Message(f"2b{number}"))
    assert connection.withdraw("A")
    assert not connection.withdraw("A")
    assert FakePoll(connection).answer() == ["42b0", "42b1", "42b2"]
    assert connection.unread_bytes == 0


def test_poll_gets_all_that_waits_in_order(fake: FakeHub) -> None:
    connection = fake.polling()
    connection.offer("A", Message("2a1"))
    connection.send(Message("2b"))
    connection.offer("A", Message("2a2"))
    connection.send(Message(b"\x01"))
    assert FakePoll(connection).answer() == ["42a1", "42b", "42a2", "bAQ=="]


def test_pending_poll_is_woken_and_gathers_until_it_is_answered(fake: FakeHub) -> None:
    connection = fake.polling()
    poll = FakePoll(connection)
    assert not poll.woken
    connection.send(Message("2a"))
    connection.send(Message("2b"))
    assert poll.answer() == ["42a", "42b"]


def test_corked_connection_gathers_what_is_sent(client: tuple[Connection, FakeSocket]) -> None:
    connection, socket = client
    assert connection.cork()
    assert not connection.cork()
    connection.send(Message("2a"))
    connection.send(Message("2b"))
    assert socket.written == []
    connection.uncork()
    assert len(socket.written) == 1
    assert socket.texts == ["42a", "42b"]
    assert connection.writable


def test_cork_lets_go_of_more_than_an_outbox_may_hold(
    fake: FakeHub, client: tuple[Connection, FakeSocket]
) -> None:
    connection, socket = client
    connection.cork()
    for _ in range(3):
        connection.send(Message(bytes(50_000)))
    connection.uncork()
    assert sum(map(len, socket.written)) == 3 * 50_004
    assert fake.closed == []


def test_paused_socket_stays_paused_when_the_cork_comes_off(
    client: tuple[Connection, FakeSocket],
) -> None:
    connection, socket = client
    connection.cork()
    connection.send(Message("2a"))
    connection.pause_writing()
    connection.uncork()
    assert socket.written == []
    connection.resume_writing()
    assert socket.texts == ["42a"]


def test_closing_while_corked_still_sends(client: tuple[Connection, FakeSocket]) -> None:
    connection, socket = client
    connection.cork()
    connection.send(Message("2a"))
    connection.close("kicked")
    connection.uncork()
    assert socket.texts == ["42a"]
