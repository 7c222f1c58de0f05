"""Nodes in processes of their own that are killed, stopped and sent away."""

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import redis

from stockstream.cluster import keys
from stockstream.cluster.link import RedisLink, open_link
from stockstream.cluster.quote_log import QuoteLog
from stockstream.core.ownership import PARTITIONS, partition_of
from tests.cluster.buses import Listening, listening
from tests.cluster.members import Member
from tests.cluster.quotes import SYMBOLS, change, group, raw, seqs
from tests.support.processes import Child, running_child, wait_until
from tests.support.redis_cluster import SERVICE, running_sentinels

ALL = set(range(PARTITIONS))


@contextmanager
def worker(url: str, node: str, mode: str = "polite") -> Iterator[Child]:
    with running_child([sys.executable, "-m", "tests.cluster.worker", url, node, mode]) as child:
        yield child


async def assert_complete(heard: Listening, link: RedisLink, *, kept: bool = True) -> None:
    """What came is in one order, without a gap or a duplicate, and ends where the log ends."""
    updates = heard.got.updates
    offsets = [update.offset for update in updates]
    assert offsets == sorted(set(offsets))
    for symbol in SYMBOLS:
        with_snapshot = dict(heard.got.snapshots)[symbol]
        first = seqs([with_snapshot])[0] if with_snapshot else 0
        came = heard.got.seqs(symbol)
        assert came == list(range(first + 1, first + 1 + len(came)))
        if kept:
            logged: list[bytes] = await raw(link).zrange(keys.log(symbol), 0, -1)
            assert [int(line.split(b" ")[0]) for line in logged][-1:] == [
                update.offset for update in updates if update.symbol == symbol
            ][-1:]


async def test_updates_of_many_committing_processes_are_one_order_without_gaps(
    redis_url: str,
) -> None:
    async with open_link(redis_url) as link, listening(link) as heard:
        await heard.live(*SYMBOLS)
        with ExitStack() as stack:
            children = [stack.enter_context(worker(redis_url, f"w{n}")) for n in range(3)]
            await wait_until(lambda: len(heard.got.updates) > 3_000, "updates", 30)
            assert all("owns" in child.output() for child in children)
        end = await raw(link).get(keys.OFFSET)
        await wait_until(lambda: heard.bus.position >= int(end), "the last update")
        await assert_complete(heard, link)
        assert heard.bus.gaps == 0


async def test_killed_owner_is_replaced_and_no_number_is_missing(redis_url: str) -> None:
    async with open_link(redis_url) as link, listening(link) as heard:
        await heard.live(*SYMBOLS)
        with worker(redis_url, "victim") as victim:
            await wait_until(lambda: len(heard.got.updates) > 200, "updates")
            async with Member(link, "heir").running() as heir:
                victim.kill()
                await wait_until(lambda: heir.owned == ALL, "the heir to own everything")
        with worker(redis_url, "next"):
            before = len(heard.got.updates)
            await wait_until(lambda: len(heard.got.updates) > before + 200, "updates")
        end = await raw(link).get(keys.OFFSET)
        await wait_until(lambda: heard.bus.position >= int(end), "the last update")
        await assert_complete(heard, link)


async def test_late_commits_of_a_stopped_owner_are_refused_by_the_store(redis_url: str) -> None:
    async with open_link(redis_url) as link:
        with worker(redis_url, "stopped", "stubborn") as stopped:
            await wait_until(lambda: "owns" in stopped.output(), "the first owner")
            await wait_until(lambda: _exists(redis_url, keys.state(SYMBOLS[0])), "its updates")
            stopped.pause()
            async with Member(link, "heir").running() as heir:
                await wait_until(lambda: heir.owned == ALL, "the heir to own everything")
                assert "stale" not in stopped.output()
                stopped.resume()
                await wait_until(lambda: "stale" in stopped.output(), "a refusal")
                log = QuoteLog(link, node="heir")
                await log.read([SYMBOLS[0]], None)
                token = heir.membership.token(partition_of(SYMBOLS[0]))
                assert token is not None
                result = await log.commit([group(SYMBOLS[0], token, change(0.5))])
                mine = await log.state(SYMBOLS[0])
                stales = stopped.output().count("stale")
                await wait_until(
                    lambda: stopped.output().count("stale") > stales + 5, "more refusals"
                )
                assert await log.state(SYMBOLS[0]) == mine
                assert result.committed[0].seqs[0] > 1


def _exists(url: str, key: str) -> bool:
    with redis.Redis.from_url(url) as client:
        return bool(client.exists(key))


async def test_owner_that_is_asked_to_end_hands_over_at_once(redis_url: str) -> None:
    async with open_link(redis_url) as link, listening(link, node="heir") as heard:
        # Its own ticks are so rare that only being woken explains a quick handover.
        heir = Member(link, "heir", ttl=120.0, interval=60.0)
        heard.bus.listen(link.channels.members, heir.membership.wake, heir.membership.wake)
        with worker(redis_url, "leaver") as leaver:
            await wait_until(lambda: "owns" in leaver.output(), "the first owner")
            async with heir.running():
                await wait_until(lambda: heir.told.nodes.keys() == {"heir", "leaver"}, "both")
                leaver.terminate()
                await wait_until(lambda: heir.owned == ALL, "the heir to own everything")
                assert await leaver.exit_status() == 0


async def test_replica_takes_over_and_nothing_is_missing() -> None:
    with running_sentinels() as servers:
        async with (
            open_link(servers.url, timeout=0.5) as link,
            listening(link, deaf_after=1.0) as heard,
        ):
            await heard.live(*SYMBOLS)
            with worker(servers.url, "node") as node:
                await wait_until(lambda: len(heard.got.updates) > 200, "updates")
                old = servers.master_port()
                with redis.Redis(port=servers.ports[0]) as sentinel:
                    sentinel.sentinel_failover(SERVICE)
                await wait_until(lambda: servers.master_port() != old, "the failover", 30)
                before = len(heard.got.updates)
                await wait_until(
                    lambda: len(heard.got.updates) > before + 200, "updates afterwards", 40
                )
                assert node.running
            offsets = [update.offset for update in heard.got.updates]
            assert offsets == sorted(set(offsets))


async def test_killed_master_is_replaced_and_the_bus_follows() -> None:
    with running_sentinels() as servers:
        async with (
            open_link(servers.url, timeout=0.5) as link,
            listening(link, deaf_after=1.0) as heard,
        ):
            await heard.live(*SYMBOLS)
            with worker(servers.url, "node"):
                await wait_until(lambda: len(heard.got.updates) > 200, "updates")
                servers.master.kill()
                await wait_until(lambda: not heard.bus.hearing, "the loss")
                await wait_until(lambda: heard.bus.hearing, "the new master", 40)
                before = len(heard.got.updates)
                await wait_until(
                    lambda: len(heard.got.updates) > before + 200, "updates afterwards", 40
                )
            offsets = [update.offset for update in heard.got.updates]
            assert offsets == sorted(set(offsets))
            # Within an epoch no number is missing; a new one says that Redis lost something.
            last: dict[str, tuple[str, int]] = {}
            for symbol, updates in _by_symbol(heard).items():
                for update in updates:
                    epoch, seq = update
                    known = last.get(symbol)
                    if known is not None and known[0] == epoch:
                        assert seq == known[1] + 1
                    last[symbol] = update


def _by_symbol(heard: Listening) -> dict[str, list[tuple[str, int]]]:
    found: dict[str, list[tuple[str, int]]] = {}
    for update in heard.got.updates:
        payload = json.loads(update.payload)
        found.setdefault(update.symbol, []).append((payload["epoch"], payload["seq"]))
    return found
