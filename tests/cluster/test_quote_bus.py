"""The quote bus over a real Redis: who hears what, and what happens when it does not."""

import asyncio

import redis

from stockstream.cluster.link import RedisLink, open_link
from stockstream.model import Symbol
from tests.cluster.buses import Listening, listening
from tests.cluster.quotes import AAPL, MSFT, NVDA, SYMBOLS, Owner, owner, raw, seqs
from tests.support.clock import ManualClock
from tests.support.processes import wait_until
from tests.support.redis_cluster import RedisClusterServers
from tests.support.redis_server import RedisServer, running_redis


async def complete(heard: Listening, node: Owner, *symbols: Symbol) -> None:
    """Wait until each symbol's last update has come, and compare all with the log."""
    for symbol in symbols:
        got = await up_to_date(heard, node, symbol)
        logged = await node.log.after(symbol, got[0])
        assert logged is not None
        assert got == [got[0], *(update.offset for update in logged)]
    offsets = [update.offset for update in heard.got.updates]
    assert offsets == sorted(set(offsets))


async def up_to_date(heard: Listening, node: Owner, symbol: Symbol) -> list[int]:
    """Wait until a symbol's last update has come; return the offsets of all that came."""
    state = await node.log.state(symbol)
    assert state is not None
    got = heard.got.offsets
    await wait_until(
        lambda: got.get(symbol, [0])[-1] >= state.offset, f"the last update of {symbol}"
    )
    return got[symbol]


def kill_subscriber(server: RedisServer) -> None:
    with redis.Redis(port=server.port) as client:
        assert client.client_kill_filter(_type="pubsub")


async def test_watched_symbol_begins_with_its_state_and_goes_on_without_a_gap(
    link: RedisLink,
) -> None:
    node = await owner(link)
    await node.commit(AAPL, 1.0, 2.0)
    async with listening(link) as heard:
        await heard.live(AAPL)
        assert [(s, seqs([u]) if u else None) for s, u in heard.got.snapshots] == [(AAPL, [2])]
        await node.commit(AAPL, 3.0, 4.0)
        await complete(heard, node, AAPL)
        assert heard.got.seqs(AAPL) == [3, 4]


async def test_symbol_without_a_state_says_so_and_then_delivers(link: RedisLink) -> None:
    node = await owner(link)
    async with listening(link) as heard:
        await heard.live(AAPL)
        assert heard.got.snapshots == [(AAPL, None)]
        await node.commit(AAPL, 1.0)
        await wait_until(lambda: heard.got.seqs(AAPL) == [1], "the update")


async def test_symbol_that_nobody_watches_is_not_heard(link: RedisLink) -> None:
    node = await owner(link)
    async with listening(link) as heard:
        await heard.live(AAPL, MSFT)
        heard.bus.unwatch(MSFT)
        await node.commit(MSFT, 1.0)
        await node.commit(NVDA, 1.0)
        await node.commit(AAPL, 1.0)
        await complete(heard, node, AAPL)
        assert heard.got.seqs(MSFT) == []
        # Once Redis has been told, not even a byte comes.
        await heard.live(NVDA)
        before = heard.bus.messages
        await node.commit(MSFT, 2.0)
        await node.commit(AAPL, 2.0)
        await complete(heard, node, AAPL)
        assert heard.bus.messages == before + 1


async def test_watching_again_at_once_starts_with_a_snapshot_and_misses_nothing(
    link: RedisLink,
) -> None:
    node = await owner(link)
    await node.commit(AAPL, 1.0)
    async with listening(link) as heard:
        for price in range(2, 40):
            heard.bus.watch(AAPL)
            if price % 3 == 0:
                await asyncio.sleep(0)
            heard.bus.unwatch(AAPL)
            await node.commit(AAPL, float(price))
        heard.got.offsets.clear()
        heard.got.updates.clear()
        await heard.live(AAPL)
        await node.commit(AAPL, 100.0, 101.0)
        await complete(heard, node, AAPL)


async def test_updates_come_in_one_order_whatever_their_symbols(link: RedisLink) -> None:
    node = await owner(link)
    async with listening(link) as heard:
        await heard.live(*SYMBOLS)
        for price in range(1, 31):
            await asyncio.gather(*(node.commit(symbol, float(price)) for symbol in SYMBOLS))
        await complete(heard, node, *SYMBOLS)
        assert len(heard.got.updates) == 30 * len(SYMBOLS)
        assert heard.bus.position >= heard.got.updates[-1].offset


async def test_killed_connection_is_replaced_and_what_was_missed_comes_once_in_order(
    single: RedisLink, redis_server: RedisServer
) -> None:
    node = await owner(single)
    async with listening(single) as heard:
        await heard.live(*SYMBOLS)
        for loss in range(1, 4):
            for price in range(10):
                if price == 5:
                    kill_subscriber(redis_server)
                for symbol in SYMBOLS:
                    await node.commit(symbol, loss * 100.0 + price)
            await heard.lose(loss)
        await complete(heard, node, *SYMBOLS)
        assert len(heard.got.updates) == 3 * 10 * len(SYMBOLS)
        assert heard.bus.gaps == 0
        assert heard.bus.caught_up


async def test_redis_that_restarts_empty_is_caught_up_with_from_its_new_beginning() -> None:
    with running_redis() as server:
        async with open_link(server.url) as link, listening(link) as heard:
            node = await owner(link)
            await heard.live(AAPL)
            await node.commit(AAPL, 1.0)
            await complete(heard, node, AAPL)
            server.kill()
            await wait_until(lambda: not heard.bus.hearing, "the loss")
            server.start()
            await node.own()
            await node.commit(AAPL, 1.0, 2.0)
            await heard.lose()
            await node.commit(AAPL, 3.0)
            await wait_until(lambda: heard.got.seqs(AAPL)[-1] == 3, "an update")
            assert heard.got.seqs(AAPL) == [1, 1, 2, 3]
            assert heard.bus.gaps == 0
            offsets = heard.got.offsets[AAPL]
            assert offsets == sorted(set(offsets))


async def test_redis_that_restarts_with_its_data_is_caught_up_with() -> None:
    with running_redis("--appendonly", "yes", "--appendfsync", "always") as server:
        async with open_link(server.url) as link, listening(link) as heard:
            node = await owner(link)
            await heard.live(AAPL, MSFT)
            await node.commit(AAPL, 1.0)
            server.kill()
            await wait_until(lambda: not heard.bus.hearing, "the loss")
            server.start()
            await node.commit(AAPL, 2.0, 3.0)
            await node.commit(MSFT, 1.0)
            await heard.lose()
            await complete(heard, node, AAPL)
            assert heard.got.seqs(AAPL) == [1, 2, 3]
            assert heard.bus.gaps == 0


async def test_redis_that_hangs_is_noticed_and_the_bus_heals() -> None:
    with running_redis() as server:
        async with (
            open_link(server.url, timeout=0.3) as link,
            listening(link, deaf_after=0.3) as heard,
        ):
            node = await owner(link)
            await heard.live(AAPL)
            await node.commit(AAPL, 1.0)
            await complete(heard, node, AAPL)
            since = heard.bus.since
            server.pause()
            await wait_until(lambda: not heard.bus.hearing, "the silence to be noticed")
            assert heard.bus.since > since
            server.resume()
            await wait_until(lambda: heard.bus.hearing, "a new connection")
            await node.commit(AAPL, 2.0)
            await complete(heard, node, AAPL)
            assert heard.got.seqs(AAPL) == [1, 2]


async def test_connection_that_went_deaf_is_replaced(
    single: RedisLink, redis_server: RedisServer
) -> None:
    node = await owner(single)
    async with listening(single, deaf_after=0.4) as heard:
        await heard.live(AAPL)
        subscriber = heard.bus._subscriber
        assert subscriber is not None
        assert subscriber._transport is not None
        # The connection lives on and brings nothing any more: a listener that died silently.
        subscriber._transport.pause_reading()
        await node.commit(AAPL, 1.0, 2.0)
        await heard.lose()
        await complete(heard, node, AAPL)
        assert heard.got.seqs(AAPL) == [1, 2]


async def test_slow_node_that_redis_cuts_off_catches_up(redis_server: RedisServer) -> None:
    async with open_link(redis_server.url) as link, listening(link, deaf_after=30.0) as heard:
        node = await owner(link)
        await heard.live(AAPL)
        limit = ("client-output-buffer-limit", "pubsub 20000 0 0")
        with redis.Redis(port=redis_server.port) as client:
            client.config_set(*limit)
            try:
                subscriber = heard.bus._subscriber
                assert subscriber is not None
                assert subscriber._transport is not None
                subscriber._transport.pause_reading()
                price = 0.0
                while subscribers(client):
                    await node.commit(AAPL, *(price + n for n in range(400)))
                    price += 400
                subscriber._transport.resume_reading()
                await heard.lose()
            finally:
                client.config_set("client-output-buffer-limit", "pubsub 33554432 8388608 60")
        await node.commit(AAPL, 1e9, 1e9 + 1)
        await wait_until(
            lambda: heard.got.updates[-1:] and b"1000000001" in heard.got.updates[-1].payload,
            "the last update",
        )
        offsets = [update.offset for update in heard.got.updates]
        assert offsets == sorted(set(offsets))


def subscribers(client: redis.Redis) -> int:
    return len(client.client_list(_type="pubsub"))


async def test_too_much_to_hold_ends_in_snapshots(
    single: RedisLink, redis_server: RedisServer
) -> None:
    node = await owner(single)
    symbols = [Symbol(f"T{n}") for n in range(120)]
    async with listening(single, held_limit=5_000) as heard:
        await heard.live(*symbols)
        kill_subscriber(redis_server)
        for symbol in symbols:
            await node.commit(symbol, 1.0, 2.0, 3.0)
        await heard.lose()
        for symbol in symbols:
            await up_to_date(heard, node, symbol)
        assert heard.bus.gaps in (0, 20, 70, 120)


async def test_who_left_while_a_gap_was_read_takes_nothing_from_who_came_after(
    single: RedisLink,
) -> None:
    node = await owner(single)
    async with listening(single) as heard:
        await heard.live(AAPL)
        gone = heard.bus._watches[AAPL]
        heard.bus.unwatch(AAPL)
        heard.bus.watch(AAPL)
        # It is found only now that what was missed can't be told.
        heard.bus._give_up([gone])
        await wait_until(lambda: len(heard.got.snapshots) == 2, "the snapshot")
        await node.commit(AAPL, 1.0)
        await complete(heard, node, AAPL)
        assert heard.bus.gaps == 0


async def test_message_of_a_stranger_is_counted_and_harms_nothing(
    single: RedisLink, redis_server: RedisServer
) -> None:
    node = await owner(single)
    async with listening(single, deaf_after=30.0) as heard:
        await heard.live(AAPL)
        await raw(single).publish(single.channels.quotes(AAPL), "nonsense")
        await raw(single).publish(single.channels.canary("listener"), b"\xff")
        await node.commit(AAPL, 1.0)
        await complete(heard, node, AAPL)
        assert heard.bus.undecodable == 2
        assert heard.bus.losses == 0


async def test_other_channels_are_heard_and_each_connect_is_told(
    single: RedisLink, redis_server: RedisServer
) -> None:
    heard_words: list[bytes] = []
    connects: list[int] = []
    async with listening(single) as heard:
        heard.bus.listen("words", heard_words.append, lambda: connects.append(1))
        await wait_until(lambda: heard.bus.hearing, "the connection")
        await raw(single).publish("words", "hello")
        await wait_until(lambda: heard_words == [b"hello"], "the word")
        kill_subscriber(redis_server)
        await heard.lose()
        assert len(connects) == 2


async def test_clock_that_is_wrong_changes_nothing(single: RedisLink) -> None:
    node = await owner(single)
    clock = ManualClock()
    async with listening(single, clock=clock) as heard:
        await heard.live(AAPL)
        for day in (86_400 * 400, -86_400 * 800):
            clock.jump(day)
            await node.commit(AAPL, float(abs(day)))
        await complete(heard, node, AAPL)
        assert heard.got.seqs(AAPL) == [1, 2]


async def test_slot_that_moves_to_another_master_is_followed(
    cluster_servers: RedisClusterServers,
) -> None:
    async with open_link(cluster_servers.url) as link, listening(link) as heard:
        node = await owner(link)
        await heard.live(AAPL, MSFT)
        await node.commit(AAPL, 1.0)
        cluster_servers.move("stockstream:{q}:offset")
        await node.commit(AAPL, 2.0)
        await node.commit(MSFT, 2.0)
        await heard.lose()
        await node.commit(AAPL, 3.0)
        await complete(heard, node, AAPL)
        assert heard.got.seqs(AAPL) == [1, 2, 3]
        assert heard.bus.gaps == 0
