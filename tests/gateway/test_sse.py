"""Server-Sent Events from a running node."""

import asyncio
import socket
from typing import Any

import aiohttp
import msgspec
import pytest

from stockstream.model import StockUpdate, Symbol
from stockstream.wire.names import stock_update
from tests.gateway.nodes import Client, Running, running, until
from tests.support.event_stream import EventStream, event_stream

AAPL, MSFT = Symbol("AAPL"), Symbol("MSFT")
UPDATE = stock_update(AAPL)
EVENTS = "events=stock_update_AAPL"


async def changed(node: Running, price: float, symbol: Symbol = AAPL) -> None:
    """Have the provider say a price, and wait until the node has sent it on."""
    node.poller.prices[symbol] = price

    def sent() -> bool:
        update = node.node.streaming.snapshot(symbol)
        return update is not None and update.price == price

    await until(sent)


async def test_a_stream_begins_as_a_socket_does() -> None:
    async with running() as node, event_stream(node.url, "events=stock_update_aapl,nope") as stream:
        assert stream.status == 200
        assert "Content-Type: text/event-stream" in stream.head
        assert "X-Accel-Buffering: no" in stream.head
        assert "no-transform" in stream.head
        payload = await stream.update("AAPL")
        assert [name for name, _ in stream.events] == ["connected", "subscribed", UPDATE]
        assert stream.retry >= 1_000
        subscribed = stream.events[1][1]
        assert subscribed["events"] == [UPDATE]
        assert [each["code"] for each in subscribed["rejected"]] == ["unknown_event"]
        assert (payload["price"], payload["snapshot"]) == (10, True)
        # It is a client as every other one.
        client_id = stream.events[0][1]["clientId"]
        status, info = await node.get(f"/api/stats/clients/{client_id}")
        assert (status, info["transport"], info["subscriptions"]) == (200, "event-stream", [UPDATE])
        assert (await node.get("/api/stats"))[1]["connectedClients"] == 1


async def _watch(client: Client) -> None:
    await client.ask("subscribe", {"events": [UPDATE, stock_update(MSFT)]})
    for symbol in (AAPL, MSFT):
        await client.event(stock_update(symbol))


def _updates(events: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    # Each wire form is encoded, and stamped, for itself.
    return [(n, d["payload"]) for n, d in events if n.startswith("stock_update")]


async def test_a_stream_and_a_socket_see_the_same_sequence() -> None:
    async with running() as node, node.client() as client:
        await _watch(client)
        async with event_stream(node.url, f"{EVENTS},stock_update_MSFT") as stream:
            await stream.update("MSFT")
            for price in range(30, 50):
                await changed(node, price, AAPL if price % 3 else MSFT)
            await changed(node, 99)
            while (await stream.update("AAPL"))["price"] != 99:
                pass
            while (await client.event(UPDATE))["payload"]["price"] != 99:
                pass
        updates = _updates(stream.events)[2:]
        told = _updates(client.events)[2:]
        assert len(updates) == 21
        assert updates == told


async def test_a_stream_that_broke_goes_on_without_a_gap() -> None:
    async with running() as node, node.client() as other:
        # Whoever else listens, or begins to, makes no difference.
        await _watch(other)
        async with event_stream(node.url, f"{EVENTS},stock_update_MSFT") as stream:
            await changed(node, 11)
            while (await stream.update("AAPL"))["price"] != 11:
                pass
        await until(lambda: node.node.gateway.get_connected_clients_count() == 1)
        await changed(node, 12)
        await changed(node, 21, MSFT)
        await changed(node, 13)
        await _watch(other)
        async with event_stream(
            node.url, f"{EVENTS},stock_update_MSFT", Last_Event_ID=stream.last_id
        ) as back:
            await changed(node, 14)
            while (await back.update("AAPL"))["price"] != 14:
                pass
        assert back.events[1][1]["resumed"] is True
        first = stream.payloads("AAPL")[-1]["seq"]
        assert [(each["seq"] - first, each["price"]) for each in back.payloads("AAPL")] == [
            (1, 12),
            (2, 13),
            (3, 14),
        ]
        assert [each["price"] for each in back.payloads("MSFT")] == [21]
        assert not any("snapshot" in each for each in back.payloads("AAPL"))


async def test_a_stream_on_which_nothing_happened_goes_on_too() -> None:
    async with running() as node, event_stream(node.url, EVENTS) as first:
        await first.update("AAPL")
        async with event_stream(node.url, EVENTS) as quiet:
            await quiet.update("AAPL")
            await quiet.part()
            assert quiet.last_id
        async with event_stream(node.url, EVENTS, Last_Event_ID=quiet.last_id) as back:
            assert (await back.event("subscribed"))["resumed"] is True
            await changed(node, 11)
            # What it has is not repeated.
            assert (await back.update("AAPL"))["price"] == 11


@pytest.mark.parametrize("mark", ["another.5", "5", "%00", "x" * 300])
async def test_an_id_that_is_not_of_this_server_begins_anew_and_says_so(mark: str) -> None:
    async with running() as node, event_stream(node.url, EVENTS, Last_Event_ID=mark) as stream:
        assert (await stream.event("subscribed"))["resumed"] is False
        assert (await stream.update("AAPL"))["snapshot"] is True


async def test_where_missed_updates_are_no_longer_held_it_begins_anew_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running() as node:
        async with event_stream(node.url, EVENTS) as stream:
            await stream.update("AAPL")
            await changed(node, 11)
            await stream.update("AAPL")
            await changed(node, 12)

        async def forgotten(*_: object) -> None:
            return None

        monkeypatch.setattr(node.node.store, "after", forgotten)
        async with event_stream(node.url, EVENTS, Last_Event_ID=stream.last_id) as back:
            assert (await back.event("subscribed"))["resumed"] is False
            payload = await back.update("AAPL")
            assert (payload["price"], payload["snapshot"]) == (12, True)
            await changed(node, 13)
            assert (await back.update("AAPL"))["price"] == 13


async def test_a_first_price_that_may_not_have_arrived_is_told_again() -> None:
    async with running(subscription_timeout=0) as node:
        async with event_stream(node.url, EVENTS) as stream:
            await stream.update("AAPL")
        await until(lambda: node.node.streaming.get_streaming_status() == {})
        # Its price is known from before, and told when the cache has been read: it is no update.
        async with event_stream(node.url, EVENTS) as stream:
            while not stream.last_id:
                await stream.part()
            assert not stream.payloads("AAPL")
            assert (await stream.update("AAPL"))["snapshot"] is True
        async with event_stream(node.url, EVENTS, Last_Event_ID=stream.last_id) as back:
            assert (await back.event("subscribed"))["resumed"] is True
            assert (await back.update("AAPL"))["snapshot"] is True


async def test_a_stream_has_updates_at_its_own_pace() -> None:
    async with running() as node, event_stream(node.url, f"{EVENTS}&maxRate=0.01") as stream:
        await stream.update("AAPL")
        for price in (11, 12, 13):
            await changed(node, price)
        assert (await stream.update("AAPL"))["price"] == 11
        assert node.node.fanout.paced_away >= 1


async def test_a_quiet_stream_shows_that_it_lives() -> None:
    async with running(ping_interval=0.05) as node, event_stream(node.url, EVENTS) as stream:
        while len(stream.comments) < 3:
            await stream.part()


async def test_streams_and_sockets_of_an_address_count_together() -> None:
    async with running(max_connections_per_address=2) as node, node.client():
        async with event_stream(node.url, EVENTS) as stream:
            assert stream.status == 200
            async with event_stream(node.url, EVENTS) as other:
                assert other.status == 429
                assert "Retry-After: " in other.head
            with pytest.raises(aiohttp.WSServerHandshakeError, match="429"):
                async with node.client():
                    pass
        await until(lambda: node.node.gateway.get_connected_clients_count() == 1)
        async with event_stream(node.url, EVENTS) as stream:
            assert stream.status == 200


async def test_a_stream_has_as_many_subscriptions_as_a_socket() -> None:
    async with (
        running(max_subscriptions_per_client=1) as node,
        event_stream(node.url, f"{EVENTS},stock_update_MSFT") as stream,
    ):
        subscribed = await stream.event("subscribed")
    assert subscribed["events"] == [UPDATE]
    assert subscribed["rejected"][0]["code"] == "subscription_limit"


@pytest.mark.parametrize(
    ("query", "code", "named"),
    [
        ("", "invalid_payload", "events"),
        ("events=", "invalid_payload", "events"),
        ("events=nope,nothing", "unknown_event", "nope"),
        ("events=stock_update_%27%20OR%201%3D1", "invalid_symbol", "OR 1=1"),
        ("events=bar_update_AAPL_2m", "unknown_timeframe", "2m"),
        ("events=" + ",".join(["a"] * 1_001), "invalid_payload", "events"),
        (f"{EVENTS}&maxRate=0", "invalid_payload", "maxRate"),
        (f"{EVENTS}&maxRate=fast", "invalid_payload", "maxRate"),
        (f"{EVENTS}&{EVENTS}", "invalid_payload", "events"),
        (f"{EVENTS}&symbols=AAPL", "invalid_payload", "symbols"),
    ],
)
async def test_a_stream_of_nothing_is_refused(query: str, code: str, named: str) -> None:
    async with running() as node:
        status, error = await node.get(f"/api/stream?{query}")
        assert (status, error["type"], error["code"]) == (400, "stream_error", code)
        assert named in error["message"]
        assert node.node.gateway.get_connected_clients_count() == 0


async def test_the_head_of_a_stream_can_be_asked_for() -> None:
    async with running() as node, node.http.head(f"{node.url}/api/stream?{EVENTS}") as response:
        assert (response.status, response.content_type) == (200, "text/event-stream")
        assert node.node.gateway.get_connected_clients_count() == 0


async def test_pages_of_allowed_origins_may_listen() -> None:
    page = "https://charts.example.com"
    async with running(cors_origins=(page,)) as node:
        async with event_stream(node.url, EVENTS, Origin=page) as stream:
            assert f"Access-Control-Allow-Origin: {page}" in stream.head
        async with event_stream(node.url, EVENTS, Origin="https://evil.example.com") as refused:
            assert refused.status == 403


async def test_what_a_stream_wanted_is_wanted_no_more_when_it_ends() -> None:
    async with running() as node:
        async with event_stream(node.url, f"{EVENTS},bar_update_AAPL_1m") as stream:
            await stream.update("AAPL")
            assert node.node.streaming.get_active_subscriptions() == {"AAPL": 2}
        await until(lambda: node.node.streaming.get_active_subscriptions() == {})
        assert node.node.gateway.get_subscription_stats() == {}


async def test_the_end_of_the_server_is_told_with_a_time_to_come_back() -> None:
    async with running() as node:
        context = event_stream(node.url, EVENTS)
        stream = await context.__aenter__()
        await stream.update("AAPL")
    rest = (await stream.rest()).decode()
    assert ": the server is shutting down\nretry: " in rest
    assert 1_000 <= int(rest.rpartition("retry: ")[2]) <= 5_100
    await context.__aexit__(None, None, None)


async def test_a_client_that_talks_instead_of_listening_is_cut_off() -> None:
    async with running() as node, event_stream(node.url, EVENTS) as stream:
        await stream.update("AAPL")
        stream.writer.write(b"x" * 100_000)
        await until(lambda: node.node.gateway.get_connected_clients_count() == 0)


async def _stalled(node: Running) -> tuple[EventStream, asyncio.StreamWriter]:
    """Open a stream whose client does not read."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 131_072)
    raw.setblocking(False)
    host, port = node.url.removeprefix("http://").split(":")
    await asyncio.get_running_loop().sock_connect(raw, (host, int(port)))
    reader, writer = await asyncio.open_connection(sock=raw, limit=4_096)
    writer.write(f"GET /api/stream?{EVENTS} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    return EventStream(reader, writer), writer


async def test_a_client_that_reads_too_slowly_gets_the_latest_with_bounded_memory() -> None:
    async with running() as node:
        stream, writer = await _stalled(node)
        await until(lambda: node.node.gateway.get_connected_clients_count() == 1)
        (client,) = node.node.gateway._clients.values()
        connection = client.connection
        await until(lambda: node.node.streaming.snapshot(AAPL) is not None)
        update = node.node.streaming.snapshot(AAPL)
        assert update is not None
        seq = update.seq
        # Several times what may wait for a client, and by now nothing more leaves.
        while connection.conflated < 10_000:
            batch = [_numbered(update, seq + n) for n in range(1, 201)]
            seq += len(batch)
            node.node.fanout.publish(batch, 0.0)
            assert connection.unread_bytes <= node.node.settings.max_unread_bytes
            await asyncio.sleep(0)
        assert connection.open
        await stream.read_head()
        while (await stream.update("AAPL"))["seq"] < seq:
            pass
        seqs = [each["seq"] for each in stream.payloads("AAPL")]
        assert seqs == sorted(set(seqs))
        assert len(seqs) < seq - update.seq
        writer.close()


def _numbered(update: StockUpdate, seq: int) -> StockUpdate:
    return msgspec.structs.replace(update, seq=seq, offset=seq)
