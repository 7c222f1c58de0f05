"""Clients that were away, and clients that want less than everything."""

import asyncio
from typing import Any

from tests.acceptance.crowd import Crowd, JsClient, Way, assert_complete
from tests.acceptance.http import conflated
from tests.support.processes import Server

APPLE = "stock_update_AAPL"


def position(update: dict[str, Any]) -> dict[str, Any]:
    return {"epoch": update["epoch"], "seq": update["seq"]}


async def witness_of(server: Server, crowd: Crowd) -> JsClient:
    """Return a client that is there all the time and gets everything."""
    witness = await crowd.connect(server.url)
    await witness.subscribe(APPLE)
    await witness.updates_of("AAPL", 1)
    return witness


async def test_returning_client_gets_exactly_what_it_missed(
    server: Server, crowd: Crowd, way: Way
) -> None:
    witness = await witness_of(server, crowd)
    first = await crowd.connect(server.url, way)
    await first.subscribe(APPLE)
    await first.updates_of("AAPL", 3)
    await first.close()
    seen = first.updates("AAPL")
    missed_from = len(witness.updates("AAPL"))
    await witness.updates_of("AAPL", missed_from + 30)

    again = await crowd.connect(server.url, way)
    await again.subscribe(APPLE, since={"stock_update_aapl": position(seen[-1])})

    caught_up = await again.updates_of("AAPL", 60)
    assert not any("snapshot" in update for update in caught_up)
    assert caught_up[0]["seq"] == seen[-1]["seq"] + 1
    assert_complete([*seen, *caught_up], await conflated(server.url))
    await witness.until(
        lambda: witness.updates("AAPL")[-1]["seq"] >= caught_up[-1]["seq"], "the same updates"
    )
    truth = {update["seq"]: update for update in witness.updates("AAPL")}
    assert all(truth[update["seq"]] == update for update in caught_up[1:])


async def test_client_that_missed_nothing_gets_only_what_follows(
    server: Server, crowd: Crowd
) -> None:
    witness = await witness_of(server, crowd)
    client = await crowd.connect(server.url)

    last = position(witness.updates("AAPL")[-1])
    await client.subscribe(APPLE, since={APPLE: last})

    updates = await client.updates_of("AAPL", 5)
    assert updates[0]["seq"] == last["seq"] + 1
    assert_complete(updates)


async def test_unknown_position_gives_a_snapshot_and_no_silent_gap(
    server: Server, crowd: Crowd
) -> None:
    witness = await witness_of(server, crowd)
    epoch = witness.updates("AAPL")[-1]["epoch"]

    for since in ({"epoch": "elsewhere", "seq": 1}, {"epoch": epoch, "seq": 1_000_000_000}):
        client = await crowd.connect(server.url)
        await client.subscribe(APPLE, since={APPLE: since})
        updates = await client.updates_of("AAPL", 5)
        assert [update.get("snapshot") for update in updates] == [True] + [None] * (
            len(updates) - 1
        )
        assert_complete(updates)


async def test_position_of_one_symbol_leaves_the_others_their_snapshot(
    server: Server, crowd: Crowd
) -> None:
    witness = await witness_of(server, crowd)
    client = await crowd.connect(server.url)

    last = position(witness.updates("AAPL")[0])
    await client.subscribe(APPLE, "stock_update_MSFT", since={APPLE: last})

    assert "snapshot" not in (await client.updates_of("AAPL", 1))[0]
    assert (await client.updates_of("MSFT", 1))[0]["snapshot"] is True


async def test_client_gets_no_more_than_its_rate_and_always_the_latest(
    server: Server, crowd: Crowd
) -> None:
    witness = await witness_of(server, crowd)
    client = await crowd.connect(server.url)

    await client.subscribe(APPLE, maxRate=4)

    updates = await client.updates_of("AAPL", 6)
    await witness.until(
        lambda: witness.updates("AAPL")[-1]["seq"] >= updates[-1]["seq"], "the same updates"
    )
    # At 20 changes a second, most of them are passed over; what comes is what really was.
    numbers = [update["seq"] for update in updates]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] - numbers[0] > 2 * len(numbers)
    truth = {update["seq"]: update["price"] for update in witness.updates("AAPL")}
    assert all(truth.get(u["seq"], u["price"]) == u["price"] for u in updates)
    assert sum("snapshot" in update for update in updates) == 1


async def test_last_update_before_a_silence_reaches_a_client_with_a_slow_pace(
    crowd: Crowd, burst_server: Server
) -> None:
    # A recording that ends: what came last has nothing after it to push it out.
    full, slow = await asyncio.gather(crowd.begin(burst_server.url), crowd.begin(burst_server.url))
    await full.event("connected")
    await slow.event("connected")
    await slow.subscribe("stock_update_EURUSD", maxRate=2)
    await full.subscribe("stock_update_EURUSD")

    await full.until(
        lambda: any(u["price"] == 1.5 for u in full.updates("EURUSD")), "the last price"
    )
    await slow.until(
        lambda: any(u["price"] == 1.5 for u in slow.updates("EURUSD")), "the last price"
    )

    assert len(slow.updates("EURUSD")) < len(full.updates("EURUSD"))
