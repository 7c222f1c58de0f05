"""Where a gap is possible a client gets a new session, and hears that it does."""

import json
from typing import Any

import msgspec
import pytest

from stockstream.gateway import lost_sessions
from stockstream.storage.history import HISTORY_LIMIT
from tests.acceptance.http import metrics
from tests.fanout.market import Exchange
from tests.gateway.nodes import Client
from tests.recovery.clients import Crowd, JsClient
from tests.recovery.node import change, exchange, is_gone
from tests.support.fault_proxy import FaultProxy
from tests.support.ports import free_port
from tests.support.processes import wait_until
from tests.support.wire_client import Endpoint, Socket


async def subscribed(crowd: Crowd, place: Exchange, port: int) -> JsClient:
    """Return a client that has had a change of A."""
    client = await crowd.connect(port)
    await client.subscribe("A")
    await change(place, "A")
    await client.has("A", 2)
    return client


async def assert_begins_anew(client: JsClient, place: Exchange) -> None:
    """Insist on a new session, in which nothing comes before it subscribes; then a snapshot."""
    first, second = client.connections[0], await client.connected(2)
    assert not second.recovered
    assert second.sid != first.sid
    had = len(client.updates("A"))
    assert place.node.gateway.get_subscription_stats() == {}
    await client.subscribe("A")
    await client.until(lambda: len(client.updates("A")) > had, "the snapshot")
    assert client.updates("A")[had]["snapshot"] is True
    assert client.updates("A")[had]["seq"] == place.market.seqs["A"]


async def test_window_is_over(crowd: Crowd) -> None:
    async with (
        exchange("A", recovery_window=0.05) as place,
        FaultProxy(place.port) as proxy,
    ):
        client = await subscribed(crowd, place, proxy.port)
        proxy.blackhole()
        proxy.abort()
        await is_gone(place)
        await wait_until(lambda: not place.node.recovery.waiting, "the end of the window")
        proxy.restore()
        await assert_begins_anew(client, place)
        assert place.node.recovery.refused == 1


async def test_server_has_restarted(crowd: Crowd) -> None:
    port = free_port()
    async with exchange("A", port=port) as place:
        client = await subscribed(crowd, place, port)
    async with exchange("A", port=port) as place:
        await client.connected(2)
        await assert_begins_anew(client, place)


async def test_history_no_longer_holds_what_was_missed(crowd: Crowd) -> None:
    async with exchange("A") as place, FaultProxy(place.port) as proxy:
        client = await subscribed(crowd, place, proxy.port)
        proxy.blackhole()
        proxy.abort()
        await is_gone(place)
        await change(place, "A", times=HISTORY_LIMIT + 1)
        proxy.restore()
        await assert_begins_anew(client, place)


async def test_all_that_history_holds_is_given_back(crowd: Crowd) -> None:
    async with exchange("A") as place, FaultProxy(place.port) as proxy:
        client = await subscribed(crowd, place, proxy.port)
        proxy.blackhole()
        proxy.abort()
        await is_gone(place)
        await change(place, "A", times=HISTORY_LIMIT - 1)
        proxy.restore()
        await client.has("A", HISTORY_LIMIT + 1)
        assert client.connections[1].recovered
        assert client.seqs("A") == list(range(1, HISTORY_LIMIT + 2))


async def test_client_that_said_goodbye_is_not_expected_back(crowd: Crowd) -> None:
    async with exchange("A") as place:
        client = await subscribed(crowd, place, place.port)
        await client.do("goodbye")
        await client.until(lambda: client.losses, "the end")
        await client.do("hello")
        await assert_begins_anew(client, place)
        assert place.node.recovery.waiting == 0


async def test_sessions_are_not_given_back_where_the_window_is_zero(crowd: Crowd) -> None:
    async with exchange("A", recovery_window=0) as place, FaultProxy(place.port) as proxy:
        client = await subscribed(crowd, place, proxy.port)
        proxy.abort()
        await assert_begins_anew(client, place)
        assert place.node.recovery.waiting == 0
        async with Endpoint(place.port).opened() as socket:
            assert "pid" not in await connect(socket)


# --- claims packet by packet ------------------------------------------------------------------


async def connect(socket: Socket, **claim: Any) -> dict[str, Any]:
    """Connect a session, claiming an earlier one; returns what the server says of it."""
    await socket.send("40" + (json.dumps(claim) if claim else ""))
    answer = await socket.receive_text()
    assert answer.startswith("40{")
    session: dict[str, Any] = json.loads(answer[2:])
    return session


async def lost(place: Exchange) -> tuple[dict[str, Any], str]:
    """Have a client come and vanish; returns its session and its last mark."""
    before = place.node.recovery.waiting
    async with Endpoint(place.port).opened() as socket:
        session = await connect(socket)
        client = Client(socket)
        await client.ask("subscribe", {"events": ["stock_update_A"]})
        await client.event("stock_update_A")
        place.change("A")
        mark: str = json.loads((await socket.receive_text())[2:])[2]
    await wait_until(lambda: place.node.recovery.waiting > before, "the loss")
    return session, mark


async def nobody_is_here(place: Exchange) -> None:
    """Wait until the node knows that all clients are gone."""
    await wait_until(lambda: not place.node.gateway.get_connected_clients_count(), "their leaving")


async def claim(place: Exchange, pid: object, mark: object) -> tuple[bool, dict[str, Any]]:
    """Claim a session; returns whether it was given back, and what was."""
    async with Endpoint(place.port).opened() as socket:
        session = await connect(socket, pid=pid, offset=mark)
        return session["pid"] == pid, session


async def test_session_is_given_back_for_its_private_id_and_mark() -> None:
    async with exchange("A") as place:
        session, mark = await lost(place)
        assert await claim(place, session["pid"], mark) == (True, session)


def _forged(pid: str) -> list[str]:
    sid, _, secret = pid.partition(".")
    other = "0" if secret[-1] != "0" else "1"
    return ["", ".", sid, f"{sid}.", f"x{pid}", pid[:-1] + other, pid.upper(), f"{sid}.ü\u0000"]


async def test_forged_private_id_opens_nothing_and_costs_its_owner_nothing() -> None:
    async with exchange("A") as place:
        session, mark = await lost(place)
        for forged in _forged(session["pid"]):
            given, other = await claim(place, forged, mark)
            assert not given
            assert other["sid"] != session["sid"]
        assert place.node.recovery.refused == len(_forged(session["pid"]))
        assert (await claim(place, session["pid"], mark))[0]


async def test_private_id_of_another_server_opens_nothing() -> None:
    async with exchange("A") as place, exchange("A") as elsewhere:
        session, mark = await lost(elsewhere)
        assert not (await claim(place, session["pid"], mark))[0]


@pytest.mark.parametrize(
    "mark", ["", "1", ".1", "other.1", "{order}.", "{order}.-1", "{order}.x", "{order}.1e3"]
)
async def test_mark_of_another_order_gives_nothing_back(mark: str) -> None:
    async with exchange("A") as place:
        session, own = await lost(place)
        order = own.partition(".")[0]
        given, _ = await claim(place, session["pid"], mark.format(order=order))
        assert not given


@pytest.mark.parametrize("ahead", [1, 10**18, 10**30])
async def test_mark_from_the_future_gives_nothing_back(ahead: int) -> None:
    async with exchange("A") as place:
        session, own = await lost(place)
        order, _, offset = own.partition(".")
        given, _ = await claim(place, session["pid"], f"{order}.{int(offset) + ahead}")
        assert not given


async def test_session_is_given_back_once() -> None:
    async with exchange("A") as place:
        session, mark = await lost(place)
        async with Endpoint(place.port).opened() as socket:
            assert (await connect(socket, pid=session["pid"], offset=mark)) == session
            # Who claims it while it is in use takes it over: the first one is cut off.
            async with Endpoint(place.port).opened() as other:
                assert (await connect(other, pid=session["pid"], offset=mark)) == session
                await socket.until_closed()
                assert place.node.gateway.get_connected_clients_count() == 1


async def test_session_of_the_other_wire_form_is_not_given_back() -> None:
    async with exchange("A") as place:
        session, mark = await lost(place)
        data = {"pid": session["pid"], "offset": mark}
        async with Endpoint(place.port, path="/socket.io-msgpack/").opened() as socket:
            await socket.send(msgspec.msgpack.encode({"type": 0, "nsp": "/", "data": data}))
            answer = await socket.receive()
        assert isinstance(answer, bytes)
        assert msgspec.msgpack.decode(answer)["data"]["pid"] != session["pid"]
        assert place.node.recovery.refused == 1


async def test_symbol_that_nobody_remembers_gives_nothing_back() -> None:
    # Its numbers begin anew, and nobody knows what came at the end of the old ones.
    async with exchange("A") as place:
        session, mark = await lost(place)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(place.node.streaming, "remembers", lambda _: False)
            assert not (await claim(place, session["pid"], mark))[0]
        assert place.node.gateway.get_subscription_stats() == {}


# --- what is kept -----------------------------------------------------------------------------


async def test_lost_sessions_are_bounded_and_the_oldest_give_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lost_sessions, "KEPT", 3)
    async with exchange("A") as place:
        sessions = []
        for count in range(1, 4):
            sessions.append(await lost(place))
            assert place.node.recovery.waiting == count
        async with Endpoint(place.port).connected():
            pass
        await nobody_is_here(place)
        assert place.node.recovery.waiting == 3
        assert not (await claim(place, sessions[0][0]["pid"], sessions[0][1]))[0]
        assert (await claim(place, sessions[2][0]["pid"], sessions[2][1]))[0]


async def test_lost_subscriptions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lost_sessions, "KEPT_SUBSCRIPTIONS", 2)
    async with exchange("A") as place:
        await lost(place)
        await lost(place)
        assert place.node.recovery.waiting == 2
        async with Endpoint(place.port).opened() as socket:
            await connect(socket)
            client = Client(socket)
            await client.ask("subscribe", {"events": ["stock_update_A", "performance_alert"]})
        await nobody_is_here(place)
        assert place.node.recovery.waiting == 1


async def test_streams_of_lost_clients_end_meanwhile() -> None:
    async with exchange(subscription_timeout=0.05) as place:
        async with Endpoint(place.port).opened() as socket:
            session = await connect(socket)
            await Client(socket).ask("subscribe", {"events": ["stock_update_Z"]})
            assert "Z" in place.node.streaming.get_streaming_status()
        await wait_until(lambda: not place.node.streaming.get_streaming_status(), "its end")
        assert place.node.gateway.get_subscription_stats() == {}
        assert place.node.recovery.waiting == 1
        async with Endpoint(place.port).opened() as socket:
            again = await connect(socket, pid=session["pid"], offset=place.node.fanout.marks.now())
            assert again == session
            assert place.node.gateway.get_subscription_stats() == {"stock_update_Z": 1}


async def test_metrics_tell_who_came_back_and_who_may() -> None:
    async with exchange("A") as place:
        session, mark = await lost(place)
        await lost(place)
        await claim(place, session["pid"], mark)
        await claim(place, "forged", mark)
        await nobody_is_here(place)
        samples = await metrics(place.url)
        assert samples["stockstream_sessions_total|outcome=recovered"] == 1
        assert samples["stockstream_sessions_total|outcome=refused"] == 1
        # The one that never came back, the one that did and left again, and the stranger.
        assert samples["stockstream_sessions_waiting"] == 3
