"""The one order of all updates, in a real Redis and a real Redis Cluster."""

import json

import pytest
import redis

from stockstream.cluster import keys
from stockstream.cluster.link import RedisLink, open_link
from stockstream.cluster.quote_log import QuoteLog
from stockstream.core.ownership import partition_of
from stockstream.model import Position
from tests.cluster.quotes import (
    AAPL,
    MSFT,
    SYMBOLS,
    change,
    decoded,
    group,
    own_everything,
    owner,
    raw,
    seqs,
)
from tests.support.redis_server import RedisServer, running_redis


async def test_updates_are_numbered_without_gaps_in_one_epoch(link: RedisLink) -> None:
    node = await owner(link)
    first = (await node.commit(AAPL, 1.0, 2.0)).committed[0]
    second = (await node.commit(AAPL, 3.0)).committed[0]
    assert [*first.seqs, *second.seqs] == [1, 2, 3]
    assert first.epoch == second.epoch
    position = Position(epoch=first.epoch, seq=1)
    missed = decoded(await node.log.since(AAPL, position))
    assert [(update["seq"], update["price"]) for update in missed] == [(2, 2.0), (3, 3.0)]
    assert {update["epoch"] for update in missed} == {first.epoch}


async def test_unchanged_price_is_not_an_update_even_for_another_owner(link: RedisLink) -> None:
    await (await owner(link, "a", 1)).commit(AAPL, 5.0)
    after_change_of_owner = await (await owner(link, "b", 2)).commit(AAPL, 5.0, 6.0)
    assert after_change_of_owner.committed[0].seqs == [0, 2]


async def test_changes_offered_again_happen_once(link: RedisLink) -> None:
    node = await owner(link)
    changes = [change(1.0), change(2.0), change(1.0)]
    groups = [group(AAPL, node.token, *changes)]
    first = await node.log.commit(groups)
    again = await node.log.commit(groups)
    assert first.committed[0].seqs == [1, 2, 3]
    assert again.committed[0].seqs == [0, 0, 0]
    assert seqs(await node.log.after(AAPL, 0) or []) in ([], [1, 2, 3])
    state = await node.log.state(AAPL)
    assert state is not None
    assert state.position.seq == 3


async def test_stale_token_refuses_its_partition_and_no_other(link: RedisLink) -> None:
    node = await owner(link, token=8)
    result = await node.log.commit([group(AAPL, 7, change(1.0)), group(MSFT, 8, change(2.0))])
    assert result.stale == {partition_of(AAPL)}
    assert [entry.symbol for entry in result.committed] == [MSFT]
    assert await node.log.state(AAPL) is None
    assert await node.log.since(AAPL, Position(epoch="", seq=0)) is None


async def test_token_of_another_node_is_refused(link: RedisLink) -> None:
    await own_everything(link, "other", 7)
    result = await QuoteLog(link, node="me").commit([group(AAPL, 7, change(1.0))])
    assert result.stale == {partition_of(AAPL)}


async def test_numbers_of_a_node_that_was_alone_become_an_epoch_where_nobody_else_went_on(
    link: RedisLink,
) -> None:
    node = await owner(link)
    before = (await node.commit(AAPL, 1.0)).committed[0]
    alone = [group(AAPL, node.token, change(2.0), change(3.0), epoch="alone")]
    result = await node.log.commit(alone)
    assert result.committed[0] == (AAPL, "alone", [1, 2])
    assert (await node.commit(AAPL, 4.0)).committed[0] == (AAPL, "alone", [3])
    assert before.epoch != "alone"


async def test_numbers_of_a_node_that_was_alone_are_refused_where_another_went_on(
    link: RedisLink,
) -> None:
    node = await owner(link, "a", 1)
    common = (await node.commit(AAPL, 1.0)).committed[0].epoch
    await (await owner(link, "b", 2)).commit(AAPL, 2.0)
    node.token = 3
    await node.own()
    refused = await node.log.commit([group(AAPL, 3, change(5.0), change(6.0), epoch="alone")])
    assert refused.committed[0].superseded
    assert refused.committed[0].seqs == [-1, -1]
    # What it offers from now on goes on after the other's.
    assert (await node.commit(AAPL, 6.0)).committed[0] == (AAPL, common, [3])


async def test_changes_of_a_node_that_does_not_know_what_another_made_are_refused(
    link: RedisLink,
) -> None:
    node = await owner(link, "a", 1)
    await node.commit(AAPL, 1.0)
    await (await owner(link, "b", 2)).commit(AAPL, 2.0)
    # It owns the partition again, and has asked for this price before the other one did.
    node.token = 3
    await node.own()
    refused = await node.commit(AAPL, 1.5)
    assert refused.committed[0].superseded
    assert (await node.commit(AAPL, 3.0)).committed[0].seqs == [3]


async def test_new_owner_that_only_read_the_state_may_begin_an_epoch_when_alone(
    link: RedisLink,
) -> None:
    await (await owner(link, "a", 1)).commit(AAPL, 1.0)
    node = await owner(link, "b", 2)
    await node.log.read([AAPL], None)
    result = await node.log.commit([group(AAPL, 2, change(2.0), epoch="alone")])
    assert result.committed[0] == (AAPL, "alone", [1])


async def test_offsets_are_one_order_over_all_symbols(link: RedisLink) -> None:
    node = await owner(link)
    start = await node.log.current_offset()
    assert start == 0
    offsets = []
    for round_ in range(3):
        for symbol in SYMBOLS[:5]:
            await node.commit(symbol, round_ + 1.0, round_ + 1.5)
            offsets.append(await node.log.current_offset())
    assert offsets == sorted(set(offsets))
    first = await node.log.state(SYMBOLS[0])
    assert first is not None
    assert offsets[-5] == first.offset


async def test_after_tells_what_followed_an_offset_and_never_a_part_of_it(link: RedisLink) -> None:
    node = await owner(link)
    await node.commit(AAPL, 1.0)
    offset = await node.log.current_offset()
    assert await node.log.after(AAPL, offset) == []
    await node.commit(AAPL, 2.0, 3.0)
    await node.commit(MSFT, 3.0)
    assert seqs(await node.log.after(AAPL, offset)) == [2, 3]
    # Before the first update of all, Redis may have known others.
    assert await node.log.after(AAPL, 1) is None


async def test_symbol_that_is_new_can_be_caught_up_from_before_its_first_update(
    link: RedisLink,
) -> None:
    node = await owner(link)
    await node.commit(AAPL, 1.0)
    offset = await node.log.current_offset()
    assert await node.log.after(MSFT, offset) == []
    await node.commit(MSFT, 2.0)
    assert seqs(await node.log.after(MSFT, offset)) == [1]


async def test_last_thousand_are_kept_and_older_ones_are_told_to_be_gone(link: RedisLink) -> None:
    node = await owner(link)
    await node.commit(AAPL, 0.5)
    offset = await node.log.current_offset()
    epoch = (await node.commit(AAPL, *(float(n) for n in range(1, 1_301)))).committed[0].epoch
    assert await node.log.after(AAPL, offset) is None
    assert await node.log.since(AAPL, Position(epoch=epoch, seq=1)) is None
    kept = await node.log.since(AAPL, Position(epoch=epoch, seq=301))
    assert seqs(kept) == list(range(302, 1_302))
    assert kept is not None
    assert await node.log.after(AAPL, kept[0].offset) == kept[1:]


async def test_restart_begins_a_new_epoch_and_sends_an_unchanged_price(link: RedisLink) -> None:
    node = await owner(link)
    before = (await node.commit(AAPL, 1.0, 2.0)).committed[0]
    offset = await node.log.current_offset()
    groups = [group(AAPL, node.token, change(2.0), change(3.0), epoch="anew")]
    after = (await node.log.commit(groups)).committed[0]
    assert after.epoch == "anew" != before.epoch
    assert after.seqs == [1, 2]
    assert await node.log.since(AAPL, Position(epoch=before.epoch, seq=2)) is None
    # Offsets go on, so a client that was there can have all of it.
    assert seqs(await node.log.after(AAPL, offset)) == [1, 2]
    again = (await node.log.commit(groups)).committed[0]
    assert (again.epoch, again.seqs) == (after.epoch, [0, 0])
    # More of them may be offered, while nobody knows whether the first were taken.
    *_, last = groups[0].symbols[0].changes
    more = [group(AAPL, node.token, last, change(4.0), epoch="anew")]
    assert (await node.log.commit(more)).committed[0].seqs == [0, 3]


async def test_documented_keys_hold_the_value_and_the_last_thousand(link: RedisLink) -> None:
    node = await owner(link)
    changes = [change(float(n), timestamp=n) for n in range(1, 1_006)]
    for start in range(0, len(changes), 100):
        await node.log.commit([group(AAPL, node.token, *changes[start : start + 100])])
    value = await raw(link).get("stock:AAPL:current")
    assert json.loads(value)["seq"] == 1_005
    assert 0 < await raw(link).ttl("stock:AAPL:current") <= 300
    history = await raw(link).zrange("stock:AAPL:timeseries", 0, -1, withscores=True)
    assert [int(score) for _, score in history] == list(range(6, 1_006))
    assert json.loads(history[-1][0]) == json.loads(value)


async def test_big_commit_goes_in_bounded_steps_and_stays_in_order(link: RedisLink) -> None:
    node = await owner(link)
    groups = [
        group(symbol, node.token, *(change(float(n)) for n in range(1, 121))) for symbol in SYMBOLS
    ]
    result = await node.log.commit(groups)
    committed: dict[str, list[int]] = {}
    for entry in result.committed:
        committed.setdefault(entry.symbol, []).extend(entry.seqs)
    assert committed == {symbol: list(range(1, 121)) for symbol in SYMBOLS}


async def test_touch_keeps_what_stands_still(link: RedisLink) -> None:
    node = await owner(link)
    await node.commit(AAPL, 1.0)
    for key in (keys.state(AAPL), keys.log(AAPL), keys.value(AAPL)):
        await raw(link).expire(key, 5)
    await node.log.touch([AAPL])
    assert await raw(link).ttl(keys.state(AAPL)) > 1_000
    assert await raw(link).ttl(keys.log(AAPL)) > 1_000
    assert await raw(link).ttl(keys.value(AAPL)) > 100


async def test_offsets_only_grow_when_redis_lost_everything(
    single: RedisLink, redis_server: RedisServer
) -> None:
    node = await owner(single)
    await node.commit(AAPL, 1.0, 2.0)
    before = await node.log.current_offset()
    redis_server.flush()
    await node.own()
    await node.commit(AAPL, 2.0)
    assert await node.log.current_offset() > before
    # What came between is lost, and nobody claims otherwise.
    assert await node.log.after(AAPL, before) is None


async def test_replica_without_the_last_updates_begins_a_new_epoch() -> None:
    with running_redis() as master, running_redis() as other:
        async with open_link(master.url) as link, open_link(other.url) as link_to_other:
            node = await owner(link)
            first = (await node.commit(AAPL, 1.0)).committed[0]
            offset = await node.log.current_offset()
            with redis.Redis(port=master.port) as client, redis.Redis(port=other.port) as replica:
                for key in client.scan_iter("*"):
                    replica.restore(key, 0, client.dump(key))
                await node.commit(AAPL, 2.0)
            lost = await node.log.current_offset()
            node.log._link = link_to_other
            after = (await node.commit(AAPL, 3.0)).committed[0]
            assert after.epoch != first.epoch
            assert await node.log.current_offset() > lost
            assert await node.log.after(AAPL, offset) is None


async def test_replica_with_everything_goes_on_in_the_same_epoch() -> None:
    with running_redis() as master, running_redis() as other:
        async with open_link(master.url) as link, open_link(other.url) as link_to_other:
            node = await owner(link)
            first = (await node.commit(AAPL, 1.0)).committed[0]
            with redis.Redis(port=master.port) as client, redis.Redis(port=other.port) as replica:
                for key in client.scan_iter("*"):
                    replica.restore(key, 0, client.dump(key))
            node.log._link = link_to_other
            after = (await node.commit(AAPL, 3.0)).committed[0]
            assert (after.epoch, after.seqs) == (first.epoch, [2])


@pytest.mark.parametrize("node", ["owner", "other"])
async def test_commit_without_an_answer_is_lost_only_where_another_node_made_it(
    node: str,
) -> None:
    with running_redis("--appendonly", "yes", "--appendfsync", "always") as server:
        async with open_link(server.url) as link:
            told = await owner(link)
            first = (await told.commit(AAPL, 1.0)).committed[0]
            untold = await owner(link, node)
            await untold.commit(AAPL, 2.0)
            server.kill()
            server.start()
            await told.own()
            after = (await told.commit(AAPL, 3.0)).committed[0]
            goes_on = (after.epoch, after.seqs) == (first.epoch, [3])
            assert goes_on is (node == told.node)


@pytest.mark.parametrize("count", [1, 3])
async def test_position_ahead_of_what_is_held_is_not_answered(link: RedisLink, count: int) -> None:
    node = await owner(link)
    epoch = (await node.commit(AAPL, 1.0)).committed[0].epoch
    assert await node.log.since(AAPL, Position(epoch=epoch, seq=1 + count)) is None


async def test_key_of_another_program_does_not_stop_the_updates(single: RedisLink) -> None:
    node = await owner(single)
    await raw(single).set("stock:AAPL:timeseries", "something else")
    assert (await node.commit(AAPL, 1.0)).committed[0].seqs == [1]
    assert await raw(single).zcard("stock:AAPL:timeseries") == 1


async def test_log_that_redis_evicted_is_not_taken_for_one_without_updates(
    link: RedisLink,
) -> None:
    node = await owner(link)
    await node.commit(AAPL, 1.0)
    offset = await node.log.current_offset()
    epoch = (await node.commit(AAPL, 2.0)).committed[0].epoch
    await raw(link).delete(keys.log(AAPL))
    assert await node.log.after(AAPL, offset) is None
    assert await node.log.since(AAPL, Position(epoch=epoch, seq=1)) is None
