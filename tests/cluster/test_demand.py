"""Who wants what, across nodes, over a real Redis."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import redis

from stockstream.clock import SystemClock
from stockstream.cluster import keys
from stockstream.cluster.demand import SharedDemand
from stockstream.cluster.link import RedisLink
from stockstream.model import Symbol
from tests.cluster.buses import Listening, listening
from tests.cluster.quotes import AAPL, MSFT, NVDA
from tests.support.processes import wait_until
from tests.support.redis_server import RedisServer


class Node:
    def __init__(self, demand: SharedDemand, heard: Listening) -> None:
        self.demand = demand
        self.heard = heard

    @property
    def wanted(self) -> set[Symbol]:
        return set(self.demand.wanted())


@asynccontextmanager
async def node(link: RedisLink, name: str, *, repair_interval: float = 60.0) -> AsyncIterator[Node]:
    """Run the demand of a node, heard over a bus of its own."""
    wanted: set[Symbol] = set()

    def changed(symbol: Symbol, is_wanted: bool) -> None:  # noqa: FBT001
        assert is_wanted is (symbol not in wanted)
        (wanted.add if is_wanted else wanted.discard)(symbol)

    demand = SharedDemand(
        link,
        node=name,
        clock=SystemClock(),
        on_change=changed,
        repair_interval=repair_interval,
    )
    async with listening(link, node=name) as heard:
        heard.bus.listen(link.channels.demand, demand.hear, demand.repair)
        await wait_until(lambda: heard.bus.hearing, "the connection")
        task = asyncio.create_task(demand.run())
        try:
            yield Node(demand, heard)
            assert wanted == set(demand.wanted())
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def test_own_demand_counts_at_once(single: RedisLink) -> None:
    async with node(single, "a") as a:
        a.demand.want(AAPL)
        assert a.wanted == {AAPL}
        assert a.demand.wanted_by(AAPL) == 1
        a.demand.drop(AAPL)
        assert a.wanted == set()


async def test_each_node_learns_what_others_want(link: RedisLink) -> None:
    async with node(link, "a") as a, node(link, "b") as b:
        a.demand.want(AAPL)
        for each in (a, b):
            each.demand.members({"a", "b"})
        b.demand.want(MSFT)
        await wait_until(lambda: a.wanted == b.wanted == {AAPL, MSFT}, "both")
        b.demand.want(AAPL)
        await wait_until(lambda: a.demand.wanted_by(AAPL) == 2, "two who want it")
        a.demand.drop(AAPL)
        b.demand.drop(AAPL)
        b.demand.drop(MSFT)
        await wait_until(lambda: a.wanted == b.wanted == set(), "nothing")
        assert a.demand.repairs == b.demand.repairs == 0


async def test_demand_of_a_node_that_is_gone_disappears(link: RedisLink) -> None:
    async with node(link, "a") as a:
        async with node(link, "b") as b:
            for each in (a, b):
                each.demand.members({"a", "b"})
            b.demand.want(AAPL)
            b.demand.want(MSFT)
            a.demand.want(MSFT)
            await wait_until(lambda: a.wanted == {AAPL, MSFT}, "both")
        a.demand.members({"a"})
        assert a.wanted == {MSFT}


async def test_node_that_comes_back_is_heard_again(link: RedisLink) -> None:
    async with node(link, "a") as a, node(link, "b") as b:
        a.demand.members({"a", "b"})
        b.demand.want(AAPL)
        await wait_until(lambda: a.wanted == {AAPL}, "what b wants")
        a.demand.members({"a"})
        b.demand.want(MSFT)
        a.demand.members({"a", "b"})
        await wait_until(lambda: a.wanted == {AAPL, MSFT}, "what b wants")


async def test_change_that_was_not_heard_is_noticed_with_the_next_one(single: RedisLink) -> None:
    async with node(single, "a") as a, node(single, "b") as b:
        a.demand.members({"a", "b"})
        b.demand.want(AAPL)
        await wait_until(lambda: a.wanted == {AAPL}, "what b wants")
        heard = a.demand.hear
        lost: list[bytes] = []
        channel = single.channels.demand.encode()
        subscriber = a.heard.bus._subscriber
        assert subscriber is not None
        subscriber._listeners[channel] = lost.append
        b.demand.want(MSFT)
        await wait_until(lambda: lost, "the lost message")
        subscriber._listeners[channel] = heard
        b.demand.want(NVDA)
        await wait_until(lambda: a.wanted == {AAPL, MSFT, NVDA}, "everything")


async def test_change_during_a_lost_connection_is_learned_after_it(
    single: RedisLink, redis_server: RedisServer
) -> None:
    async with node(single, "a") as a, node(single, "b") as b:
        a.demand.members({"a", "b"})
        with redis.Redis(port=redis_server.port) as client:
            client.client_kill_filter(_type="pubsub")
        b.demand.want(AAPL)
        await a.heard.lose()
        await wait_until(lambda: a.wanted == {AAPL}, "what b wants")


async def test_redis_that_lost_everything_is_told_again(
    single: RedisLink, redis_server: RedisServer
) -> None:
    async with (
        node(single, "a", repair_interval=0.2) as a,
        node(single, "b", repair_interval=0.2) as b,
    ):
        a.demand.members({"a", "b"})
        b.demand.want(AAPL)
        await wait_until(lambda: a.wanted == {AAPL}, "what b wants")
        redis_server.flush()
        await wait_until(lambda: b.demand.repairs, "the repair")
        with redis.Redis(port=redis_server.port, decode_responses=True) as client:
            await wait_until(lambda: client.smembers(keys.demand("b")) == {AAPL}, "the set")
        await wait_until(lambda: a.wanted == {AAPL}, "what b wants")


async def test_demand_of_many_symbols_is_told_in_bounded_steps(single: RedisLink) -> None:
    symbols = {Symbol(f"T{number}") for number in range(2_500)}
    async with node(single, "a") as a, node(single, "b") as b:
        a.demand.members({"a", "b"})
        for symbol in symbols:
            b.demand.want(symbol)
        await wait_until(lambda: a.wanted == symbols, "everything")
        for symbol in symbols:
            b.demand.drop(symbol)
        await wait_until(lambda: a.wanted == set(), "nothing")


async def test_nonsense_on_the_channel_is_ignored(single: RedisLink) -> None:
    async with node(single, "a") as a:
        a.demand.members({"a", "b"})
        for nonsense in (b"", b"b", b"b * x +A", b"\xff \xff \xff", b"b  7 A"):
            a.demand.hear(nonsense)
        assert a.wanted == set()
