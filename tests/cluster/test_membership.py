"""Who owns what, by a real Redis."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from stockstream.cluster.link import RedisLink, open_link
from stockstream.cluster.membership import Role
from stockstream.core.ownership import PARTITIONS, desired_owners
from stockstream.errors import StoreUnavailableError
from tests.cluster.members import Member
from tests.cluster.timing import INTERVAL
from tests.support.clock import ManualClock
from tests.support.processes import wait_until
from tests.support.redis_server import running_redis

ALL = set(range(PARTITIONS))


def desired(node: str, *nodes: str) -> set[int]:
    return {p for p, owner in enumerate(desired_owners(nodes)) if owner == node}


async def test_lone_node_owns_everything_after_its_first_tick(link: RedisLink) -> None:
    member = Member(link, "a")
    await member.membership.tick()
    assert member.owned == ALL
    assert member.told.owned.keys() == ALL
    assert member.told.nodes == {"a": Role.ALL}


async def test_gateway_is_a_member_and_owns_nothing(link: RedisLink) -> None:
    gateway, feed = Member(link, "g", Role.GATEWAY), Member(link, "f", Role.FEED)
    for member in (gateway, feed, gateway):
        await member.membership.tick()
    assert gateway.owned == set()
    assert feed.owned == ALL
    assert gateway.told.nodes == {"g": Role.GATEWAY, "f": Role.FEED}


async def test_partitions_move_to_a_new_node_few_at_a_time_and_keep_their_tokens(
    link: RedisLink,
) -> None:
    clock = ManualClock()
    first = Member(link, "a", clock=clock, ttl=60.0)
    second = Member(link, "b", clock=clock, ttl=60.0)
    await first.membership.tick()
    tokens = dict(first.membership.tokens)
    rounds = 0
    while first.owned != desired("a", "a", "b"):
        before = len(first.owned)
        await second.membership.tick()
        await first.membership.tick()
        assert before - len(first.owned) <= 8
        assert not first.owned & second.owned
        await clock.advance(INTERVAL)
        rounds += 1
    await second.membership.tick()
    assert rounds >= 4
    assert first.owned | second.owned == ALL
    assert dict(first.membership.tokens) == {p: tokens[p] for p in first.owned}
    assert all(second.membership.tokens[p] > tokens[p] for p in second.owned)
    # What is released was announced first, so that nothing under way is lost.
    assert sorted(first.told.released) == sorted(first.told.lost_ones)


async def test_several_nodes_share_everything_evenly(link: RedisLink) -> None:
    members = [Member(link, node) for node in ("a", "b", "c")]
    async with AsyncExitStack() as stack:
        for member in members:
            await stack.enter_async_context(member.running())
            for other in members:
                other.membership.wake()
        await wait_until(
            lambda: all(m.owned == desired(m.membership.node, "a", "b", "c") for m in members),
            "an even share",
        )
    assert sorted(len(member.owned | set()) for member in members)


async def test_node_that_leaves_hands_over_at_once(link: RedisLink) -> None:
    first, second = Member(link, "a", ttl=60.0), Member(link, "b", ttl=60.0, interval=30.0)
    async with second.running():
        await wait_until(lambda: second.owned == ALL, "everything")
    await second.membership.leave()
    await first.membership.tick()
    assert first.owned == ALL
    assert second.owned == set()
    assert set(second.told.lost_ones) == ALL


async def test_failed_tick_keeps_leases_until_they_are_no_longer_certain() -> None:
    clock = ManualClock()
    with running_redis() as server:
        async with open_link(server.url, timeout=0.2) as link:
            member = Member(link, "a", clock=clock, ttl=2.0, interval=0.5)
            await member.membership.tick()
            server.stop()
            with pytest.raises(StoreUnavailableError):
                await member.membership.tick()
            await clock.advance(1.9)
            assert not member.membership.isolated
            assert member.owned == ALL
            await clock.advance(0.2)
            assert member.membership.isolated
            assert member.owned == set()
            assert member.membership.token(3) is None


async def test_isolated_node_is_told_so_and_gets_its_leases_back() -> None:
    with running_redis() as server:
        async with (
            open_link(server.url, timeout=0.2) as link,
            Member(link, "a").running() as member,
        ):
            await wait_until(lambda: member.owned == ALL, "everything")
            tokens = dict(member.membership.tokens)
            server.kill()
            await wait_until(lambda: member.told.isolations, "the loss")
            assert member.membership.isolated
            server.start()
            await wait_until(lambda: member.owned == ALL, "everything again")
            assert not member.told.lost_ones
            assert member.told.owned == dict(member.membership.tokens)
            # Redis forgot which tokens it gave, and gives none of them again.
            assert min(member.membership.tokens.values()) > max(tokens.values())


async def test_wall_clock_that_jumps_changes_nothing(single: RedisLink) -> None:
    wrong, right = ManualClock(), ManualClock()
    first = Member(single, "a", clock=wrong, ttl=60.0)
    second = Member(single, "b", clock=right, ttl=60.0)
    await first.membership.tick()
    tokens = dict(first.membership.tokens)
    for jump in (86_400 * 365, -86_400 * 730):
        wrong.jump(jump)
        await first.membership.tick()
        assert dict(first.membership.tokens) == tokens
    await second.membership.tick()
    assert second.owned == set()


async def test_dead_node_is_forgotten_by_the_clock_of_redis_alone(single: RedisLink) -> None:
    first, second = Member(single, "a", ttl=0.3), Member(single, "b")
    await first.membership.tick()
    async with second.running():
        await wait_until(lambda: second.owned == ALL, "everything")
        assert second.told.nodes == {"b": Role.ALL}


async def test_drain_that_takes_too_long_does_not_hold_up_the_handover(single: RedisLink) -> None:
    member = Member(single, "a")
    await member.membership.tick()

    async def forever(_: object) -> None:
        await asyncio.Event().wait()

    member.told.releasing = forever  # type: ignore[method-assign,assignment]
    await member.membership.leave()
    other = Member(single, "b")
    await other.membership.tick()
    assert other.owned == ALL
