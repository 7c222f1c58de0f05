from typing import Any

import pytest

from stockstream.gateway import encoding
from stockstream.gateway.audience import CatchUp
from stockstream.gateway.fanout import Fanout
from stockstream.model import Position
from stockstream.wire.packets import WireForm, encode_event
from tests.gateway.peers import EVENT_A, EVENT_B, B, Crowd, Peer, update
from tests.support.clock import ManualClock


class Room:
    """A fan-out and its crowd."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.fanout = Fanout(self.clock)
        self.crowd = Crowd(self.clock)

    def listener(
        self, event: str = EVENT_A, *, form: WireForm = WireForm.JSON, rate: float | None = None
    ) -> Peer:
        """Return a client that has live updates."""
        peer = self.crowd.peer(form)
        self.fanout.join(event, peer.member(rate))
        return peer

    def newcomer(self, form: WireForm = WireForm.JSON) -> Peer:
        """Return a client that waits for a snapshot."""
        peer = self.crowd.peer(form)
        self.fanout.join_waiting(EVENT_A, peer.member())
        return peer

    def publish(self, *seqs: int) -> None:
        self.fanout.publish([update(seq) for seq in seqs], self.clock.monotonic())


@pytest.fixture
def room() -> Room:
    return Room()


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[WireForm]:
    """The form of each packet that was encoded."""
    forms: list[WireForm] = []

    def count(form: WireForm, name: str, payload: Any, mark: str = "") -> str | bytes:
        forms.append(form)
        return encode_event(form, name, payload, mark)

    monkeypatch.setattr(encoding, "encode_event", count)
    return forms


def test_an_update_is_encoded_once_for_each_wire_form(room: Room, encoded: list[WireForm]) -> None:
    peers = [room.listener(form=form) for form in WireForm for _ in range(50)]
    peers += [room.listener(form=form, rate=1) for form in WireForm for _ in range(50)]
    room.publish(1)
    # Once for those who get all, once for those with a pace of their own.
    assert sorted(form.value for form in encoded) == sorted(2 * [form.value for form in WireForm])
    assert all(peer.seqs() == [1] for peer in peers)


def test_a_snapshot_is_encoded_once_for_each_wire_form(room: Room, encoded: list[WireForm]) -> None:
    peers = [room.newcomer(form) for form in WireForm for _ in range(50)]
    room.publish(1)
    assert sorted(form.value for form in encoded) == sorted(form.value for form in WireForm)
    assert all(peer.updates() == [(1, True)] for peer in peers)


def test_nothing_is_encoded_where_nobody_listens(room: Room, encoded: list[WireForm]) -> None:
    room.fanout.leave(EVENT_A, room.listener().connection)
    room.publish(1)
    room.publish(2, 3)
    room.fanout.broadcast("performance_metrics", {})
    assert encoded == []
    assert room.fanout.messages == 0


def test_both_wire_forms_carry_the_same(room: Room) -> None:
    in_json, in_msgpack = room.listener(), room.listener(form=WireForm.MSGPACK)
    room.publish(1)
    assert in_json.received() == in_msgpack.received()
    ((_, payload),) = in_json.received()
    assert payload["symbol"] == "A"
    assert payload["changePercent"] == 0.0


def test_a_lone_update_leaves_at_once(room: Room) -> None:
    peer = room.listener()
    room.publish(1)
    assert peer.writes == 1


def test_what_one_client_gets_of_a_burst_leaves_in_one_write(room: Room) -> None:
    both, one = room.listener(), room.listener(EVENT_B)
    room.fanout.join(EVENT_B, both.member())
    burst = [update(1), update(1, B), update(2), update(2, B)]
    room.fanout.publish(burst, room.clock.monotonic())
    assert (both.writes, one.writes) == (1, 1)
    assert both.seqs(EVENT_A) == both.seqs(EVENT_B) == one.seqs(EVENT_B) == [1, 2]
    assert one.seqs(EVENT_A) == []


def test_a_newcomer_gets_the_snapshot_first_and_nobody_else_does(room: Room) -> None:
    old, new = room.listener(), room.newcomer()
    room.fanout.settle(update(7))
    assert (old.updates(), new.updates()) == ([], [(7, True)])
    room.publish(8)
    assert (old.updates(), new.updates()) == ([(8, False)], [(7, True), (8, False)])
    # It is a newcomer once.
    room.fanout.settle(update(8))
    assert new.seqs() == [7, 8]


@pytest.mark.parametrize("burst", [[(1,), (2,)], [(1, 2)]])
def test_the_first_price_of_all_is_the_snapshot(room: Room, burst: list[tuple[int, ...]]) -> None:
    new = room.newcomer()
    for seqs in burst:
        room.publish(*seqs)
    assert new.updates() == [(1, True), (2, False)]


def test_a_snapshot_is_not_replaced_by_the_update_after_it(room: Room) -> None:
    new = room.newcomer()
    new.stop_reading()
    room.fanout.settle(update(7))
    room.publish(8)
    room.publish(9)
    new.read_on()
    assert new.updates() == [(7, True), (9, False)]


def test_a_client_that_does_not_read_gets_the_latest_of_each_symbol(room: Room) -> None:
    peer = room.listener()
    room.fanout.join(EVENT_B, peer.member())
    peer.stop_reading()
    room.publish(1)
    room.fanout.publish([update(1, B)], 0.0)
    room.publish(2, 3)
    peer.read_on()
    assert (peer.seqs(EVENT_A), peer.seqs(EVENT_B)) == ([3], [1])
    assert peer.connection.conflated == 2


def test_who_subscribes_again_gets_a_snapshot_that_nothing_overtakes(room: Room) -> None:
    peer = room.listener()
    peer.stop_reading()
    room.publish(5)
    room.fanout.join_waiting(EVENT_A, peer.member())
    room.fanout.settle(update(5))
    room.publish(6)
    peer.read_on()
    assert peer.updates() == [(5, True), (6, False)]


def test_who_asks_for_what_it_missed_gets_nothing_out_of_order(room: Room) -> None:
    peer = room.listener()
    peer.stop_reading()
    room.publish(5)
    catch_up = room.fanout.hold(EVENT_A, peer.member())
    room.publish(6)
    assert room.fanout.send_missed(EVENT_A, catch_up, [update(4), update(5)])
    assert not room.fanout.resume(EVENT_A, catch_up, update(5).position)
    room.publish(7)
    peer.read_on()
    assert peer.seqs() == [4, 5, 6, 7]


def test_who_missed_more_than_can_be_told_gets_a_snapshot(room: Room) -> None:
    peer = room.crowd.peer()
    catch_up = room.fanout.hold(EVENT_A, peer.member())
    room.publish(7)
    assert room.fanout.resume(EVENT_A, catch_up, update(5).position)
    room.fanout.settle(update(7))
    assert peer.updates() == [(7, True)]


def test_who_missed_more_than_is_held_back_gets_a_snapshot(room: Room) -> None:
    peer = room.crowd.peer()
    catch_up = room.fanout.hold(EVENT_A, peer.member())
    for seq in range(1, CatchUp.LIMIT + 2):
        room.publish(seq)
    assert len(catch_up.held) == CatchUp.LIMIT
    assert room.fanout.resume(EVENT_A, catch_up, Position(epoch="e", seq=0))
    room.publish(2_000)
    assert peer.updates() == [(2_000, True)]


def test_after_leaving_nothing_comes(room: Room) -> None:
    peers = [room.listener(), room.newcomer(), room.listener(rate=1)]
    for peer in peers:
        peer.stop_reading()
    room.publish(1)
    for peer in peers:
        room.fanout.leave(EVENT_A, peer.connection)
    room.publish(2)
    for peer in peers:
        peer.read_on()
    # What waited is withdrawn; a snapshot, already on its way, stands before the reply.
    assert [peer.seqs() for peer in peers] == [[], [1], []]


def test_what_is_to_be_kept_is_not_replaced(room: Room) -> None:
    peer = room.listener("performance_alert")
    peer.stop_reading()
    for number in range(3):
        room.fanout.broadcast("performance_alert", {"seq": number}, keep=True)
    peer.read_on()
    assert peer.seqs("performance_alert") == [0, 1, 2]


def test_what_is_to_be_kept_stays_in_order_with_the_rest(room: Room) -> None:
    peer = room.listener("bars")
    peer.stop_reading()
    for number, keep in enumerate([False, False, True, False, False]):
        room.fanout.broadcast("bars", {"seq": number}, keep=keep)
    peer.read_on()
    assert peer.seqs("bars") == [2, 4]


def test_each_message_is_counted_once_for_each_recipient(room: Room) -> None:
    peers = [room.listener(), room.listener(), room.newcomer()]
    room.fanout.settle(update(1))
    room.publish(2)
    room.publish(3, 4)
    room.fanout.broadcast(EVENT_A, {"seq": 5})
    assert room.fanout.messages == sum(len(peer.received()) for peer in peers) == 13


async def test_latency_is_from_receipt_to_writing_once_for_each_recipient(room: Room) -> None:
    for _ in range(3):
        room.listener()
    received = room.clock.monotonic()
    await room.clock.advance(0.02)
    room.fanout.publish([update(1)], received)
    assert room.fanout.latency.count == 3
    assert room.fanout.latency.sum == pytest.approx(60)


def test_nothing_is_remembered_of_events_that_nobody_wants(room: Room) -> None:
    peer = room.crowd.peer()
    for number in range(100):
        event = f"stock_update_S{number}"
        room.fanout.join_waiting(event, peer.member())
        room.fanout.leave(event, peer.connection)
    assert room.fanout._audiences == {}
