from unittest.mock import patch

from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from stockstream.errors import StoreUnavailableError
from stockstream.model import Symbol
from tests.gateway.nodes import Running, running, until
from tests.support.providers import FakeFeed, FakePoller, FakeProvider, down

AAPL = Symbol("AAPL")
UPDATE = "stock_update_AAPL"


async def metrics(node: Running) -> dict[str, float]:
    """Return what Prometheus would read: each sample by name and labels."""
    async with node.http.get(node.url + "/metrics") as response:
        assert response.status == 200
        assert response.content_type == "text/plain"
        text = await response.text()
    return {
        sample.name + "".join(f"|{key}={value}" for key, value in sorted(sample.labels.items())): (
            sample.value
        )
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_health_is_fine_while_the_process_lives() -> None:
    async with running() as node:
        assert await node.get("/healthz") == (200, {"status": "ok"})
        node.node.readiness.draining = True
        assert await node.get("/healthz") == (200, {"status": "ok"})


async def test_readiness_names_each_dependency() -> None:
    async with running() as node:
        assert await node.get("/readyz") == (
            200,
            {
                "status": "ready",
                "dependencies": {
                    "node": {"ready": True, "required": True, "state": "serving"},
                    "provider": {"ready": True, "required": False, "state": "answering"},
                    "memory": {"ready": True, "required": False, "state": "answering"},
                    "documents": {"ready": True, "required": False, "state": "not used yet"},
                    "history": {"ready": True, "required": False, "state": "answering"},
                },
            },
        )


async def test_a_handler_that_crashes_answers_in_json_and_is_logged() -> None:
    async with running() as node:
        with capture_logs() as logs, patch.object(node.node.gateway, "get_subscription_stats") as s:
            s.side_effect = ValueError("a secret")
            status, body = await node.get("/api/stats")
        assert status == 500
        assert body == {
            "type": "http_error",
            "code": "internal",
            "message": "this request failed",
        }
        crashes = [line for line in logs if line["event"] == "request_failed"]
        assert [(line["path"], line["exc_info"]) for line in crashes] == [("/api/stats", True)]


async def test_a_node_that_drains_is_not_ready() -> None:
    async with running() as node:
        node.node.readiness.draining = True
        status, body = await node.get("/readyz")
        assert (status, body["status"]) == (503, "not ready")
        assert body["dependencies"]["node"]["state"] == "shutting down"


async def test_a_provider_that_is_down_is_named_and_keeps_nobody_out() -> None:
    async with running(symbols=("AAPL",)) as node:
        node.poller.failure = down(retry_after=60)
        with capture_logs():
            await until(lambda: node.node.streaming.producer.circuit == "open")
        status, body = await node.get("/readyz")
        assert status == 200
        assert body["dependencies"]["provider"] == {
            "ready": False,
            "required": False,
            "state": "circuit open",
        }


async def test_a_feed_that_is_lost_is_named() -> None:
    feed = FakeFeed()
    async with running(FakeProvider(poller=FakePoller(), feed=feed)) as node:
        with capture_logs():
            feed.fail(down())
            await until(lambda: node.node.streaming.producer.feed_connected is False)
        _, body = await node.get("/readyz")
        assert body["dependencies"]["provider"]["state"] == "disconnected"


async def test_a_store_that_is_gone_is_named_and_keeps_nobody_out() -> None:
    async with running() as node:

        async def ping() -> None:
            raise StoreUnavailableError("memory", "gone")

        node.node.store.ping = ping  # type: ignore[method-assign]
        status, body = await node.get("/readyz")
        assert status == 200
        assert body["dependencies"]["memory"]["ready"] is False
        assert "gone" in body["dependencies"]["memory"]["state"]


async def test_no_route_and_no_method_are_told_in_json() -> None:
    async with running() as node:
        status, body = await node.get("/nowhere")
        assert (status, body) == (
            404,
            {"type": "http_error", "code": "not_found", "message": "Not Found"},
        )
        async with node.http.post(node.url + "/healthz") as response:
            assert response.status == 405
            assert response.headers["Allow"] == "GET,HEAD"
            assert (await response.json())["code"] == "invalid_request"


async def test_statistics_tell_of_clients_subscriptions_and_streams() -> None:
    async with running() as node, node.client() as client:
        await client.ask("subscribe", {"events": [UPDATE, "stock_update_IBM"]})
        await client.event(UPDATE)
        status, body = await node.get("/api/stats")
        assert status == 200
        assert body["nodeId"] == "test-node"
        assert body["connectedClients"] == 1
        assert body["subscriptions"] == {UPDATE: 1, "stock_update_IBM": 1}
        assert body["activeSubscriptions"] == {"AAPL": 1, "IBM": 1}
        assert body["streaming"] == {"AAPL": True, "IBM": False}
        assert body["alerts"] == []


async def test_statistics_of_a_client_tell_of_its_connection() -> None:
    async with running() as node, node.client() as client:
        await client.ask("subscribe", {"events": [UPDATE]})
        status, body = await node.get(f"/api/stats/clients/{client.id}")
        assert status == 200
        assert body["clientId"] == client.id
        assert body["subscriptions"] == [UPDATE]
        assert body["transport"] == "websocket"
        assert body["remoteAddress"] == "127.0.0.1"
        assert body["messagesOut"] >= 3
        assert body["bytesOut"] > 100
        assert (body["conflated"], body["dropped"]) == (0, 0)
        assert 0 <= body["connectionDuration"] < 60_000


async def test_there_are_no_statistics_of_a_client_that_is_not_here() -> None:
    async with running() as node:
        status, body = await node.get("/api/stats/clients/nobody")
        assert (status, body["type"], body["code"]) == (404, "stats_error", "not_found")


async def test_the_metrics_are_right() -> None:
    async with running() as node, node.client() as client, node.client() as other:
        for each in (client, other):
            await each.ask("subscribe", {"events": [UPDATE]})
            await each.event(UPDATE)
        await other.ask("subscribe", {"events": ["stock_update_IBM"]})
        await client.ask("subscribe", {})
        await client.ask("buy")
        node.poller.prices[AAPL] = 11.0
        for each in (client, other):
            await each.event(UPDATE)
        node.poller.prices[AAPL] = -1.0
        with capture_logs():
            await until(lambda: node.node.streaming.producer.rejected.total() > 0)
            node.poller.prices.clear()
        values = await metrics(node)
    assert values["stockstream_connected_clients"] == 2
    assert values["stockstream_subscriptions"] == 3
    assert values["stockstream_requests_total"] == 5
    assert values["stockstream_requests_refused_total|code=invalid_payload"] == 1
    assert values["stockstream_requests_refused_total|code=unknown_event"] == 1
    assert values["stockstream_errors_total"] == 0
    # A snapshot and a change for each of two clients.
    assert values["stockstream_deliveries_total"] == 4
    assert values["stockstream_streaming_symbols|state=waiting"] == 2
    assert values["stockstream_quotes_rejected_total|reason=not_positive"] >= 1
    accepted = values["stockstream_quotes_accepted_total"]
    assert values["stockstream_quotes_unchanged_total"] == accepted - 2
    assert values["stockstream_provider_circuit_open"] == 0
    assert values["stockstream_provider_total|what=requests"] >= 1
    assert values["stockstream_provider_total|what=failed_requests"] == 0
    assert values["stockstream_provider_total|what=lost_connections"] == 0
    assert values["stockstream_store_evicted_total"] == 0
    assert values["stockstream_bus_events_published_total"] >= 4
    assert values["stockstream_store_shed_total"] == 0
    assert values["stockstream_store_healthy"] == 1
    assert values["stockstream_engine_total|what=opened_websocket"] == 2
    assert values["stockstream_engine_total|what=connects"] == 2
    buckets = [
        v
        for key, v in values.items()
        if key.startswith("stockstream_delivery_latency_seconds_bucket")
    ]
    assert buckets == sorted(buckets)
    assert values["stockstream_delivery_latency_seconds_bucket|le=+Inf"] == buckets[-1]
    assert values["stockstream_delivery_latency_seconds_count"] == buckets[-1] >= 3
    assert values["process_resident_memory_bytes"] > 1_000_000


async def test_every_metric_is_the_houses_own_or_of_the_process() -> None:
    async with running() as node:
        names = {key.partition("|")[0] for key in await metrics(node)}
    assert all(name.startswith(("stockstream_", "process_", "python_")) for name in names)
    assert "stockstream_delivery_latency_seconds_count" in names


async def test_the_address_in_a_browser_says_what_it_is() -> None:
    async with running() as node, node.http.get(node.url) as response:
        assert response.status == 200
        assert "/socket.io/" in await response.text()
