"""How a session is opened (Engine.IO protocol, "Handshake" and "Query parameters")."""

import json

import aiohttp
import pytest

from tests.support.target_fixtures import engine_only
from tests.support.wire_client import (
    POLLING,
    WEBSOCKET,
    ClosedByServer,
    Endpoint,
)

HANDSHAKE_KEYS = {"sid", "upgrades", "pingInterval", "pingTimeout", "maxPayload"}

INVALID_QUERIES = [
    "transport={transport}",
    "EIO=&transport={transport}",
    "EIO=abc&transport={transport}",
    "EIO=3&transport={transport}",
    "EIO=5&transport={transport}",
    "EIO=4",
    "EIO=4&transport=",
    "EIO=4&transport=abc",
    "EIO=4&transport=webtransport",
    "",
]


async def is_refused(endpoint: Endpoint, query: str) -> bool:
    """Whether a WebSocket with that query is closed before any packet."""
    try:
        async with endpoint.websocket(query) as socket:
            await socket.receive()
    except (ClosedByServer, aiohttp.ClientError):
        return True
    return False


async def test_polling_handshake_announces_the_session_and_the_upgrade(ordinary: Endpoint) -> None:
    opened = await ordinary.handshake()
    assert set(opened) == HANDSHAKE_KEYS
    assert isinstance(opened["sid"], str)
    assert opened["sid"]
    assert opened["upgrades"] == ["websocket"]
    assert (opened["pingInterval"], opened["pingTimeout"]) == (25_000, 20_000)
    assert opened["maxPayload"] == 1_000_000


async def test_websocket_handshake_announces_no_upgrade(ordinary: Endpoint) -> None:
    async with ordinary.opened() as socket:
        opened = socket.handshake
    assert set(opened) == HANDSHAKE_KEYS
    assert opened["upgrades"] == []
    assert (opened["pingInterval"], opened["pingTimeout"]) == (25_000, 20_000)
    assert opened["maxPayload"] == 1_000_000


async def test_ping_times_below_a_second_are_announced_in_milliseconds(short: Endpoint) -> None:
    opened = await short.handshake()
    assert (opened["pingInterval"], opened["pingTimeout"]) == (300, 200)


async def test_handshake_is_one_packet_of_plain_text_that_nobody_may_store(
    ordinary: Endpoint,
) -> None:
    response = await ordinary.request("GET", POLLING)
    (packet,) = response.packets
    assert packet[0] == "0"
    assert json.loads(packet[1:])
    assert response.headers["content-type"].lower() == "text/plain; charset=utf-8"
    assert response.headers["cache-control"] == "no-store"


async def test_unknown_query_parameters_are_ignored(ordinary: Endpoint) -> None:
    response = await ordinary.request("GET", f"{POLLING}&t=N8hyd6w&token=abc")
    assert response.status == 200


async def test_each_session_gets_an_id_of_its_own(ordinary: Endpoint) -> None:
    ids = {(await ordinary.handshake())["sid"] for _ in range(20)}
    assert len(ids) == 20


async def test_socketio_id_does_not_give_the_session_id_away(ordinary: Endpoint) -> None:
    async with ordinary.connected() as socket:
        assert socket.sid != socket.handshake["sid"]


@pytest.mark.parametrize("query", INVALID_QUERIES)
async def test_polling_handshake_with_a_bad_query_is_answered_400(
    ordinary: Endpoint, query: str
) -> None:
    response = await ordinary.request("GET", query.format(transport="polling"))
    assert response.status == 400


@pytest.mark.parametrize("query", INVALID_QUERIES)
async def test_websocket_handshake_with_a_bad_query_is_closed(
    ordinary: Endpoint, query: str
) -> None:
    assert await is_refused(ordinary, query.format(transport="websocket"))


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
async def test_polling_handshake_by_another_method_is_answered_400(
    ordinary: Endpoint, method: str
) -> None:
    response = await ordinary.request(method, POLLING, "40")
    assert response.status == 400


async def test_websocket_transport_without_a_websocket_is_answered_400(ordinary: Endpoint) -> None:
    response = await ordinary.request("GET", WEBSOCKET)
    assert response.status == 400


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_polling_with_an_unknown_session_is_answered_400(
    ordinary: Endpoint, method: str
) -> None:
    response = await ordinary.request(method, f"{POLLING}&sid=unknown", "40")
    assert response.status == 400


@pytest.mark.parametrize("sid", ["unknown", "__proto__", "%00", "a" * 4_000])
async def test_websocket_with_an_unknown_session_is_closed(ordinary: Endpoint, sid: str) -> None:
    assert await is_refused(ordinary, f"{WEBSOCKET}&sid={sid}")


async def test_session_is_not_served_under_another_protocol_version(ordinary: Endpoint) -> None:
    session = await ordinary.polling()
    response = await ordinary.request("GET", f"EIO=3&transport=polling&sid={session.sid}")
    assert response.status == 400
    assert not await session.is_closed()


@engine_only("the reference still speaks JSONP, a way around the same-origin rule")
async def test_jsonp_is_not_spoken(ordinary: Endpoint) -> None:
    response = await ordinary.request("GET", f"{POLLING}&j=0")
    assert response.status == 400 or response.text.startswith("0{")
