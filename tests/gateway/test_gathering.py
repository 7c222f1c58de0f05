import asyncio
from collections.abc import Callable
from itertools import cycle

from stockstream.gateway.fanout import Fanout
from stockstream.wire.packets import WireForm
from tests.gateway.peers import EVENT_A, EVENT_B, B, Crowd, Peer, update
from tests.support.clock import ManualClock


class BusyClock(ManualClock):
    """A clock on which sending takes much longer than it is until there is more to send."""

    def __init__(self) -> None:
        super().__init__()
        self._steps = cycle((0.0001, 0.002))

    def monotonic(self) -> float:
        self._monotonic += next(self._steps)
        return self._monotonic


class Room:
    """A fan-out that is busy all the time."""

    def __init__(self) -> None:
        self.clock = BusyClock()
        self.fanout = Fanout(self.clock)
        self.crowd = Crowd(self.clock)
        self.peers = [self.listener(form) for form in (*WireForm, *WireForm)]

    def listener(self, form: WireForm = WireForm.JSON) -> Peer:
        peer = self.crowd.peer(form)
        self.fanout.join(EVENT_A, peer.member())
        self.fanout.join(EVENT_B, peer.member())
        return peer

    def publish(self, *seqs: int) -> None:
        for seq in seqs:
            self.fanout.publish([update(seq)], 0.0)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0)


async def test_updates_that_come_in_quick_succession_leave_in_one_write() -> None:
    room = Room()
    room.publish(1)
    assert [peer.writes for peer in room.peers] == [1] * 6
    room.publish(2, 3, 4)
    assert [peer.seqs() for peer in room.peers] == [[1]] * 6
    await until(lambda: room.peers[-1].writes > 1)
    assert [peer.writes for peer in room.peers] == [2] * 6
    assert [peer.seqs() for peer in room.peers] == [[1, 2, 3, 4]] * 6


async def test_none_of_what_was_gathered_is_conflated_while_the_client_reads() -> None:
    room = Room()
    room.publish(1, 2, 3)
    room.fanout.publish([update(1, B), update(2, B)], 0.0)
    await until(lambda: room.peers[-1].seqs(EVENT_B) == [1, 2])
    assert [peer.connection.conflated for peer in room.peers] == [0] * 6
    assert room.fanout.messages == 5 * 6


async def test_what_a_client_gets_besides_queues_up_behind_what_was_gathered() -> None:
    room = Room()
    room.publish(1, 2)
    room.fanout.broadcast(EVENT_B, update(1, B))
    await until(lambda: room.peers[0].seqs(EVENT_B) == [1])
    assert [name for name, _ in room.peers[0].received()] == [EVENT_A, EVENT_A, EVENT_B]


async def test_a_client_that_does_not_read_gets_the_latest_only() -> None:
    room = Room()
    room.publish(1)
    slow, quick = room.peers[0], room.peers[1]
    slow.stop_reading()
    room.publish(2, 3, 4)
    await until(lambda: quick.seqs() == [1, 2, 3, 4])
    slow.read_on()
    assert slow.seqs() == [1, 4]


async def test_a_newcomer_gets_its_snapshot_and_nothing_twice() -> None:
    room = Room()
    room.publish(1, 2)
    newcomer = room.crowd.peer()
    room.fanout.join_waiting(EVENT_A, newcomer.member())
    room.fanout.settle(update(2))
    room.publish(3)
    await until(lambda: newcomer.seqs() == [2, 3])
    assert newcomer.updates() == [(2, True), (3, False)]


async def test_the_latency_of_what_was_gathered_ends_when_it_is_written() -> None:
    room = Room()
    room.publish(1, 2, 3)
    assert room.fanout.latency.count == 6
    await until(lambda: room.peers[-1].seqs() == [1, 2, 3])
    assert room.fanout.latency.count == 18


async def test_what_is_gathered_at_the_end_is_sent() -> None:
    room = Room()
    job = asyncio.create_task(room.fanout.run())
    await asyncio.sleep(0)
    room.publish(1, 2)
    job.cancel()
    await asyncio.gather(job, return_exceptions=True)
    assert room.peers[0].seqs() == [1, 2]
