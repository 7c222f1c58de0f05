import asyncio
from typing import Any
from unittest.mock import patch

import pytest
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from stockstream.gateway.requests import MAX_REQUESTS
from stockstream.model import Symbol
from stockstream.wire.packets import WireForm
from tests.gateway.nodes import running, until

AAPL, MSFT = Symbol("AAPL"), Symbol("MSFT")
UPDATE = "stock_update_AAPL"


class Held:
    """Stands for a store that takes its time."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.calls = self.waiting = 0

    async def __call__(self, within: float) -> bool:
        self.calls += 1
        self.waiting += 1
        await self.go_on.wait()
        self.waiting -= 1
        return False


async def test_reply_snapshot_and_updates_come_in_this_order() -> None:
    async with running() as node, node.client() as client:
        answer = await client.ask("subscribe", {"events": ["stock_update_aapl"]})
        assert answer == {"events": [UPDATE]}
        snapshot = await client.event(UPDATE)
        node.poller.prices[AAPL] = 11.0
        change = await client.event(UPDATE)
        assert [name for name, _ in client.events] == ["connected", "subscribed", UPDATE, UPDATE]
        assert client.payloads("subscribed") == [answer]
        assert snapshot["type"] == change["type"] == UPDATE
        assert snapshot["payload"]["snapshot"] is True
        assert snapshot["payload"]["price"] == 10.0
        assert "snapshot" not in change["payload"]
        assert (change["payload"]["price"], change["payload"]["seq"]) == (11.0, 2)


async def test_reply_and_snapshots_leave_in_one_write(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running() as node, node.client() as old, node.client() as new:
        await old.ask("subscribe", {"events": [UPDATE, "stock_update_MSFT"]})
        await old.event(UPDATE)
        await old.event("stock_update_MSFT")
        connection = node.node.servers[WireForm.JSON].connection(new.id)
        assert connection is not None
        writes: list[bytes] = []
        port: Any = connection._port
        monkeypatch.setattr(port, "write", writes.append)
        monkeypatch.setattr(connection, "_write", writes.append)
        await new.send("subscribe", {"events": [UPDATE, "stock_update_MSFT"]})
        await until(lambda: bool(writes))
        assert [writes[0].count(name) for name in (b'"subscribed"', b'"snapshot":true')] == [1, 2]
        assert len(writes) == 1


async def test_a_snapshot_goes_to_the_newcomer_alone() -> None:
    async with running() as node, node.client() as old, node.client() as new:
        await old.ask("subscribe", {"events": [UPDATE]})
        await old.event(UPDATE)
        await new.ask("subscribe", {"events": [UPDATE]})
        assert (await new.event(UPDATE))["payload"]["snapshot"] is True
        node.poller.prices[AAPL] = 11.0
        assert "snapshot" not in (await old.event(UPDATE))["payload"]


async def test_the_rest_of_a_request_with_bad_names_is_accepted() -> None:
    async with running() as node, node.client() as client:
        names = [UPDATE, "stock_update_", "room-of-others", "bar_update_AAPL_2m", "bar_update__1m"]
        answer = await client.ask("subscribe", {"events": names})
        assert answer["events"] == [UPDATE]
        assert [(each["event"], each["code"]) for each in answer["rejected"]] == [
            ("stock_update_", "invalid_symbol"),
            ("room-of-others", "unknown_event"),
            ("bar_update_AAPL_2m", "unknown_timeframe"),
            ("bar_update__1m", "invalid_symbol"),
        ]
        assert all(each["message"] for each in answer["rejected"])


async def test_a_position_in_an_event_that_is_refused_spoils_nothing() -> None:
    async with running() as node, node.client() as client:
        seen = {"room": {"epoch": "e", "seq": 1}}
        answer = await client.ask("subscribe", {"events": [UPDATE, "room"], "since": seen})
        assert answer["events"] == [UPDATE]
        assert [each["code"] for each in answer["rejected"]] == ["unknown_event"]


async def test_symbols_beyond_the_limit_of_the_node_are_refused_and_leave_nothing_behind() -> None:
    async with running(max_symbols=1, subscription_timeout=60) as node, node.client() as client:
        names = [UPDATE, "stock_update_MSFT", "bar_update_MSFT_1m", "bar_update_AAPL_1m"]
        answer = await client.ask("subscribe", {"events": names})
        assert answer["events"] == [UPDATE, "bar_update_AAPL_1m"]
        assert [(each["event"], each["code"]) for each in answer["rejected"]] == [
            ("stock_update_MSFT", "subscription_limit"),
            ("bar_update_MSFT_1m", "subscription_limit"),
        ]
        refused = await client.ask("get_stock_data", {"symbol": "MSFT"})
        assert (refused["code"], refused["symbol"]) == ("subscription_limit", "MSFT")
        # What nobody watches makes room at once.
        await client.ask("unsubscribe", {"events": answer["events"]})
        assert (await client.ask("subscribe", {"events": names[1:2]}))["events"] == names[1:2]
        assert (await client.event("stock_update_MSFT"))["payload"]["price"] == 20.0
        assert node.node.streaming.get_streaming_status().keys() == {MSFT}


async def test_a_client_that_comes_back_again_and_again_has_few_readings_under_way() -> None:
    async with running() as node, node.client() as client:
        events = [f"stock_update_S{number}" for number in range(50)]
        seen = {event: {"epoch": "e", "seq": 1} for event in events}
        with patch.object(node.node.writer, "flush", held := Held()):
            for _ in range(MAX_REQUESTS):
                answer = await client.ask("subscribe", {"events": events, "since": seen})
                assert answer["events"] == events
            refused = await client.ask("subscribe", {"events": events, "since": seen})
            assert refused["code"] == "rate_limited"
            # One for each request, whatever the number of its symbols.
            assert held.waiting == MAX_REQUESTS
            held.go_on.set()
            node.poller.prices[Symbol("S49")] = 1.0
            assert (await client.event(events[49]))["payload"]["snapshot"] is True
        # Requests that were overtaken read nothing more.
        assert held.calls == MAX_REQUESTS + len(events) - 1
        answer = await client.ask("subscribe", {"events": events, "since": seen})
        assert answer["events"] == events


async def test_a_request_that_crashes_is_answered_counted_and_logged() -> None:
    async with running() as node, node.client() as client:
        crash = patch.object(node.node.bars, "bars", side_effect=ValueError("a secret"))
        with capture_logs(processors=[merge_contextvars]) as logs, crash:
            answer = await client.ask("get_stock_data", {"symbol": "AAPL"})
        assert (answer["type"], answer["code"]) == ("stock_data_error", "unavailable")
        assert "secret" not in answer["message"]
        assert client.payloads("error") == [answer]
        assert node.node.gateway.errors == 1
        (line,) = [line for line in logs if line["event"] == "request_failed"]
        assert (line["request"], line["client"]) == ("get_stock_data", client.id)


async def test_a_store_that_crashes_keeps_no_client_waiting() -> None:
    async with running() as node, node.client() as client:
        crash = ValueError("no store says so")
        with (
            capture_logs() as logs,
            patch.object(node.node.store, "get", side_effect=crash),
            patch.object(node.node.store, "since", side_effect=crash),
        ):
            seen = {UPDATE: {"epoch": "e", "seq": 1}}
            await client.ask("subscribe", {"events": [UPDATE], "since": seen})
            assert (await client.event(UPDATE))["payload"]["snapshot"] is True
        crashes = [line["event"] for line in logs if line["log_level"] == "error"]
        assert sorted(crashes) == ["cache_not_read", "missed_updates_not_read"]


async def test_no_other_client_can_be_listened_to_by_its_id() -> None:
    async with running() as node, node.client() as one, node.client() as other:
        answer = await one.ask("subscribe", {"events": [other.id]})
        assert answer["rejected"][0]["code"] == "unknown_event"


@pytest.mark.parametrize(
    ("event", "payload", "code", "field"),
    [
        ("subscribe", None, "invalid_payload", "payload"),
        ("subscribe", [], "invalid_payload", "payload"),
        ("subscribe", {}, "invalid_payload", "events"),
        ("subscribe", {"events": "all"}, "invalid_payload", "events"),
        ("subscribe", {"events": []}, "invalid_payload", "events"),
        ("subscribe", {"events": [1]}, "invalid_payload", "events"),
        ("subscribe", {"events": ["x" * 129]}, "invalid_payload", "events"),
        ("subscribe", {"events": [UPDATE] * 1_001}, "invalid_payload", "events"),
        ("subscribe", {"events": [UPDATE], "maxRate": 0}, "invalid_payload", "maxRate"),
        ("subscribe", {"events": [UPDATE], "since": {UPDATE: 1}}, "invalid_payload", "since"),
        ("subscribe", {"events": [UPDATE], "since": {"x": {"epoch": "e", "seq": 1}}},
         "unknown_event", ""),
        ("unsubscribe", {"events": None}, "invalid_payload", "events"),
        ("get_stock_data", {}, "invalid_payload", "symbol"),
        ("get_stock_data", {"symbol": "AAPL", "limit": 0}, "invalid_payload", "limit"),
        ("get_stock_data", {"symbol": "AAPL", "limit": 1_001}, "invalid_payload", "limit"),
        ("get_stock_data", {"symbol": "A A"}, "invalid_symbol", "A A"),
        ("get_stock_data", {"symbol": "AAPL", "timeframe": "2h"}, "unknown_timeframe", "2h"),
    ],
)  # fmt: skip
async def test_a_refused_request_gets_its_code_as_event_and_as_acknowledgement(
    event: str, payload: Any, code: str, field: str
) -> None:
    async with running() as node, node.client() as client:
        answer = await client.ask(event, payload)
        assert answer["code"] == code
        kind = "stock_data_error" if event == "get_stock_data" else f"{event}_error"
        assert answer["type"] == kind
        assert field in answer["message"]
        assert client.payloads("error") == [answer]
        assert node.node.gateway.refused == {code: 1}
        # No fault of ours, and no subscription either.
        assert node.node.gateway.errors == 0
        assert node.node.gateway.get_subscription_stats() == {}
        assert set(node.node.streaming.get_active_subscriptions().values()) <= {0}


async def test_an_unknown_event_gets_an_error() -> None:
    async with running() as node, node.client() as client:
        answer = await client.ask("buy", {"symbol": "AAPL"})
        assert (answer["type"], answer["code"]) == ("buy_error", "unknown_event")
        assert await client.ask("b" * 10_000) == client.payloads("error")[-1]
        assert len(client.payloads("error")[-1]["type"]) < 100


async def test_a_client_has_no_more_subscriptions_than_it_may_have() -> None:
    async with running(max_subscriptions_per_client=2) as node, node.client() as client:
        answer = await client.ask(
            "subscribe", {"events": [UPDATE, "stock_update_MSFT", "stock_update_IBM", UPDATE]}
        )
        assert answer["events"] == [UPDATE, "stock_update_MSFT"]
        assert [each["code"] for each in answer["rejected"]] == ["subscription_limit"]
        await client.ask("unsubscribe", {"events": [UPDATE]})
        answer = await client.ask("subscribe", {"events": ["stock_update_IBM"]})
        assert answer == {"events": ["stock_update_IBM"]}


async def test_an_event_has_no_more_clients_than_it_may_have() -> None:
    async with running(max_subscriptions=1) as node, node.client() as one, node.client() as other:
        await one.ask("subscribe", {"events": [UPDATE]})
        answer = await other.ask("subscribe", {"events": [UPDATE]})
        assert (answer["events"], answer["rejected"][0]["code"]) == ([], "subscription_limit")


async def test_a_name_that_is_no_events_does_not_keep_the_others_subscribed() -> None:
    async with running() as node, node.client() as client:
        await client.ask("subscribe", {"events": [UPDATE]})
        answer = await client.ask("unsubscribe", {"events": ["nothing", "stock_update_aapl"]})
        assert answer["events"] == [UPDATE]
        assert [(r["event"], r["code"]) for r in answer["rejected"]] == [
            ("nothing", "unknown_event")
        ]
        assert node.node.gateway.get_subscription_stats() == {}


async def test_no_update_comes_after_unsubscribed() -> None:
    async with running() as node, node.client() as client:
        await client.ask("subscribe", {"events": [UPDATE, "stock_update_MSFT"]})
        assert await client.ask("unsubscribe", {"events": ["stock_update_aapl"]}) == {
            "events": [UPDATE]
        }
        before = len(client.payloads(UPDATE))
        for price in (11.0, 12.0, 13.0):
            node.poller.prices = {AAPL: price, MSFT: price}
            await client.event("stock_update_MSFT")
        assert len(client.payloads(UPDATE)) == before


async def test_who_comes_back_gets_what_it_missed_and_no_snapshot() -> None:
    async with running(subscription_timeout=60) as node:
        async with node.client() as client, node.client() as stayed:
            await stayed.ask("subscribe", {"events": [UPDATE]})
            await stayed.event(UPDATE)
            await client.ask("subscribe", {"events": [UPDATE]})
            seen = (await client.event(UPDATE))["payload"]
            for price in (11.0, 12.0, 13.0):
                node.poller.prices[AAPL] = price
                await stayed.event(UPDATE)
        position = {"epoch": seen["epoch"], "seq": seen["seq"]}
        async with node.client() as back:
            await back.ask("subscribe", {"events": [UPDATE], "since": {UPDATE: position}})
            got = [(await back.event(UPDATE))["payload"] for _ in range(3)]
            node.poller.prices[AAPL] = 14.0
            got.append((await back.event(UPDATE))["payload"])
        assert [each["seq"] for each in got] == [2, 3, 4, 5]
        assert [each["price"] for each in got] == [11.0, 12.0, 13.0, 14.0]
        assert not any("snapshot" in each for each in got)


async def test_who_comes_back_from_too_far_gets_a_snapshot() -> None:
    async with running() as node, node.client() as client:
        request = {"events": [UPDATE], "since": {UPDATE: {"epoch": "of old", "seq": 3}}}
        await client.ask("subscribe", request)
        assert (await client.event(UPDATE))["payload"]["snapshot"] is True


async def test_a_client_that_leaves_leaves_nothing_behind() -> None:
    async with running(subscription_timeout=0) as node:
        async with node.client() as client:
            events = [UPDATE, "stock_update_MSFT", "bar_update_AAPL_1m", "performance_metrics"]
            await client.ask("subscribe", {"events": events})
            stats = node.node.gateway.get_subscription_stats()
            assert stats == dict.fromkeys(events, 1)
            assert node.node.streaming.get_active_subscriptions() == {"AAPL": 2, "MSFT": 1}
        await until(lambda: node.node.gateway.get_connected_clients_count() == 0)
        await until(lambda: node.node.streaming.get_streaming_status() == {})
        assert node.node.gateway.get_subscription_stats() == {}
        assert node.node.fanout._audiences == {}
        assert node.node.bar_updates._wanted == {}


async def test_a_client_that_leaves_before_its_answer_leaves_nothing_behind() -> None:
    async with running(subscription_timeout=0) as node:
        async with node.client() as client:
            await client.send("get_stock_data", {"symbol": "IBM"})
            await until(lambda: "IBM" in node.node.streaming.get_streaming_status())
        await until(lambda: node.node.gateway.get_connected_clients_count() == 0)
        node.poller.prices[Symbol("IBM")] = 30.0
        await until(lambda: node.node.streaming.get_streaming_status() == {})
        assert node.node.gateway.get_subscription_stats() == {}
        assert node.node.fanout._audiences == {}
