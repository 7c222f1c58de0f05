"""A session's life: heartbeat, polling, upgrade, closing."""

import pytest

from stockstream.engine import ConfigurationError, Connection, Limits, Message
from stockstream.engine.core.handshake import Handshake
from stockstream.engine.errors import PacketViolation
from tests.engine.unit.fakes import FakeHub, FakePoll, FakeSocket


@pytest.fixture
def fake() -> FakeHub:
    return FakeHub(Limits(connect_seconds=1_000, slow_consumer_seconds=1_000))


def test_handshake_gives_fractions_of_seconds_in_milliseconds() -> None:
    packet = Handshake(ping_interval=0.3, ping_timeout=0.2).open_packet("abc", "polling").packet
    assert packet == (
        '0{"sid":"abc","upgrades":["websocket"],"pingInterval":300,"pingTimeout":200,'
        '"maxPayload":1000000}'
    )


def test_settings_that_no_client_could_use_are_refused_by_name() -> None:
    with pytest.raises(ConfigurationError, match="ping_interval has value 0"):
        Handshake(ping_interval=0)
    with pytest.raises(ConfigurationError, match="transports"):
        Handshake(transports=("pigeon",))
    with pytest.raises(ConfigurationError, match=r"limits\.attachments"):
        Limits(attachments=0)


def test_ping_follows_the_interval_and_the_pong(fake: FakeHub) -> None:
    connection, socket = fake.websocket()
    fake.pass_time(25)
    assert socket.texts == ["2"]
    fake.pass_time(19)
    connection.receive("3")
    fake.pass_time(24)
    assert socket.texts == ["2"]
    fake.pass_time(1)
    assert socket.texts == ["2", "2"]


def test_missing_pong_ends_the_session(fake: FakeHub) -> None:
    _, socket = fake.websocket()
    fake.pass_time(25)
    fake.pass_time(20)
    assert fake.closed == [("ws", "ping timeout")]
    assert socket.closed_with == 1000
    assert fake.metrics.ping_timeouts == 1


def test_pongs_that_nobody_asked_for_start_nothing(fake: FakeHub) -> None:
    connection, socket = fake.websocket()
    for _ in range(1_000):
        connection.receive("3")
    fake.pass_time(25)
    assert socket.texts == ["2"]


def test_timer_is_armed_for_the_first_deadline_only(fake: FakeHub) -> None:
    for n in range(50):
        fake.websocket(str(n))
    assert len(fake.armed) == 2


def test_session_without_connect_is_closed(fake: FakeHub) -> None:
    fake = FakeHub(Limits(connect_seconds=5))
    accepted, _ = fake.websocket("accepted")
    fake.websocket("silent")
    accepted.accepted()
    fake.pass_time(5)
    assert fake.closed == [("silent", "connect timeout")]


def test_upgrade_moves_the_session_without_losing_or_reordering(fake: FakeHub) -> None:
    connection = fake.polling()
    poll = FakePoll(connection)
    socket = FakeSocket()
    assert connection.begin_probe(socket)
    connection.receive_probe(socket, "2probe")
    assert socket.texts == ["3probe"]
    assert poll.answer() == ["6"]
    connection.send(Message("2a"))
    # The client may have sent another poll before the probe's answer reached it.
    assert FakePoll(connection).answer() == ["42a"]
    assert FakePoll(connection).answer() == ["6"]
    connection.send(Message("2b"))
    connection.send(Message("2c"))
    connection.receive_probe(socket, "5")
    assert connection.transport == "websocket"
    connection.send(Message("2d"))
    assert socket.texts == ["3probe", "42b", "42c", "42d"]
    assert fake.metrics.upgraded == 1


@pytest.mark.parametrize("packets", [["5"], ["4x"], ["2"], ["2probe", "2probe"], ["2probe", "4x"]])
def test_wrong_probe_is_closed_and_polling_goes_on(fake: FakeHub, packets: list[str]) -> None:
    connection = fake.polling()
    socket = FakeSocket()
    connection.begin_probe(socket)
    for packet in packets:
        connection.receive_probe(socket, packet)
    assert socket.closed_with == 1002
    assert connection.open
    assert connection.transport == "polling"
    assert connection.begin_probe(FakeSocket())


def test_upgrade_that_takes_too_long_is_closed(fake: FakeHub) -> None:
    connection = fake.polling()
    socket = FakeSocket()
    connection.begin_probe(socket)
    fake.pass_time(10)
    assert socket.closed_with == 1002
    assert connection.open


def test_second_websocket_is_turned_away(fake: FakeHub) -> None:
    connection = fake.polling()
    assert connection.begin_probe(FakeSocket())
    assert not connection.begin_probe(FakeSocket())
    upgraded, _ = fake.websocket()
    assert not upgraded.begin_probe(FakeSocket())


def test_lost_probe_leaves_the_session_alone(fake: FakeHub) -> None:
    connection = fake.polling()
    socket = FakeSocket()
    connection.begin_probe(socket)
    connection.lose_websocket(socket)
    assert connection.open
    assert connection.begin_probe(FakeSocket())


def test_overlapping_poll_closes_the_session_and_answers_both(fake: FakeHub) -> None:
    connection = fake.polling()
    first = FakePoll(connection)
    with pytest.raises(PacketViolation) as caught:
        FakePoll(connection)
    connection.violate(caught.value)
    assert first.answer() == ["1"]
    assert not fake.hub.sessions


def test_poll_that_was_told_is_still_pending_until_it_is_answered(fake: FakeHub) -> None:
    connection = fake.polling()
    FakePoll(connection)
    connection.send(Message("2a"))
    with pytest.raises(PacketViolation):
        FakePoll(connection)


def test_close_by_post_releases_the_pending_poll(fake: FakeHub) -> None:
    connection = fake.polling()
    poll = FakePoll(connection)
    connection.receive("1")
    assert poll.answer() == ["6"]
    assert fake.closed == [("poll", "client disconnect")]
    assert not fake.hub.sessions


def test_closed_polling_client_is_told_by_its_next_poll(fake: FakeHub) -> None:
    connection = fake.polling()
    connection.send(Message("1"))
    connection.close("kicked")
    assert fake.closed == [("poll", "kicked")]
    assert FakePoll(connection).answer() == ["41"]
    assert fake.hub.sessions
    assert FakePoll(connection).answer() == ["1"]
    assert not fake.hub.sessions
    assert connection.messages_out == 2


def test_client_is_not_awaited_once_more_while_the_server_shuts_down(fake: FakeHub) -> None:
    connection = fake.polling()
    fake.hub.accepting = False
    connection.send(Message("2last"))
    connection.close("server shutting down")
    assert FakePoll(connection).answer() == ["42last"]
    assert not fake.hub.sessions


def test_closed_polling_client_that_stays_away_is_forgotten(fake: FakeHub) -> None:
    connection = fake.polling()
    connection.close("kicked")
    assert fake.hub.sessions
    fake.pass_time(5)
    assert not fake.hub.sessions
    assert len(fake.closed) == 1


def test_lost_poll_ends_the_session_instead_of_losing_messages(fake: FakeHub) -> None:
    connection = fake.polling()
    FakePoll(connection)
    connection.send(Message("2a"))
    connection.lose_poll()
    assert fake.closed == [("poll", "transport close")]
    assert not fake.hub.sessions


@pytest.mark.parametrize("packet", ["", "0", "2", "2probe", "5", "6", "7", "x", "bAA=="])
def test_packet_without_meaning_is_a_violation(fake: FakeHub, packet: str) -> None:
    connection, _ = fake.websocket()
    with pytest.raises(PacketViolation):
        connection.receive(packet)


def begin_upgrade(connection: Connection) -> FakeSocket:
    """Bring a session to where the client polls no more, and has not changed over yet."""
    socket = FakeSocket()
    assert connection.begin_probe(socket)
    connection.receive_probe(socket, "2probe")
    return socket


def test_client_that_changes_over_while_its_session_ends_hears_so_on_the_websocket(
    fake: FakeHub,
) -> None:
    connection = fake.polling()
    socket = begin_upgrade(connection)
    connection.send(Message("2last"))
    connection.end("restart", code=1001, linger=True)
    assert socket.closed_with is None
    assert fake.hub.sessions
    connection.receive_probe(socket, "5")
    assert socket.texts == ["3probe", "42last"]
    assert socket.closed_with == 1001
    assert not fake.hub.sessions
    assert not fake.hub.goodbye_due
    assert fake.closed == [("poll", "restart")]
    connection.lose_websocket(socket)
    assert len(fake.closed) == 1


def test_client_that_polls_once_more_while_its_session_ends_hears_so_there(fake: FakeHub) -> None:
    connection = fake.polling()
    socket = begin_upgrade(connection)
    connection.send(Message("2last"))
    connection.close("kicked")
    assert FakePoll(connection).answer() == ["42last"]
    assert FakePoll(connection).answer() == ["1"]
    assert socket.closed_with == 1000
    assert not fake.hub.sessions


@pytest.mark.parametrize("packets", [[], ["2probe"]])
def test_client_whose_poll_is_pending_hears_there_that_its_session_ends(
    fake: FakeHub, packets: list[str]
) -> None:
    connection = fake.polling()
    poll = FakePoll(connection)
    socket = FakeSocket()
    connection.begin_probe(socket)
    for packet in packets:
        connection.receive_probe(socket, packet)
    connection.end("restart", code=1001, linger=True)
    assert socket.closed_with == 1001
    assert poll.answer() == ["1"]
    assert not fake.hub.sessions


def test_session_that_ends_is_forgotten_with_the_websocket_that_was_to_tell_it(
    fake: FakeHub,
) -> None:
    connection = fake.polling()
    socket = begin_upgrade(connection)
    connection.close("kicked")
    connection.lose_websocket(socket)
    assert not fake.hub.sessions


def test_nobody_waits_for_a_client_whose_websocket_broke_when_it_had_given_up_polling(
    fake: FakeHub,
) -> None:
    connection = fake.polling()
    connection.lose_websocket(begin_upgrade(connection))
    assert connection.open
    connection.close("kicked")
    assert not fake.hub.sessions


def test_client_that_polls_again_after_its_websocket_broke_is_told_all(fake: FakeHub) -> None:
    connection = fake.polling()
    connection.lose_websocket(begin_upgrade(connection))
    connection.send(Message("2a"))
    assert FakePoll(connection).answer() == ["42a"]
    connection.send(Message("2b"))
    connection.close("kicked")
    assert FakePoll(connection).answer() == ["42b"]
    assert FakePoll(connection).answer() == ["1"]


def test_client_that_comes_by_neither_way_is_let_go_after_a_while(fake: FakeHub) -> None:
    connection = fake.polling()
    socket = begin_upgrade(connection)
    connection.close("kicked")
    fake.pass_time(5)
    assert socket.closed_with == 1000
    assert not fake.hub.sessions


def test_who_was_told_to_go_and_has_not_is_cut_off(fake: FakeHub) -> None:
    fake.polling().close("kicked")
    socket = FakeSocket()
    fake.hub.closing_due.start(socket, fake.now)
    fake.hub.cut_off()
    assert socket.aborted
    assert not fake.hub.sessions


def test_post_that_is_held_comes_to_its_end_with_the_session(fake: FakeHub) -> None:
    connection = fake.polling()
    connection.hold()
    post = FakeSocket()
    connection.begin_post(post)
    connection.close("kicked")
    assert post.reading


def test_violation_closes_with_a_code_and_is_counted(fake: FakeHub) -> None:
    connection, socket = fake.websocket()
    connection.violate(PacketViolation("bad"))
    assert socket.closed_with == 1002
    assert fake.closed == [("ws", "transport error")]
    assert fake.metrics.violations == 1


def test_client_that_sends_too_fast_is_read_more_slowly() -> None:
    fake = FakeHub(Limits(inbound_messages_per_second=10, inbound_burst=5))
    connection, _ = fake.websocket()
    delays = [connection.receive("4x") for _ in range(7)]
    assert delays[:5] == [0.0] * 5
    assert delays[5] == pytest.approx(0.1)
    assert delays[6] == pytest.approx(0.2)
    fake.now += 10
    assert connection.receive("4x") == 0.0


def test_held_connection_is_not_read(fake: FakeHub) -> None:
    connection, socket = fake.websocket()
    connection.hold()
    assert not socket.reading
    connection.release()
    assert socket.reading


def test_upgrade_is_no_way_around_being_held(fake: FakeHub) -> None:
    connection = fake.polling()
    connection.hold()
    socket = FakeSocket()
    connection.begin_probe(socket)
    connection.receive_probe(socket, "2probe")
    connection.receive_probe(socket, "5")
    assert not socket.reading
    connection.release()
    assert socket.reading


def test_another_post_is_no_way_around_being_held(fake: FakeHub) -> None:
    connection = fake.polling()
    connection.hold()
    post = FakeSocket()
    connection.begin_post(post)
    assert not post.reading
    with pytest.raises(PacketViolation):
        connection.begin_post(FakeSocket())
    connection.end_post(post)
    connection.begin_post(FakeSocket())
