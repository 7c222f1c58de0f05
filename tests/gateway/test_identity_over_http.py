"""Who is let in, to what, and for how long: over HTTP, and in streams of Server-Sent Events."""

from contextlib import AbstractAsyncContextManager

import pytest

from tests.gateway.identities import METRICS, NONSENSE, bearer, cookie
from tests.gateway.nodes import Running, running, until
from tests.support.event_stream import EventStream, event_stream
from tests.support.tokens import SECRET, token


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_health_is_told_to_anybody(guarded: Running, path: str) -> None:
    assert (await guarded.get(path))[0] == 200


async def test_statistics_need_the_role_ops(guarded: Running) -> None:
    for path in ("/api/stats", "/api/stats/clients/nobody"):
        status, body = await guarded.get(path)
        assert (status, body["code"]) == (401, "unauthorized")
        status, body = await guarded.get(path, headers=bearer(NONSENSE))
        assert (status, body["code"]) == (401, "unauthorized")
        status, body = await guarded.get(path, headers=bearer(token(lasts=-1)))
        assert (status, body["code"]) == (401, "token_expired")
        status, body = await guarded.get(path, headers=bearer(token("alice", "user", "feed")))
        assert (status, body["code"]) == (403, "forbidden")
        status, _ = await guarded.get(path, headers=bearer(token("bob", "ops")))
        assert status in {200, 404}
        status, _ = await guarded.get(path, headers=cookie(token("bob", "ops")))
        assert status in {200, 404}


async def test_an_answer_says_how_to_say_who_one_is(guarded: Running) -> None:
    async with guarded.http.get(f"{guarded.url}/api/stats") as response:
        assert response.headers["WWW-Authenticate"].startswith("Bearer")
        assert set(await response.json()) == {"type", "code", "message"}


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Basic YTpi"},
        {"Authorization": "Bearer"},
        {"Authorization": f"Bearer {token('bob', 'ops')}, Bearer {token('bob', 'ops')}"},
        {"Authorization": "Bearer \udce4"},
        {"Authorization": "Basic YTpi", **cookie(token("bob", "ops"))},
    ],
)
async def test_a_header_that_is_none_of_ours_is_refused(
    guarded: Running, headers: dict[str, str]
) -> None:
    status, body = await guarded.get("/api/stats", headers=headers)
    assert (status, body["code"]) == (401, "unauthorized")


async def test_no_token_is_read_from_an_address(guarded: Running) -> None:
    text = token("bob", "ops")
    for name in ("token", "access_token", "stockstream_token"):
        assert (await guarded.get(f"/api/stats?{name}={text}"))[0] == 401


async def test_what_is_not_there_needs_no_token(guarded: Running) -> None:
    assert (await guarded.get("/nothing"))[0] == 404
    assert (await guarded.get("/api/stats", "PUT"))[0] == 405


async def test_metrics_are_open_unless_they_are_not_meant_to_be(guarded: Running) -> None:
    async with guarded.http.get(f"{guarded.url}/metrics") as response:
        assert response.status == 200
    async with running(auth="jwt", jwt_secret=SECRET, metrics_public=False, alone=False) as node:
        assert (await node.get("/metrics"))[0] == 401
        headers = bearer(token("bob", "ops"))
        async with node.http.get(f"{node.url}/metrics", headers=headers) as response:
            page = await response.text()
    assert 'stockstream_tokens_total{outcome="accepted"} 1.0' in page
    assert 'stockstream_tokens_total{outcome="unauthorized"} 1.0' in page


def streaming(
    node: Running, events: str, headers: dict[str, str]
) -> AbstractAsyncContextManager[EventStream]:
    return event_stream(node.url, events, limit=1_000_000, **headers)


async def test_a_stream_is_for_those_who_say_who_they_are(guarded: Running) -> None:
    assert (await guarded.get("/api/stream?events=stock_update_AAPL"))[0] == 401
    events = f"events=stock_update_AAPL,{METRICS}"
    for way in (bearer, cookie):
        async with streaming(guarded, events, way(token("alice"))) as stream:
            await stream.update("AAPL")
            (_, welcome), (_, subscribed), *_ = stream.events
            assert METRICS not in welcome["availableEvents"]
            assert [each["code"] for each in subscribed["rejected"]] == ["forbidden"]
            (client,) = guarded.node.gateway._clients.values()
            assert client.identity.user == "alice"
        await until(lambda: not guarded.node.gateway._clients)
    async with streaming(guarded, events, bearer(token("bob", "ops"))) as stream:
        await stream.update("AAPL")
        assert "rejected" not in stream.events[1][1]


async def test_no_stream_goes_on_with_what_its_roles_do_not_allow(guarded: Running) -> None:
    mark = guarded.node.fanout.marks.now()
    headers = {**bearer(token("alice")), "Last-Event-ID": mark}
    events = f"events=stock_update_AAPL,{METRICS}"
    async with streaming(guarded, events, headers) as stream:
        await stream.update("AAPL")
        assert [each["event"] for each in stream.events[1][1]["rejected"]] == [METRICS]
        assert set(guarded.node.gateway.get_subscription_stats()) == {"stock_update_AAPL"}


async def test_a_stream_ends_with_its_token(guarded: Running) -> None:
    headers = bearer(token("alice"))
    async with streaming(guarded, "events=stock_update_AAPL", headers) as stream:
        await stream.update("AAPL")
        (client,) = guarded.node.gateway._clients.values()
        # Its hour is over.
        guarded.node.expiry.renew(client.id, 0)
        error = await stream.event("error")
        assert (error["type"], error["code"]) == ("session_error", "token_expired")
        await stream.rest()
        assert len(guarded.node.expiry) == 0


async def test_what_a_route_needs_is_described(guarded: Running) -> None:
    _, described = await guarded.get("/api/docs/openapi.json")
    assert set(described["components"]["securitySchemes"]) == {"bearer", "cookie"}
    paths = described["paths"]
    assert paths["/healthz"]["get"]["security"] == []
    for path, methods in paths.items():
        for method, operation in methods.items():
            # What is said to be open is; what is not, is not.
            url = path.format(symbol="AAPL", client_id="a", type="note", documentId="a")
            async with guarded.http.request(method, guarded.url + url) as response:
                closed = operation.get("security") != []
                assert (response.status == 401) == closed, path
                assert not closed or "401" in operation["responses"]
