import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stockstream.gateway.fanout import Fanout
from stockstream.wire.packets import WireForm
from tests.gateway.peers import EVENT_A, EVENT_B, B, Crowd, Peer, update
from tests.support.clock import ManualClock


class Paced:
    """A fan-out whose clients have a pace of their own."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.fanout = Fanout(self.clock)
        self.crowd = Crowd(self.clock)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.fanout.run())
        await self.clock.advance(0)
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait((task,))
        assert asyncio.all_tasks() == {asyncio.current_task()}

    def listener(self, rate: float | None, form: WireForm = WireForm.JSON) -> Peer:
        peer = self.crowd.peer(form)
        self.fanout.join(EVENT_A, peer.member(rate))
        return peer

    async def publish(self, seq: int, after: float = 0.0) -> None:
        await self.clock.advance(after)
        self.fanout.publish([update(seq)], self.clock.monotonic())


async def test_a_client_gets_no_more_than_it_asked_for_and_the_last_one() -> None:
    paced = Paced()
    async with paced.running():
        slow, fast = paced.listener(rate=2), paced.listener(rate=None)
        for seq in range(1, 11):
            await paced.publish(seq, after=0.1)
        assert fast.seqs() == list(range(1, 11))
        # At 0.1, 0.6 and 1.1 s.
        assert slow.seqs() == [1, 5]
        await paced.clock.advance(0.5)
        assert slow.seqs() == [1, 5, 10]
        await paced.clock.advance(100)
        assert slow.seqs() == [1, 5, 10]


async def test_each_event_has_a_pace_of_its_own() -> None:
    paced = Paced()
    async with paced.running():
        peer = paced.listener(rate=1)
        paced.fanout.join(EVENT_B, peer.member(1))
        paced.fanout.publish([update(1), update(1, B), update(2), update(2, B)], 0.0)
        assert (peer.seqs(EVENT_A), peer.seqs(EVENT_B)) == ([1], [1])
        before = peer.writes
        await paced.clock.advance(1)
        assert (peer.seqs(EVENT_A), peer.seqs(EVENT_B)) == ([1, 2], [1, 2])
        # What comes due together leaves together.
        assert peer.writes == before + 1


@pytest.mark.parametrize("form", WireForm)
async def test_a_pace_holds_in_either_wire_form(form: WireForm) -> None:
    paced = Paced()
    async with paced.running():
        peer = paced.listener(rate=1, form=form)
        for seq in (1, 2, 3):
            await paced.publish(seq)
        await paced.clock.advance(1)
        assert peer.seqs() == [1, 3]


async def test_nothing_comes_after_leaving_though_it_was_held_back() -> None:
    paced = Paced()
    async with paced.running():
        peer = paced.listener(rate=1)
        await paced.publish(1)
        await paced.publish(2)
        paced.fanout.leave(EVENT_A, peer.connection)
        await paced.clock.advance(10)
        assert peer.seqs() == [1]


async def test_who_comes_back_is_given_nothing_from_before() -> None:
    paced = Paced()
    async with paced.running():
        peer = paced.listener(rate=1)
        await paced.publish(1)
        await paced.publish(2)
        paced.fanout.leave(EVENT_A, peer.connection)
        paced.fanout.join(EVENT_A, peer.member(1))
        await paced.publish(3)
        await paced.clock.advance(10)
        assert peer.seqs() == [1, 3]


async def test_what_is_delivered_later_is_counted_too() -> None:
    paced = Paced()
    async with paced.running():
        paced.listener(rate=1)
        for seq in (1, 2, 3):
            await paced.publish(seq)
        assert paced.fanout.messages == 1
        await paced.clock.advance(1)
        assert paced.fanout.messages == 2


async def test_clients_that_leave_again_and_again_leave_nothing_behind() -> None:
    paced = Paced()
    async with paced.running():
        peer = paced.crowd.peer()
        for seq in range(1, 5_000, 2):
            # One update in eleven days: the next one would wait for very long.
            paced.fanout.join(EVENT_A, peer.member(1e-6))
            await paced.publish(seq)
            await paced.publish(seq + 1)
            paced.fanout.leave(EVENT_A, peer.connection)
        assert len(paced.fanout._pacer._due) <= 1_001


@given(
    gaps=st.lists(st.sampled_from([0.0, 0.01, 0.3, 1.0, 5.0]), min_size=1, max_size=30),
    rate=st.sampled_from([0.5, 1.0, 3.0, 100.0]),
)
async def test_any_pace_keeps_order_distance_and_the_last_one(
    gaps: list[float], rate: float
) -> None:
    paced = Paced()
    arrivals: list[float] = []
    async with paced.running():
        peer = paced.listener(rate)
        for seq, gap in enumerate(gaps, 1):
            for _ in range(10):
                await paced.clock.advance(gap / 10)
                _note(arrivals, peer, paced.clock)
            await paced.publish(seq)
            _note(arrivals, peer, paced.clock)
        for _ in range(25):
            await paced.clock.advance(0.1 / rate)
            _note(arrivals, peer, paced.clock)
        seqs = peer.seqs()
        assert seqs == sorted(set(seqs))
        assert seqs[-1] == len(gaps)
        span = arrivals[-1] - arrivals[0]
        assert len(arrivals) <= span * rate + 1.2


def _note(arrivals: list[float], peer: Peer, clock: ManualClock) -> None:
    arrivals += [clock.monotonic()] * (len(peer.seqs()) - len(arrivals))
