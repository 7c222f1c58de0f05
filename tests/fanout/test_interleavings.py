"""Order and exactly-once, whatever happens between a client and the server, and when."""

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from stockstream.wire.packets import WireForm
from tests.fanout.client import Client
from tests.fanout.market import Exchange, open_exchange
from tests.fanout.model import SeenSession

SYMBOLS = ("A", "B", "C")
#: Has no price when the clients come: the first one is everybody's snapshot.
UNPRICED = ("C",)
#: Changes that fill all buffers of a client that does not read.
FLOOD = 150

Step = tuple[Any, ...]

_users = st.integers(0, 1)
_symbols = st.lists(st.sampled_from(SYMBOLS), min_size=1, max_size=3, unique=True)
_steps = st.one_of(
    st.tuples(st.just("change"), st.lists(st.sampled_from(SYMBOLS), min_size=1, max_size=4)),
    st.tuples(st.just("keep_changing"), st.integers(5, 30)),
    st.tuples(st.just("subscribe"), _users, _symbols, st.sampled_from([None, None, 25.0, 200.0])),
    st.tuples(st.just("subscribe_since"), _users, _symbols),
    st.tuples(st.just("unsubscribe"), _users, _symbols),
    st.tuples(st.sampled_from(["read_on", "stall", "upgrade", "cut", "leave"]), _users),
)
#: With each step, the turns that the event loop takes before the next one.
_programs = st.lists(st.tuples(_steps, st.integers(0, 8)), min_size=10, max_size=60)
#: How a user connects: the wire form, and whether it begins with polling.
_ways = st.tuples(st.sampled_from((WireForm.JSON, WireForm.MSGPACK)), st.booleans())


class User:
    """Somebody who comes back, on a new session, after having lost the last one."""

    def __init__(self, exchange: Exchange, form: WireForm) -> None:
        self._exchange = exchange
        self._form = form
        self.client = self._new()

    def _new(self) -> Client:
        return Client(self._exchange.port, self._form)

    def connect(self, *, polling: bool) -> None:
        self.client.start(polling=polling)

    def since(self, symbols: list[str]) -> dict[str, Any]:
        """Return the last position that it has seen of each of these symbols."""
        latest = {s: updates[-1] for s in symbols if (updates := self.client.updates(s))}
        return {
            f"stock_update_{symbol}": {"epoch": update["epoch"], "seq": update["seq"]}
            for symbol, update in latest.items()
        }

    async def return_from(self, *, polling: bool) -> None:
        """Let go of the session, and open another that goes on where the last one ended."""
        seen = SeenSession(self.client)
        positions = self.since(sorted(seen.subscribed))
        await self.client.cut()
        self.client = self._new()
        self.connect(polling=polling)
        if seen.subscribed:
            self.client.subscribe(*sorted(seen.subscribed), since=positions)

    async def settle(self) -> SeenSession:
        """Let all arrive that is on its way; returns what the session has seen."""
        client = self.client
        client.read_on()
        await client.answered()
        await client.until(lambda: not client.upgrading, "the end of the upgrade")
        await client.until(self._has_the_latest, "the latest prices")
        return SeenSession(client)

    def _has_the_latest(self) -> bool:
        seen = SeenSession(self.client)
        latest = self._exchange.market.seqs
        return seen.positions == {s: latest[s] for s in seen.subscribed if latest[s]}


class Play:
    """Carries out a program, one step after the other, without waiting for the effect of any."""

    def __init__(self, exchange: Exchange, users: list[User], ways: list[Any]) -> None:
        self._exchange = exchange
        self._users = users
        self._polling = [polling for _, polling in ways]

    async def run(self, program: list[tuple[Step, int]]) -> None:
        for (name, *arguments), turns in program:
            await getattr(self, name)(*arguments)
            await self.turns(turns)

    async def change(self, symbols: list[str]) -> None:
        self._exchange.change(*symbols)

    async def keep_changing(self, count: int) -> None:
        """Whatever a request waits for meanwhile, prices change before it goes on."""
        for _ in range(count):
            self._exchange.change(*SYMBOLS)
            await asyncio.sleep(0)

    async def turns(self, count: int) -> None:
        for _ in range(count):
            await asyncio.sleep(0)

    async def subscribe(self, user: int, symbols: list[str], rate: float | None) -> None:
        options = {} if rate is None else {"maxRate": rate}
        self._users[user].client.subscribe(*symbols, **options)

    async def subscribe_since(self, user: int, symbols: list[str]) -> None:
        self._users[user].client.subscribe(*symbols, since=self._users[user].since(symbols))

    async def unsubscribe(self, user: int, symbols: list[str]) -> None:
        self._users[user].client.unsubscribe(*symbols)

    async def stall(self, user: int) -> None:
        self._users[user].client.stop_reading()
        # More than all buffers on the way take.
        self._exchange.change(*(SYMBOLS[n % len(SYMBOLS)] for n in range(FLOOD)))
        await self.turns(3)
        # These find no room.
        self._exchange.change(*SYMBOLS)

    async def read_on(self, user: int) -> None:
        self._users[user].client.read_on()

    async def upgrade(self, user: int) -> None:
        if self._polling[user]:
            self._users[user].client.upgrade()

    async def cut(self, user: int) -> None:
        await self._users[user].return_from(polling=self._polling[user])

    async def leave(self, user: int) -> None:
        self._users[user].client.leave()
        await asyncio.sleep(0)
        await self.cut(user)


@pytest.mark.slow
@pytest.mark.timeout(300)
@settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow])
@given(program=_programs, ways=st.lists(_ways, min_size=2, max_size=2))
async def test_every_client_sees_what_it_asked_for_in_order_and_once(
    program: list[tuple[Step, int]], ways: list[tuple[WireForm, bool]]
) -> None:
    async with open_exchange(SYMBOLS[:-1], unpriced=UNPRICED) as exchange:
        users = [User(exchange, form) for form, _ in ways]
        try:
            for user, (_, polling) in zip(users, ways, strict=True):
                user.connect(polling=polling)
                user.client.subscribe(*SYMBOLS)
                await user.client.answered()
            await Play(exchange, users, ways).run(program)
            for user in users:
                await assert_counted(exchange, user)
            await assert_silent_after_unsubscribing(exchange, users)
        finally:
            for user in users:
                await user.client.cut()


async def assert_counted(exchange: Exchange, user: User) -> None:
    """Insist that nothing is missing but what is counted as conflated."""
    seen = await user.settle()
    await user.client.until(lambda: user.client.heard[1:], "a welcome")
    conflated = exchange.info(user.client.id)["conflated"]
    event(f"conflated {conflated > 0}")
    event(f"gaps {seen.gaps > 0}")
    assert seen.gaps <= conflated <= seen.gaps + seen.paced_gaps or _began_anew(user.client)
    assert seen.gaps <= conflated


def _began_anew(client: Client) -> bool:
    # What was waiting for it then was withdrawn, and whatever that had replaced shows nowhere.
    events = [event for request in client.requests for event in request.body["events"]]
    return len(events) > len(set(events))


async def assert_silent_after_unsubscribing(exchange: Exchange, users: list[User]) -> None:
    for user in users:
        user.client.unsubscribe(*SYMBOLS)
        await user.client.answered()
        assert not SeenSession(user.client).subscribed
    exchange.change(*SYMBOLS)
    for user in users:
        # Answered after the changes: had they been sent, they would have come before.
        user.client.unsubscribe("A")
        await user.client.answered()
        SeenSession(user.client)
