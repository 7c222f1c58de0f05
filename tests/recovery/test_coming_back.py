"""JavaScript clients whose connection breaks come back as if they had never been away."""

import asyncio
from typing import Any

import pytest

from stockstream.engine import Message
from stockstream.gateway.requests import CHUNK
from tests.recovery.clients import (
    MSGPACK,
    POLLING,
    UPGRADE,
    WEBSOCKET,
    Crowd,
    Way,
    assert_gapless,
    assert_recovered,
    cut_off,
)
from tests.recovery.node import change, exchange, is_gone
from tests.support.fault_proxy import FaultProxy, Faults
from tests.support.processes import wait_until

WAYS = [WEBSOCKET, MSGPACK, POLLING, UPGRADE]
#: So long nothing is noticed by itself.
PATIENT: dict[str, Any] = {"ping_interval": 30, "ping_timeout": 30}
#: A client whose WebSocket breaks while it changes over finds out after six seconds.
BRISK: dict[str, Any] = {"ping_interval": 3, "ping_timeout": 3}


@pytest.mark.parametrize("way", WAYS, ids=str)
async def test_client_that_closed_its_connection_gets_what_it_missed(
    crowd: Crowd, way: Way
) -> None:
    async with exchange("A", "B") as place, FaultProxy(place.port) as proxy:
        client = await crowd.connect(proxy.port, way)
        await client.subscribe("A", "B")
        await client.has("B", 1)
        await client.has_changed_over(way)
        await change(place, "A")
        await client.has("A", 2)
        # Nobody comes back while nothing is passed on.
        proxy.blackhole()
        await client.do("close")
        await cut_off(client, proxy)
        await change(place, "A", "B", times=3)
        proxy.restore()
        await client.connected(2)
        await client.has("B", 4)
        await change(place, "B", "A")
        await client.has("A", 6)

        assert_recovered(client.connections)
        assert_gapless(client, "A", 6)
        assert_gapless(client, "B", 5)
        assert place.node.recovery.recovered == 1
        assert len({args[0]["clientId"] for args in client.events("connected")}) == 1


@pytest.mark.parametrize("way", WAYS, ids=str)
async def test_more_than_one_portion_missed_comes_complete(crowd: Crowd, way: Way) -> None:
    count = 5 * CHUNK
    async with exchange("A", "B") as place, FaultProxy(place.port) as proxy:
        client = await crowd.connect(proxy.port, way)
        await client.subscribe("A", "B")
        await client.has("B", 1)
        await client.has_changed_over(way)
        proxy.blackhole()
        await cut_off(client, proxy)
        await change(place, "A", "B", times=count)
        proxy.restore()
        await client.connected(2)
        await client.has("B", count + 1)
        await client.has("A", count + 1)

        assert_recovered(client.connections)
        # Nothing had come that proved that the snapshots had arrived, so they came again.
        for symbol in ("A", "B"):
            assert client.seqs(symbol) == list(range(1, count + 2))
            assert client.snapshots(symbol) == [1, 2]
        in_order = [
            h.what[1]["payload"]["offset"]
            for h in client.heard
            if h.kind == "event" and h.what[0].startswith("stock_update_")
        ]
        assert in_order == sorted(in_order)


async def test_client_is_back_before_the_node_has_noticed_its_loss(crowd: Crowd) -> None:
    async with exchange("A", **PATIENT) as place, FaultProxy(place.port) as proxy:
        client = await crowd.connect(proxy.port)
        await client.subscribe("A")
        await change(place, "A")
        await client.has("A", 2)
        for times in range(1, 4):
            # The way from client to node is dead, and the node is not told.
            proxy.blackhole()
            await client.do("cut")
            await change(place, "A", times=5)
            proxy.restore()
            await client.connected(times + 1)
            await client.has("A", 2 + 5 * times)

        assert_recovered(client.connections)
        assert_gapless(client, "A", 17)
        assert place.node.gateway.get_connected_clients_count() == 1


@pytest.mark.parametrize("way", [WEBSOCKET, POLLING], ids=str)
async def test_what_is_sent_right_before_the_end_of_a_connection_is_heard_before_it(
    crowd: Crowd, way: Way
) -> None:
    async with exchange("A") as place:
        client = await crowd.connect(place.port, way)
        await client.subscribe("A")
        await client.has("A", 1)
        hubs = [server.eio.hub for server in place.node.servers.values()]
        (session,) = [each for hub in hubs for each in hub.sessions.values()]
        session.send(Message('2["last",1]'))
        session.close("transport close")
        await client.connected(2)
        kinds = [h.kind for h in client.heard if h.kind == "disconnect" or h.what[0] == "last"]
        assert kinds == ["event", "disconnect"]
        await client.do("goodbye")
        await wait_until(lambda: not any(hub.sessions for hub in hubs), "the goodbye")


@pytest.mark.slow
@pytest.mark.parametrize("way", [WEBSOCKET, POLLING], ids=str)
async def test_client_comes_back_after_a_ping_timeout(crowd: Crowd, way: Way) -> None:
    async with (
        exchange("A", ping_interval=0.3, ping_timeout=0.3) as place,
        FaultProxy(place.port) as proxy,
    ):
        client = await crowd.connect(proxy.port, way)
        await client.subscribe("A")
        await change(place, "A")
        await client.has("A", 2)
        proxy.blackhole()
        await is_gone(place)
        await change(place, "A", times=5)
        await client.hears("disconnect")
        proxy.restore()
        await client.has("A", 7)

        assert client.connections[-1].sid == client.connections[0].sid
        assert_recovered(client.connections)
        assert_gapless(client, "A", 7)


async def test_client_whose_websocket_breaks_while_it_changes_over_comes_back(crowd: Crowd) -> None:
    async with (
        exchange("A", ping_interval=0.7, ping_timeout=0.7) as place,
        FaultProxy(place.port) as proxy,
    ):
        client = await crowd.connect(proxy.port, UPGRADE)
        await client.has_changed_over(UPGRADE)
        await client.subscribe("A")
        await change(place, "A")
        await client.has("A", 2)
        closed = proxy.close_between(b"transport=websocket", b"3probe")
        proxy.abort()
        await closed.wait()
        # It has given up polling, and its WebSocket is gone. Nobody can tell it anything: it finds
        # out when no ping comes.
        await client.hears("upgrade_error")
        proxy.restore()
        await change(place, "A", times=5)
        await client.has("A", 7)

        assert client.connections[-1].sid == client.connections[0].sid
        assert_recovered(client.connections)
        assert_gapless(client, "A", 7)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("way", WAYS, ids=str)
async def test_connections_that_break_at_any_byte_leave_no_gap(
    crowd: Crowd, way: Way, seed: int
) -> None:
    pings = BRISK if way is UPGRADE else PATIENT
    async with exchange("A", "B", **pings) as place, FaultProxy(place.port, seed=seed) as proxy:
        client = await crowd.connect(proxy.port, way)
        witness = await crowd.connect(place.port)
        for each in (client, witness):
            await each.subscribe("A", "B")
        await change(place, "A", "B")
        await client.has("B", 2)
        # Handshake, CONNECT, upgrade, what is being resent, live updates.
        proxy.faults = Faults(segment_bytes=500, abort_after_bytes=(300, 9_000))
        proxy.abort()
        while proxy.aborted < 12:
            # Nothing breaks while nobody is there, however long that takes.
            if proxy.open_connections:
                await change(place, "A", "B", "A")
            await asyncio.sleep(0.005)
        proxy.faults = Faults()
        proxy.abort()
        last = place.market.seqs
        await change(place, "A", "B")
        for each in (client, witness):
            await each.has("A", last["A"])
            await each.has("B", last["B"])

        assert_recovered(client.connections)
        conflated = place.engine_total("conflated")
        for symbol in ("A", "B"):
            assert_gapless(client, symbol, last[symbol], conflated=conflated)
            assert_gapless(witness, symbol, last[symbol])
        assert len(witness.connections) == 1


@pytest.mark.slow
async def test_breaks_in_the_middle_of_what_is_resent_lose_nothing(crowd: Crowd) -> None:
    async with exchange("A", "B", **PATIENT) as place, FaultProxy(place.port, seed=7) as proxy:
        client = await crowd.connect(proxy.port)
        await client.subscribe("A", "B")
        await change(place, "A", "B")
        await client.has("B", 2)
        # About a fifth of all that was missed fits into a connection. For each from now on: one may
        # be made before the way is open again.
        proxy.faults = Faults(segment_bytes=1_000, abort_after_bytes=(20_000, 60_000))
        proxy.blackhole()
        await cut_off(client, proxy)
        await change(place, "A", "B", times=450)
        proxy.restore()
        await client.has("B", 300)
        assert place.node.recovery.recovered > 1
        await change(place, "A", "B", times=20)
        proxy.faults = Faults()
        proxy.abort()
        await client.has("A", 472)
        await client.has("B", 472)

        assert_recovered(client.connections)
        assert_gapless(client, "A", 472)
        assert_gapless(client, "B", 472)


async def test_updates_that_never_pause_are_complete_over_many_breaks(crowd: Crowd) -> None:
    async with exchange("A", "B", **PATIENT) as place, FaultProxy(place.port) as proxy:
        client = await crowd.connect(proxy.port)
        neighbour = await crowd.connect(place.port)
        for each in (client, neighbour):
            await each.subscribe("A", "B")
        await change(place, "A", "B")
        await client.has("B", 2)
        going_on = True

        async def trade() -> None:
            while going_on:
                place.change("A", "B", "B")
                await asyncio.sleep(0.0005)

        trading = asyncio.create_task(trade())
        for times in range(1, 9):
            proxy.abort()
            await client.connected(times + 1)
            await client.has("B", client.seqs("B")[-1] + 50)
        going_on = False
        await trading
        last = place.market.seqs
        await change(place, "A", "B")
        for each in (client, neighbour):
            await each.has("A", last["A"])
            await each.has("B", last["B"])

        assert_recovered(client.connections)
        conflated = place.engine_total("conflated")
        for symbol in ("A", "B"):
            assert_gapless(client, symbol, last[symbol], conflated=conflated)
            assert_gapless(neighbour, symbol, last[symbol], conflated=conflated)
