"""A node goes on after another one that has streamed its symbol, or where it was not sure of it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from stockstream.cluster import keys
from stockstream.cluster.link import RedisLink
from stockstream.cluster.quote_log import QuoteLog
from stockstream.services.clustered import ClusteredStreaming
from tests.cluster.quotes import AAPL, change, group, own_everything, raw
from tests.gateway.nodes import Client, Running, running, until


@asynccontextmanager
async def overtaken(single: RedisLink, redis_url: str) -> AsyncIterator[tuple[Running, Client]]:
    """A node that has just asked for a price, when another one told that it is 20."""
    async with (
        running(alone=False, redis_url=redis_url) as node,
        node.client() as client,
    ):
        await client.ask("subscribe", {"events": ["stock_update_AAPL"]})
        assert await heard(client) == (10.0, 1)
        node.poller.hanging = {AAPL}
        await until(lambda: bool(node.poller.busy))
        leases = await raw(single).hgetall(keys.LEASES)
        await own_everything(single, "other", 99)
        other = QuoteLog(single, node="other")
        await other.read([AAPL], None)
        told = change(20.0)
        told = replace(told, body=told.body.replace(b'"X"', b'"AAPL"'))
        await other.commit([group(AAPL, 99, told)])
        await raw(single).hset(keys.LEASES, mapping=leases)
        yield node, client


def streaming_of(node: Running) -> ClusteredStreaming:
    streaming = node.node.streaming
    assert isinstance(streaming, ClusteredStreaming)
    return streaming


async def heard(client: Client) -> tuple[float, int]:
    update = (await client.event("stock_update_AAPL"))["payload"]
    return update["price"], update["seq"]


async def test_price_that_was_asked_for_before_is_not_told_after_what_another_node_told(
    single: RedisLink, redis_url: str
) -> None:
    async with overtaken(single, redis_url) as (node, client):
        streaming = streaming_of(node)
        node.poller.prices[AAPL] = 15.0
        node.poller.hanging = set()
        await until(lambda: bool(streaming.committer.superseded))
        node.poller.prices[AAPL] = 30.0
        prices = [await heard(client), await heard(client)]
    # It may have asked again before the price went from 15 to 30: then that is news.
    assert prices[0] == (20.0, 2)
    assert prices[1] in {(15.0, 3), (30.0, 3)}


async def test_price_that_has_not_changed_since_another_node_told_it_is_not_told_again(
    single: RedisLink, redis_url: str
) -> None:
    async with overtaken(single, redis_url) as (node, client):
        node.poller.prices[AAPL] = 20.0
        node.poller.hanging = set()
        asked = node.poller.count(AAPL)
        await until(lambda: node.poller.count(AAPL) > asked + 3)
        node.poller.prices[AAPL] = 30.0
        assert [await heard(client), await heard(client)] == [(20.0, 2), (30.0, 3)]


async def test_symbol_that_is_first_wanted_while_its_lease_is_not_certain_streams(
    redis_url: str,
) -> None:
    async with running(alone=False, redis_url=redis_url) as node, node.client() as client:
        doubt(node)
        await client.ask("subscribe", {"events": ["stock_update_AAPL"]})
        assert await heard(client) == (10.0, 1)


async def test_price_that_came_while_the_lease_was_not_certain_is_told(redis_url: str) -> None:
    async with running(alone=False, redis_url=redis_url) as node, node.client() as client:
        await client.ask("subscribe", {"events": ["stock_update_AAPL"]})
        assert await heard(client) == (10.0, 1)
        node.poller.prices[AAPL] = 11.0
        doubt(node)
        while not streaming_of(node).committer.pending:
            doubt(node)
            await asyncio.sleep(0)
        # It stands still from now on.
        assert await heard(client) == (11.0, 2)


def doubt(node: Running) -> None:
    """Have a node not know for a moment whether its leases are its own: an answer is late."""
    streaming_of(node).membership._certain_until = 0.0
    assert streaming_of(node).membership.isolated
