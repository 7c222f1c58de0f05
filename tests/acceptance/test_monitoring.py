"""What clients and operators hear about the server itself."""

import time

from tests.acceptance.conftest import shown_server
from tests.acceptance.crowd import Crowd
from tests.acceptance.http import get, metrics, stats
from tests.support.processes import Server

ALARMED = {
    "metrics_interval": "0.3",
    "max_memory_mb": "1",
    "node_id": "node-of-the-test",
}


async def test_measurements_reach_clients_that_want_them(crowd: Crowd) -> None:
    async with shown_server(**ALARMED) as server:
        client, other = await crowd.connect(server.url), await crowd.connect(server.url)
        await other.subscribe("stock_update_AAPL")
        assert await client.subscribe("performance_metrics", "stock_update_AAPL") == {
            "events": ["performance_metrics", "stock_update_AAPL"]
        }

        await client.until(lambda: len(client.events("performance_metrics")) >= 3, "3 measurements")

        envelope = client.events("performance_metrics")[-1][0]
        assert envelope.keys() == {"type", "payload", "timestamp"}
        assert envelope["type"] == "performance_metrics"
        measured = envelope["payload"]
        assert measured["connectionCount"] == 2
        assert measured["messageRate"] > 0
        assert 0 <= measured["latencyP50"] <= measured["latencyP99"]
        assert measured["latency"] < 1000
        assert measured["errorRate"] == 0
        assert measured["memoryUsage"] > 1
        assert measured["cpuUsage"] >= 0
        assert measured["eventLoopLag"] >= 0
        assert measured["node"] == "node-of-the-test"
        assert type(measured["timestamp"]) is int
        assert other.events("performance_metrics") == []
        assert (await stats(server.url))["metrics"].keys() == measured.keys()


async def test_alert_reaches_clients_that_want_it_once(crowd: Crowd) -> None:
    # The first measurement comes late enough for a client to be there.
    async with shown_server(**{**ALARMED, "metrics_interval": "2"}) as server:
        client = await crowd.connect(server.url)
        await client.subscribe("performance_alert", "performance_metrics")

        await client.until(lambda: len(client.events("performance_metrics")) >= 2, "measurements")

        ((envelope,),) = client.events("performance_alert")
        assert envelope["type"] == "performance_alert"
        alert = envelope["payload"]
        assert alert.keys() >= {"type", "value", "threshold", "node", "since", "state"}
        assert (alert["type"], alert["state"]) == ("high_memory_usage", "firing")
        assert alert["value"] > alert["threshold"] == 1
        assert alert["node"] == "node-of-the-test"
        assert abs(alert["since"] - time.time() * 1000) < 60_000
        (firing,) = (await stats(server.url))["alerts"]
        assert firing["type"] == "high_memory_usage"


async def test_health_and_readiness_are_told(server: Server) -> None:
    status, health = await get(f"{server.url}/healthz")
    assert (status, health["status"]) == (200, "ok")

    status, ready = await get(f"{server.url}/readyz")
    assert (status, ready["status"]) == (200, "ready")
    assert ready["dependencies"].keys() == {"node", "provider", "memory", "documents", "history"}
    assert all(each["ready"] and each["state"] for each in ready["dependencies"].values())


async def test_metrics_count_what_clients_do(server: Server, crowd: Crowd) -> None:
    client = await crowd.connect(server.url)
    await client.subscribe("stock_update_AAPL")
    await client.emit("nonsense")
    await client.updates_of("AAPL", 5)
    await client.event("error")

    samples = await metrics(server.url)

    assert samples["stockstream_connected_clients"] == 1
    assert samples["stockstream_subscriptions"] == 1
    assert samples["stockstream_streaming_symbols|state=live"] == 1
    assert samples["stockstream_requests_total"] == 2
    assert samples["stockstream_requests_refused_total|code=unknown_event"] == 1
    assert samples["stockstream_deliveries_total"] >= 5
    assert samples["stockstream_delivery_latency_seconds_count"] >= 4
    assert samples["process_resident_memory_bytes"] > 1_000_000


async def test_statistics_tell_of_a_client(server: Server, crowd: Crowd) -> None:
    client = await crowd.connect(server.url)
    await client.subscribe("stock_update_AAPL")
    client_id = (await client.event("connected"))["clientId"]

    status, info = await get(f"{server.url}/api/stats/clients/{client_id}")

    assert status == 200
    assert info["clientId"] == client_id
    assert info["subscriptions"] == ["stock_update_AAPL"]
    assert info["transport"] == "websocket"
    assert (await get(f"{server.url}/api/stats/clients/nobody"))[0] == 404


async def test_errors_of_http_are_json(server: Server) -> None:
    for path in ("/nowhere", "/api/nowhere", "/api/stats/clients/nobody"):
        status, body = await get(f"{server.url}{path}")
        assert status == 404
        assert body.keys() == {"type", "code", "message"}
        assert body["code"] == "not_found"
