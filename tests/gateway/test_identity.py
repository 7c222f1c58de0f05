"""Who is let in, to what, and for how long."""

import asyncio
import contextlib
import json
import logging
import time
from typing import Any

import pytest

from stockstream.errors import ConfigError
from tests.gateway.identities import ALERTS, METRICS, NONSENSE, bearer, cookie, refusal
from tests.gateway.nodes import Client, Running, running, until
from tests.support.ports import free_port
from tests.support.tokens import ISSUER, SECRET, identity_provider, jwk, rsa_key, token
from tests.support.wire_client import ClosedByServer, Socket

# --- Socket.IO ----------------------------------------------------------------------------------


async def shorten(client: Client) -> None:
    """Have a session end soon."""
    for lasts in (0.2, 2, 10):
        # Where that took so long that it has ended by now, all is as it was.
        fresh = token(exp=time.time() + lasts)
        if "user" in await client.ask("authenticate", {"token": fresh}):
            return
    raise AssertionError("this machine is too slow")


async def test_a_client_without_a_token_is_told_why_it_is_refused(guarded: Running) -> None:
    async with guarded.opened() as socket:
        for auth in (None, {}, {"token": None}, {"tokens": token()}):
            data = await refusal(socket, auth)
            assert data["code"] == "unauthorized"
        assert guarded.node.gateway.connection_count == 0


@pytest.mark.parametrize("text", ["", NONSENSE, 7, ["a"], {}, True, "\ud800", "x" * 10_000])
async def test_a_client_with_a_wrong_token_is_refused(guarded: Running, text: object) -> None:
    async with guarded.opened() as socket:
        assert (await refusal(socket, {"token": text}))["code"] == "unauthorized"


async def test_a_client_with_a_token_of_yesterday_is_told_so(guarded: Running) -> None:
    async with guarded.opened() as socket:
        data = await refusal(socket, {"token": token(lasts=-1)})
        assert data["code"] == "token_expired"
        # On the same connection it may try again.
        await socket.connect(auth=json.dumps({"token": token()}))


async def test_a_client_may_give_its_token_in_a_header(guarded: Running) -> None:
    async with guarded.opened(bearer(token("bob"))) as socket:
        await socket.connect()
        (client,) = guarded.node.gateway._clients.values()
        assert client.identity.user == "bob"
    async with guarded.opened({"Authorization": "Basic YTpi"}) as socket:
        assert "Bearer" in (await refusal(socket))["message"]


async def test_no_cookie_and_no_address_lets_a_client_in(guarded: Running) -> None:
    async with guarded.opened(cookie(token())) as socket:
        assert (await refusal(socket))["code"] == "unauthorized"
    query = f"?EIO=4&transport=websocket&token={token()}"
    async with guarded.http.ws_connect(f"{guarded.url}/socket.io/{query}") as websocket:
        await websocket.receive()
        assert (await refusal(Socket(websocket)))["code"] == "unauthorized"


async def test_measurements_need_the_role_ops(guarded: Running) -> None:
    async with guarded.client({"token": token("alice", "user")}) as client:
        assert not {METRICS, ALERTS} & set(client.welcome["availableEvents"])
        reply = await client.ask("subscribe", {"events": [METRICS, "stock_update_AAPL", ALERTS]})
        assert reply["events"] == ["stock_update_AAPL"]
        assert [(each["event"], each["code"]) for each in reply["rejected"]] == [
            (METRICS, "forbidden"),
            (ALERTS, "forbidden"),
        ]
        assert set(guarded.node.gateway.get_subscription_stats()) == {"stock_update_AAPL"}
    async with guarded.client({"token": token("bob", "ops")}) as client:
        assert {METRICS, ALERTS} < set(client.welcome["availableEvents"])
        reply = await client.ask("subscribe", {"events": [METRICS, ALERTS]})
        assert reply == {"events": [METRICS, ALERTS]}


async def test_private_rooms_can_not_be_subscribed_to(guarded: Running) -> None:
    async with (
        guarded.client({"token": token("alice")}) as client,
        guarded.client({"token": token("eve", "user", "ops", "feed")}) as eve,
    ):
        rooms = [client.id, "alice", "user:alice", f"user_{client.id}", "/"]
        reply = await eve.ask("subscribe", {"events": rooms})
        assert reply["events"] == []
        assert {each["code"] for each in reply["rejected"]} == {"unknown_event"}
        for event in ("join", "join_room", "enter_room", "authenticated"):
            assert (await eve.ask(event, client.id))["code"] == "unknown_event"


async def test_a_session_ends_with_its_token(guarded: Running) -> None:
    async with guarded.client({"token": token()}) as client:
        await shorten(client)
        while (error := await client.event("error"))["type"] != "session_error":
            pass
        assert error["code"] == "token_expired"
        # The namespace is left: a JavaScript client does not come back with the same token.
        assert await client._socket.receive_text() == "41"
        assert guarded.node.gateway.connection_count == 0
        assert guarded.node.recovery.waiting == 0
        assert guarded.node.expiry.ended == 1
        # With a fresh one it does, on the same connection.
        await client._socket.connect(auth=json.dumps({"token": token()}))


async def test_a_fresh_token_prolongs_a_session(guarded: Running) -> None:
    fresh = int(time.time()) + 7_200
    async with guarded.client({"token": token()}) as client:
        reply = await client.ask("authenticate", {"token": token("alice", "ops", exp=fresh)})
        assert reply == {"user": "alice", "roles": ["ops"], "expiresAt": fresh * 1000}
        assert client.payloads("authenticated") == [reply]
        assert (await client.ask("subscribe", {"events": [METRICS]}))["events"] == [METRICS]
        due, _ = guarded.node.expiry._sessions[client.id]
        assert due == fresh * 1000


async def test_a_session_stays_as_it_is_where_a_fresh_token_is_refused(guarded: Running) -> None:
    async with guarded.client({"token": token("alice", "ops")}) as client:
        for payload, code in (
            ({"token": token("bob", "ops")}, "forbidden"),
            ({"token": token("alice", lasts=-1)}, "token_expired"),
            ({"token": NONSENSE}, "unauthorized"),
            ({"token": 7}, "invalid_payload"),
            ({}, "invalid_payload"),
            (None, "invalid_payload"),
        ):
            error = await client.ask("authenticate", payload)
            assert (error["type"], error["code"]) == ("authenticate_error", code)
        assert (await client.ask("subscribe", {"events": [METRICS]}))["events"] == [METRICS]
        (held,) = guarded.node.gateway._clients.values()
        assert held.identity.user == "alice"


async def test_subscriptions_end_with_the_role_that_they_need(guarded: Running) -> None:
    async with guarded.client({"token": token("alice", "ops")}) as client:
        await client.ask("subscribe", {"events": [METRICS, "stock_update_AAPL", ALERTS]})
        reply = await client.ask("authenticate", {"token": token("alice", "user")})
        assert reply["roles"] == ["user"]
        ended = await client.event("unsubscribed")
        assert sorted(ended["events"]) == [ALERTS, METRICS]
        assert set(guarded.node.gateway.get_subscription_stats()) == {"stock_update_AAPL"}


async def test_where_nobody_is_asked_any_token_will_do() -> None:
    async with running() as node, node.client({"token": "whatever"}) as client:
        reply = await client.ask("authenticate", {"token": "whatever"})
        assert reply == {"user": "local", "roles": ["feed", "ops", "user"]}
        assert (await client.ask("subscribe", {"events": [METRICS]}))["events"] == [METRICS]
        assert (await node.get("/api/stats"))[0] == 200


# --- coming back --------------------------------------------------------------------------------


async def lost(node: Running, auth: dict[str, str], *events: str) -> tuple[str, str, str]:
    """Lose a client's connection; returns its id, its private id, and its mark."""
    async with node.opened() as socket:
        await socket.send("40" + json.dumps(auth))
        session = json.loads((await socket.receive_text())[2:])
        _, _, mark = json.loads((await socket.receive_text())[2:])
        client = Client(socket)
        await client.ask("subscribe", {"events": list(events)})
    await until(lambda: node.node.recovery.waiting == 1)
    return session["sid"], session["pid"], mark


async def come_back(node: Running, auth: dict[str, str]) -> dict[str, str]:
    """Claim a session; returns the one that is given."""
    async with node.opened() as socket:
        await socket.send("40" + json.dumps(auth))
        packet = await socket.receive_text()
        assert packet.startswith("40"), packet
        session: dict[str, str] = json.loads(packet[2:])
        await Client(socket).event("connected")
        if session["sid"] in node.node.gateway._clients:
            client = node.node.gateway._clients[session["sid"]]
            session["events"] = ",".join(sorted(client.floors))
        return session


async def test_a_session_is_given_back_to_its_own_user_only(guarded: Running) -> None:
    sid, pid, mark = await lost(guarded, {"token": token("alice")}, "stock_update_AAPL")
    claim = {"pid": pid, "offset": mark}
    eve = await come_back(guarded, {"token": token("eve", "ops"), **claim})
    assert eve["sid"] != sid
    assert eve["events"] == ""
    async with guarded.opened() as socket:
        assert (await refusal(socket, claim))["code"] == "unauthorized"
        expired = {"token": token("alice", lasts=-1), **claim}
        assert (await refusal(socket, expired))["code"] == "token_expired"
    # All that took nothing from its owner.
    alice = await come_back(guarded, {"token": token("alice"), **claim})
    assert alice == {"sid": sid, "pid": pid, "events": "stock_update_AAPL"}


async def test_nobody_else_breaks_a_connection_by_its_private_id(guarded: Running) -> None:
    async with guarded.opened() as socket:
        await socket.send("40" + json.dumps({"token": token("alice")}))
        session = json.loads((await socket.receive_text())[2:])
        client = Client(socket)
        await client.event("connected")
        eve = {"token": token("eve"), "pid": session["pid"], "offset": "x"}
        assert (await come_back(guarded, eve))["sid"] != session["sid"]
        await client.ask("subscribe", {"events": ["stock_update_AAPL"]})


async def test_what_a_role_allowed_is_not_given_back_without_it(guarded: Running) -> None:
    events = (METRICS, "stock_update_AAPL")
    sid, pid, mark = await lost(guarded, {"token": token("alice", "ops")}, *events)
    claim = {"pid": pid, "offset": mark}
    alice = await come_back(guarded, {"token": token("alice", "user"), **claim})
    assert (alice["sid"], alice["events"]) == (sid, "stock_update_AAPL")


# --- those who try again and again ----------------------------------------------------------------


async def test_an_address_whose_tokens_are_refused_is_not_listened_to_for_a_while(
    guarded: Running,
) -> None:
    statuses: list[int] = []
    while statuses.count(429) < 5:
        status, _ = await guarded.get("/api/stats", headers=bearer(NONSENSE))
        statuses.append(status)
    assert statuses.count(401) >= 100
    # A JavaScript client that is refused would stay away for good: its connection ends instead.
    async with guarded.opened() as socket:
        with contextlib.suppress(ClosedByServer):
            while True:
                await refusal(socket, {"token": NONSENSE})
    # Whoever has a token gets in soon.
    while (await guarded.get("/api/stats", headers=bearer(token("bob", "ops"))))[0] != 200:
        await asyncio.sleep(0)


async def test_tokens_that_were_right_once_are_not_held_against_an_address(
    guarded: Running,
) -> None:
    headers = bearer(token(lasts=-1))
    for _ in range(150):
        assert (await guarded.get("/api/stats", headers=headers))[1]["code"] == "token_expired"


async def test_no_token_is_logged(guarded: Running, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    texts = [token("alice", "ops"), NONSENSE, token("alice", lasts=-1)]
    for text in texts:
        await guarded.get("/api/stats", headers=bearer(text))
        async with guarded.opened() as socket:
            await socket.send("40" + json.dumps({"token": text}))
            await socket.receive_text()
    async with guarded.client({"token": texts[0]}) as client:
        for text in texts:
            await client.ask("authenticate", {"token": text})
    for text in (*texts, SECRET):
        assert text not in caplog.text


# --- an identity provider -------------------------------------------------------------------------


async def test_keys_of_an_identity_provider_let_clients_in() -> None:
    async with identity_provider() as provider:
        provider.answer = {"keys": [jwk(rsa_key(0), "a"), jwk(rsa_key(1), "b")]}
        async with running(auth="jwt", jwt_jwks_url=provider.url, jwt_issuer=ISSUER) as node:
            for number, kid in enumerate("ab"):
                text = token(
                    key=rsa_key(number), algorithm="RS256", header={"kid": kid}, iss=ISSUER
                )
                async with node.client({"token": text}):
                    pass
            _, body = await node.get("/readyz")
            assert body["dependencies"]["identity_provider"]["ready"]


async def test_clients_come_back_by_themselves_while_the_keys_are_not_known() -> None:
    url = f"http://127.0.0.1:{free_port()}/keys"
    async with running(auth="jwt", jwt_jwks_url=url, jwt_issuer=ISSUER) as node:
        text = token(key=rsa_key(), algorithm="RS256", header={"kid": "a"}, iss=ISSUER)
        async with node.opened() as socket:
            await socket.send("40" + json.dumps({"token": text}))
            # Neither an answer to CONNECT nor a DISCONNECT, after which a client stays away.
            assert await socket.until_closed() in ([], ["1"])
        status, body = await node.get("/api/stats", headers=bearer(text))
        assert (status, body["code"]) == (503, "unavailable")
        status, body = await node.get("/readyz")
        assert status == 200
        assert not body["dependencies"]["identity_provider"]["ready"]


# --- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"auth": "jwt"}, "AUTH"),
        ({"jwt_secret": SECRET}, "AUTH"),
        ({"jwt_key_file": "k.pem"}, "AUTH"),
        ({"auth": "jwt", "jwt_secret": SECRET, "jwt_key_file": "k.pem"}, "JWT_KEY_FILE"),
        ({"auth": "jwt", "jwt_key_file": "/nowhere/k.pem"}, "JWT_KEY_FILE"),
        ({"auth": "jwt", "jwt_key_file": __file__}, "JWT_KEY_FILE"),
        ({"auth": "jwt", "jwt_secret": "x" * 31}, "JWT_SECRET"),
        ({"auth": "jwt", "jwt_jwks_url": "file:///k", "jwt_issuer": ISSUER}, "JWT_JWKS_URL"),
        ({"auth": "jwt", "jwt_jwks_url": "https://id.example.com/keys"}, "JWT_ISSUER"),
    ],
)
async def test_settings_that_contradict_each_other_end_the_start(
    values: dict[str, Any], named: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        async with running(**values):
            pass
    assert caught.value.name == named
    assert SECRET not in str(caught.value)
