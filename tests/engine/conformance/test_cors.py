"""Who may read answers in a browser (Cross-Origin Resource Sharing)."""

import aiohttp
import pytest

from tests.support.target_fixtures import engine_only
from tests.support.target_process import TargetProcess
from tests.support.wire_client import POLLING, ClosedByServer, Endpoint

GOOD = {"Origin": "https://good.example"}
BAD = {"Origin": "https://bad.example"}


@pytest.fixture
def listed(target: TargetProcess) -> Endpoint:
    """Allows https://good.example, with credentials."""
    return Endpoint(target.port("corsList"))


@pytest.fixture
def anybody(target: TargetProcess) -> Endpoint:
    """Allows every origin."""
    return Endpoint(target.port("corsAny"))


async def may_open_websocket(endpoint: Endpoint, headers: dict[str, str]) -> bool:
    try:
        async with endpoint.websocket(headers=headers) as socket:
            return (await socket.receive_text())[0] == "0"
    except (ClosedByServer, aiohttp.ClientError):
        return False


async def test_foreign_origin_is_not_allowed_by_default(ordinary: Endpoint) -> None:
    response = await ordinary.request("GET", POLLING, headers=BAD)
    assert "access-control-allow-origin" not in response.headers


@engine_only("the reference leaves the Origin of a WebSocket to the application")
async def test_websocket_of_a_foreign_origin_is_refused_by_default(ordinary: Endpoint) -> None:
    assert not await may_open_websocket(ordinary, BAD)


@engine_only("the reference leaves the Origin of a WebSocket to the application")
async def test_websocket_of_an_origin_that_is_not_listed_is_refused(listed: Endpoint) -> None:
    assert not await may_open_websocket(listed, BAD)


async def test_same_origin_is_served(ordinary: Endpoint) -> None:
    # "test" is the Host of these requests.
    response = await ordinary.request("GET", POLLING, headers={"Origin": "http://test"})
    assert response.status == 200
    same = {"Origin": f"http://127.0.0.1:{ordinary.port}"}
    assert await may_open_websocket(ordinary, same)


async def test_listed_origin_is_allowed_with_credentials(listed: Endpoint) -> None:
    response = await listed.request("GET", POLLING, headers=GOOD)
    assert response.status == 200
    assert response.headers["access-control-allow-origin"] == "https://good.example"
    assert response.headers["access-control-allow-credentials"] == "true"
    assert "origin" in response.headers["vary"].lower()
    assert await may_open_websocket(listed, GOOD)


async def test_origin_that_is_not_listed_is_not_allowed(listed: Endpoint) -> None:
    response = await listed.request("GET", POLLING, headers=BAD)
    assert response.headers.get("access-control-allow-origin") is None


async def test_any_origin_is_allowed_without_credentials(anybody: Endpoint) -> None:
    response = await anybody.request("GET", POLLING, headers=BAD)
    assert response.status == 200
    assert response.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in response.headers
    assert await may_open_websocket(anybody, BAD)


async def test_answers_to_polls_and_posts_have_the_headers(listed: Endpoint) -> None:
    session = await listed.polling()
    posted = await session.post("40", GOOD)
    polled = await listed.request("GET", session.query, headers=GOOD)
    for response in (posted, polled):
        assert response.status == 200
        assert response.headers["access-control-allow-origin"] == "https://good.example"


async def test_preflight_is_answered_and_opens_no_session(listed: Endpoint) -> None:
    asked = {
        **GOOD,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
    }
    response = await listed.request("OPTIONS", POLLING, headers=asked)
    assert response.status in {200, 204}
    assert response.headers["access-control-allow-origin"] == "https://good.example"
    assert "POST" in response.headers["access-control-allow-methods"]
    assert "content-type" in response.headers["access-control-allow-headers"].lower()
    assert response.body == b""


async def test_preflight_of_another_origin_is_not_allowed(listed: Endpoint) -> None:
    asked = {**BAD, "Access-Control-Request-Method": "POST"}
    response = await listed.request("OPTIONS", POLLING, headers=asked)
    assert response.headers.get("access-control-allow-origin") is None


@pytest.mark.parametrize(
    "origin", ["null", "", "https://", "good.example", "https://good.example."]
)
async def test_what_only_looks_like_a_listed_origin_is_not_allowed(
    listed: Endpoint, origin: str
) -> None:
    response = await listed.request("GET", POLLING, headers={"Origin": origin})
    assert response.headers.get("access-control-allow-origin") is None
