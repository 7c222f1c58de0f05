"""What one client, and one symbol, may have."""

from tests.acceptance.conftest import shown_server
from tests.acceptance.crowd import Crowd
from tests.support.processes import Server

APPLE = "stock_update_AAPL"


async def test_client_has_no_more_subscriptions_than_its_limit(crowd: Crowd) -> None:
    async with shown_server(max_subscriptions_per_client="2") as server:
        client = await crowd.connect(server.url)

        reply = await client.subscribe("stock_update_A", "stock_update_B", "stock_update_C")

        assert reply["events"] == ["stock_update_A", "stock_update_B"]
        (refused,) = reply["rejected"]
        assert (refused["event"], refused["code"]) == ("stock_update_C", "subscription_limit")
        # What it has may be asked for again, and what it gives up makes room.
        assert await client.subscribe("stock_update_a") == {"events": ["stock_update_A"]}
        await client.ask("unsubscribe", {"events": ["stock_update_B"]})
        assert await client.subscribe("stock_update_C") == {"events": ["stock_update_C"]}
        await client.updates_of("C", 3)


async def test_symbol_has_no_more_clients_than_its_limit(crowd: Crowd) -> None:
    async with shown_server(max_subscriptions="2") as server:
        clients = [await crowd.connect(server.url) for _ in range(3)]

        replies = [await client.subscribe(APPLE, "performance_alert") for client in clients[:2]]
        refused = await clients[2].subscribe(APPLE, "stock_update_MSFT")

        assert replies == [{"events": [APPLE, "performance_alert"]}] * 2
        assert refused["events"] == ["stock_update_MSFT"]
        assert [(r["event"], r["code"]) for r in refused["rejected"]] == [
            (APPLE, "subscription_limit")
        ]
        await clients[0].close()
        assert await clients[2].subscribe(APPLE) == {"events": [APPLE]}
        await clients[2].updates_of("AAPL", 3)


async def test_stock_data_does_not_get_around_the_limit(crowd: Crowd) -> None:
    async with shown_server(max_subscriptions_per_client="1") as server:
        client = await crowd.connect(server.url)
        await client.subscribe("stock_update_MSFT")

        await client.ask("get_stock_data", {"symbol": "AAPL"})

        await client.updates_of("MSFT", len(client.updates("MSFT")) + 10)
        assert client.updates("AAPL") == []


async def test_room_of_another_client_can_not_be_joined(server: Server, crowd: Crowd) -> None:
    victim = await crowd.connect(server.url)
    spy = await crowd.connect(server.url)
    rooms = [(await victim.event("connected"))["clientId"], (await victim.hear("connect"))[0], "/"]

    reply = await spy.subscribe(*rooms)
    await victim.subscribe(APPLE)
    await victim.updates_of("AAPL", 10)

    assert reply["events"] == []
    assert {refused["code"] for refused in reply["rejected"]} == {"unknown_event"}
    assert await spy.ask("subscribe", {"events": ["connected"]}) is not None
    assert set(spy.kinds()) == {"connect", "connected", "subscribed", "ack"}
