"""What unmodified JavaScript clients see of tokens: refused, prolonged, expired."""

import time
from collections.abc import AsyncIterator

import pytest

from tests.acceptance.conftest import shown_server
from tests.acceptance.crowd import WAYS, Crowd, JsClient, Way
from tests.support.ports import free_port
from tests.support.processes import Server
from tests.support.tokens import ISSUER, SECRET, identity_provider, jwk, rsa_key, token

METRICS = "performance_metrics"


@pytest.fixture
async def guarded() -> AsyncIterator[Server]:
    """A server that asks for tokens."""
    async with shown_server(
        auth="jwt", jwt_secret=SECRET, jwt_leeway="0", metrics_interval="0.2"
    ) as running:
        yield running


async def shorten(client: JsClient, *roles: str) -> float:
    """Have a session end soon; returns when."""
    reply = None
    for lasts in (2, 10, 30):
        ends = time.time() + lasts
        # Where that took so long that it has ended by now, all is as it was.
        reply = await client.ask("authenticate", {"token": token("alice", *roles, exp=ends)})
        if "user" in reply:
            return ends
    raise AssertionError(reply)


async def test_a_client_is_told_why_it_is_refused(guarded: Server, crowd: Crowd, way: Way) -> None:
    for text, code in (("", "unauthorized"), ("nonsense", "unauthorized")):
        client = await crowd.begin(guarded.url, way, reconnection=True, token=text)
        message, data = await client.hear("connect_error")
        assert message
        assert data == {"type": "connect_error", "code": code, "message": message}
    client = await crowd.begin(guarded.url, way, reconnection=True, token=token(lasts=-1))
    _, data = await client.hear("connect_error")
    assert data["code"] == "token_expired"
    # With a fresh one it gets in.
    await client.tell("reconnect", auth={"token": token()})
    await client.event("connected")


async def test_the_end_of_a_token_is_the_end_of_a_session(
    guarded: Server, crowd: Crowd, way: Way
) -> None:
    client = await crowd.connect(guarded.url, way, reconnection=True, token=token())
    await shorten(client)
    _, error = await client.hear("event", lambda what: what[1].get("type") == "session_error")
    assert error["code"] == "token_expired"
    # A JavaScript client does not come back by itself after this one.
    assert await client.hear("disconnect") == ("io server disconnect",)
    heard = len(client.heard)
    await client.tell("reconnect", auth={"token": token()})
    await client.event("connected", heard)


async def test_a_fresh_token_keeps_a_client_connected(
    guarded: Server, crowd: Crowd, way: Way
) -> None:
    client = await crowd.connect(guarded.url, way, token=token())
    ends = await shorten(client)
    reply = await client.ask("authenticate", {"token": token("alice", "ops")})
    assert (reply["user"], reply["roles"]) == ("alice", ["ops"])
    await client.subscribe("stock_update_AAPL", METRICS)
    await client.until(
        lambda: any(each[0]["timestamp"] > 1_000 * (ends + 0.2) for each in client.events(METRICS)),
        "measurements after the end of the first token",
    )
    assert "disconnect" not in client.kinds()
    # Without the role there are no more of them, and prices go on.
    await client.ask("authenticate", {"token": token("alice", "user")})
    assert await client.event("unsubscribed") == {"events": [METRICS]}
    measured = len(client.events(METRICS))
    await client.updates_of("AAPL", len(client.updates("AAPL")) + 5)
    assert len(client.events(METRICS)) == measured


async def test_measurements_are_not_for_everybody(guarded: Server, crowd: Crowd, way: Way) -> None:
    client = await crowd.connect(guarded.url, way, token=token("alice"))
    reply = await client.subscribe(METRICS, "stock_update_AAPL")
    assert reply["events"] == ["stock_update_AAPL"]
    assert reply["rejected"][0]["code"] == "forbidden"
    operator = await crowd.connect(guarded.url, way, token=token("bob", "ops"))
    await operator.subscribe(METRICS)
    await operator.event(METRICS)
    assert client.events(METRICS) == []


# Newest with WebSocket, oldest with polling: each waits for ten seconds.
@pytest.mark.parametrize("way", [WAYS[0], WAYS[-1]], ids=str)
async def test_a_client_comes_back_by_itself_once_the_keys_are_known(
    crowd: Crowd, way: Way
) -> None:
    port = free_port()
    text = token("alice", key=rsa_key(), algorithm="RS256", header={"kid": "a"}, iss=ISSUER)
    keys = f"http://127.0.0.1:{port}/keys"
    async with shown_server(auth="jwt", jwt_jwks_url=keys, jwt_issuer=ISSUER) as server:
        client = await crowd.begin(server.url, way, reconnection=True, token=text)
        await client.hear("disconnect")
        assert "connected" not in client.kinds()
        async with identity_provider(port) as provider:
            provider.answer = {"keys": [jwk(rsa_key(), "a")]}
            await client.event("connected")
            assert "connect_error" not in client.kinds()
