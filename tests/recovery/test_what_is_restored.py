"""Everything that a client was subscribed to is there again, in the way it wanted it."""

import asyncio
from typing import Any

import pytest

from stockstream.gateway.requests import CHUNK
from tests.fanout.market import Exchange
from tests.recovery.clients import Crowd, Way, assert_gapless, assert_recovered, cut_off
from tests.recovery.node import change, exchange, is_gone
from tests.support.fault_proxy import FaultProxy
from tests.support.processes import wait_until


async def lose(place: Exchange, proxy: FaultProxy) -> None:
    """Cut the client off until `proxy.restore()`; the node knows it then."""
    proxy.blackhole()
    proxy.abort()
    await is_gone(place)


async def test_paced_symbols_begin_with_the_newest_price(crowd: Crowd) -> None:
    async with exchange("A", "B") as place, FaultProxy(place.port) as proxy:
        client = await crowd.connect(proxy.port)
        await client.subscribe("A", maxRate=0.001)
        await client.subscribe("B")
        await change(place, "A", "B", times=2)
        await client.has("B", 3)
        await lose(place, proxy)
        await change(place, "A", "B", times=5)
        proxy.restore()
        await client.has("B", 8)
        await client.has("A", 8)
        await change(place, "A", "A", "B")
        await client.has("B", 9)

        assert_recovered(client.connections)
        assert_gapless(client, "B", 9)
        # None of those that were missed, and its pace holds: one at once, then none for long.
        numbers = client.seqs("A")
        assert [each for each in numbers if 3 < each < 8] == []
        assert client.snapshots("A") == [1, 8]
        assert len([each for each in numbers if each > 8]) <= 1


async def test_bars_measurements_and_alerts_go_on(crowd: Crowd) -> None:
    async with exchange("A", metrics_interval=0.1) as place, FaultProxy(place.port) as proxy:
        client = await crowd.connect(proxy.port)
        events = ["bar_update_A_1m", "performance_metrics", "performance_alert"]
        await client.ask("subscribe", {"events": events})
        await lose(place, proxy)
        assert place.node.gateway.get_subscription_stats() == {}
        proxy.restore()
        await client.connected(2)
        before = [len(client.events(name)) for name in events[:2]]
        place.change("A")
        await client.until(lambda: len(client.events(events[0])) > before[0], "a bar")
        await client.until(lambda: len(client.events(events[1])) > before[1], "measurements")

        assert_recovered(client.connections)
        assert place.node.gateway.get_subscription_stats() == dict.fromkeys(events, 1)


async def test_what_was_unsubscribed_before_stays_so(crowd: Crowd) -> None:
    async with exchange("A", "B") as place, FaultProxy(place.port) as proxy:
        client = await crowd.connect(proxy.port)
        await client.subscribe("A", "B")
        await change(place, "A", "B")
        await client.has("B", 2)
        await client.ask("unsubscribe", {"events": ["stock_update_A"]})
        await lose(place, proxy)
        await change(place, "A", "B", times=3)
        proxy.restore()
        await client.has("B", 5)

        assert_recovered(client.connections)
        assert client.seqs("A") == [1, 2]
        assert place.node.gateway.get_subscription_stats() == {"stock_update_B": 1}


@pytest.mark.parametrize("way", [Way(version=3), Way(version=3, transports=("polling",))], ids=str)
async def test_old_client_sees_a_new_session_and_at_most_one_more_argument(
    crowd: Crowd, way: Way
) -> None:
    async with exchange("A") as place, FaultProxy(place.port) as proxy:
        client = await crowd.connect(proxy.port, way)
        await client.subscribe("A")
        await change(place, "A")
        await client.has("A", 2)
        # Nobody comes back while nothing is passed on.
        proxy.blackhole()
        await cut_off(client, proxy)
        proxy.restore()
        second = await client.connected(2)

        assert not second.recovered
        for each in client.heard:
            if each.kind == "event":
                name, _, *mark = each.what
                assert all(isinstance(argument, str) for argument in mark)
                assert len(mark) <= (name == "connected" or name.startswith("stock_update_"))


# --- what nothing proves ----------------------------------------------------------------------


async def test_first_price_that_came_while_it_was_away_is_its_snapshot(crowd: Crowd) -> None:
    async with (
        exchange("B", unpriced=("A",)) as place,
        FaultProxy(place.port) as proxy,
    ):
        client = await crowd.connect(proxy.port)
        await client.subscribe("A", "B")
        await change(place, "B")
        await client.has("B", 2)
        await lose(place, proxy)
        await change(place, "A", "B")
        proxy.restore()
        await client.has("A", 1)
        await change(place, "A")
        await client.has("A", 2)

        assert_recovered(client.connections)
        assert_gapless(client, "A", 2)
        assert_gapless(client, "B", 3)


async def test_client_that_still_waits_for_a_price_gets_it_as_its_snapshot(crowd: Crowd) -> None:
    async with (
        exchange("B", unpriced=("A",)) as place,
        FaultProxy(place.port) as proxy,
    ):
        client = await crowd.connect(proxy.port)
        await client.subscribe("A", "B")
        await change(place, "B")
        await client.has("B", 2)
        await lose(place, proxy)
        proxy.restore()
        await client.connected(2)
        await wait_until(
            lambda: "stock_update_A" in place.node.gateway.get_subscription_stats(), "its return"
        )
        await change(place, "A")
        await change(place, "A", "B")
        await client.has("A", 2)

        assert_recovered(client.connections)
        assert_gapless(client, "A", 2)


async def test_snapshot_that_may_be_lost_comes_again_and_no_change_does(crowd: Crowd) -> None:
    # The first price comes in one delivery with another symbol's change, which moves the mark.
    async with (
        exchange("B", unpriced=("A",)) as place,
        FaultProxy(place.port) as proxy,
    ):
        client = await crowd.connect(proxy.port)
        await client.subscribe("A", "B")
        await client.has("B", 1)
        await change(place, "B", "A")
        await client.has("A", 1)
        await client.has("B", 2)
        await lose(place, proxy)
        await change(place, "A")
        proxy.restore()
        await client.has("A", 2)

        assert_recovered(client.connections)
        changes = [u["seq"] for u in client.updates("A") if "snapshot" not in u]
        assert changes == sorted(set(changes))
        assert sorted(set(client.seqs("A"))) == [1, 2]


async def test_missed_updates_asked_for_by_position_and_lost_give_a_new_session(
    crowd: Crowd,
) -> None:
    async with exchange("A") as place, FaultProxy(place.port) as proxy:
        client = await crowd.connect(proxy.port)
        await client.subscribe("A")
        await change(place, "A", times=3)
        await client.has("A", 4)
        seen: dict[str, Any] = client.updates("A")[1]
        since = {"stock_update_A": {"epoch": seen["epoch"], "seq": seen["seq"]}}
        other = await crowd.connect(proxy.port)
        await other.subscribe("A", since=since)
        await other.has("A", 4)
        # Nothing has come since that has a mark: the node can't tell whether they arrived.
        proxy.abort()
        assert not (await other.connected(2)).recovered
        assert (await client.connected(2)).recovered
        await change(place, "A")
        await client.has("A", 5)
        assert_gapless(client, "A", 5)


# --- while it is being given what it missed ---------------------------------------------------


async def test_what_it_asks_for_meanwhile_comes_after_what_it_missed(crowd: Crowd) -> None:
    count = 4 * CHUNK
    async with exchange("A", "B") as place, FaultProxy(place.port) as proxy:
        client = await crowd.connect(proxy.port)
        await client.subscribe("A")
        await change(place, "A")
        await client.has("A", 2)
        await lose(place, proxy)
        await change(place, "A", "B", times=count)
        # Buffered by the client until it is connected again, and sent at once then.
        asking = asyncio.create_task(client.subscribe("B"))
        proxy.restore()
        await asking
        await client.has("A", count + 2)
        await change(place, "A", "B")
        await client.has("B", count + 2)
        await client.has("A", count + 3)

        assert_recovered(client.connections)
        assert_gapless(client, "A", count + 3)
        assert_gapless(client, "B", count + 2)
        names = [each.what[0] for each in client.heard if each.kind == "event"]
        again = len(names) - 1 - names[::-1].index("subscribed")
        assert names[:again].count("stock_update_A") == count + 2


async def test_subscribing_again_after_the_return_begins_with_a_snapshot(crowd: Crowd) -> None:
    # What pages do that subscribe whenever they are connected.
    async with exchange("A") as place, FaultProxy(place.port) as proxy:
        client = await crowd.connect(proxy.port)
        await client.subscribe("A")
        await change(place, "A")
        await client.has("A", 2)
        await lose(place, proxy)
        await change(place, "A", times=3)
        proxy.restore()
        await client.connected(2)
        await client.subscribe("A")
        await change(place, "A")
        await client.has("A", 6)

        assert client.seqs("A") == [1, 2, 3, 4, 5, 5, 6]
        assert client.snapshots("A") == [1, 5]


async def test_neighbours_notice_nothing_of_a_return(crowd: Crowd) -> None:
    async with exchange("A", "B") as place, FaultProxy(place.port) as proxy:
        client, neighbour = await crowd.connect(proxy.port), await crowd.connect(place.port)
        for each in (client, neighbour):
            await each.subscribe("A", "B")
        for times in range(3):
            await change(place, "A", "B")
            await client.has("B", 2 + 11 * times)
            await lose(place, proxy)
            await change(place, "A", "B", times=10)
            proxy.restore()
            await client.has("B", 12 + 11 * times)
        await neighbour.has("B", 34)

        assert len(neighbour.connections) == 1
        for symbol in ("A", "B"):
            assert_gapless(neighbour, symbol, 34)
            assert_gapless(client, symbol, 34)
