"""Two users with tokens: each has nothing of the other's, by whichever name he asks."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.documents.test_doors import NEWS, item
from tests.gateway.nodes import Running, running
from tests.support.tokens import SECRET, forged, token


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Running]:
    url = f"sqlite:///{tmp_path / 'documents.db'}"
    async with running(alone=False, auth="jwt", jwt_secret=SECRET, database_url=url) as node:
        yield node


def headers(who: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token(sub=who)}"}


async def post(node: Running, who: dict[str, str], payload: Any) -> tuple[int, Any]:
    async with node.http.post(node.url + "/api/sync", json=payload, headers=who) as response:
        return response.status, await response.json()


async def held(node: Running, who: str) -> dict[str, Any]:
    status, page = await node.get("/api/sync", headers=headers(who))
    assert status == 200
    return {each["documentId"]: each.get("data") for each in page["documents"]}


async def test_names_of_documents_and_changes_are_each_users_own(node: Running) -> None:
    for who in ("ann", "bob"):
        status, result = await post(node, headers(who), item("i", {"of": who}, documentId="d"))
        assert (status, result["status"]) == (200, "applied")
        assert (result["version"]["version"], result["version"]["author"]) == (1, who)
    assert await held(node, "ann") == {"d": {"of": "ann"}}
    assert await held(node, "bob") == {"d": {"of": "bob"}}


async def test_what_another_user_has_is_not_there(node: Running) -> None:
    await post(node, headers("ann"), item("i", {"a": 1}, documentId="d"))
    clash = item("c", {"a": 2}, documentId="d", strategy="manual", baseVersion=0)
    assert (await post(node, headers("ann"), clash))[0] == 409
    _, page = await node.get("/api/sync", headers=headers("ann"))
    bob = headers("bob")
    assert (await node.get(f"/api/sync?since={page['cursor']}", headers=bob))[0] == 400
    assert (await node.get("/api/sync/history/note/d", headers=bob))[0] == 404
    assert (await node.get("/api/sync/conflicts", headers=bob))[1] == {"conflicts": []}
    for theirs in (
        item("x", {"a": 9}, documentId="d", baseVersion=1),
        item("y", {"a": 9}, documentId="d", resolves="c"),
    ):
        status, answer = await post(node, bob, theirs)
        assert (status, answer["code"]) == (400, "invalid_payload")
    assert await held(node, "ann") == {"d": {"a": 1}}
    assert await held(node, "bob") == {}


async def test_only_the_users_own_devices_hear_of_a_change(node: Running) -> None:
    async with (
        node.client({"token": token(sub="ann")}) as ann,
        node.client({"token": token(sub="bob")}) as bob,
    ):
        for client in (ann, bob):
            await client.ask("subscribe", NEWS)
        await ann.ask("sync", item("i", {"a": 1}, documentId="d"))
        await ann.event("document_changed")
        # What is sent to him comes in order: nothing was before this.
        await bob.ask("sync_since", {})
        assert bob.payloads("document_changed") == []


@pytest.mark.parametrize("path", ["", "/conflicts", "/history/note/d"])
async def test_without_a_token_of_ours_nothing_is_told_or_taken(node: Running, path: str) -> None:
    claims = {"sub": "ann", "roles": ["user"], "exp": 9_999_999_999}
    for who in ({}, {"Authorization": f"Bearer {forged({'alg': 'none'}, claims)}"}):
        assert (await node.get(f"/api/sync{path}", headers=who))[0] == 401
        assert (await post(node, who, item("i")))[0] == 401
    assert await held(node, "ann") == {}
