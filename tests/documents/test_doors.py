"""Documents over HTTP and Socket.IO, from a node with a database of its own."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from structlog.testing import capture_logs

from stockstream.errors import StoreUnavailableError
from stockstream.model.identity import Identity, UserRole
from stockstream.services import sync as sync_service
from tests.gateway.nodes import Client, Running, running
from tests.support.event_stream import event_stream

NEWS = {"events": ["document_changed"]}


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Running]:
    # The task of a fixture's end is another one than that of its beginning.
    url = f"sqlite:///{tmp_path / 'documents.db'}"
    async with running(alone=False, database_url=url) as node:
        yield node


async def post(node: Running, payload: Any) -> tuple[int, Any]:
    """Return status and answer of ``POST /api/sync``; text goes as it is."""
    body = (payload if isinstance(payload, str) else json.dumps(payload)).encode()
    async with node.http.post(node.url + "/api/sync", data=BytesIO(body)) as response:
        return response.status, await response.json()


def item(item_id: str, data: Any = None, **fields: Any) -> dict[str, Any]:
    return {"id": item_id, "type": "note", "data": data or {}, "timestamp": 1, **fields}


async def documents(node: Running, query: str = "") -> dict[str, Any]:
    """Return what each document holds, by id."""
    status, page = await node.get(f"/api/sync{query}")
    assert status == 200
    return {each["documentId"]: each.get("data") for each in page["documents"]}


async def test_a_documented_item_is_a_document_of_its_own(node: Running) -> None:
    sent = {"id": "offline_1", "type": "watchlist", "data": {"symbols": ["AAPL"]}, "timestamp": 1}
    status, result = await post(node, sent)
    assert status == 200
    assert result["success"] is True
    assert (result["status"], result["documentId"]) == ("applied", "offline_1")
    assert result["version"]["version"] == 1
    assert result["version"]["author"] == "local"
    assert "data" not in result
    assert await documents(node) == {"offline_1": {"symbols": ["AAPL"]}}


async def test_each_item_of_a_batch_has_its_own_result(node: Running) -> None:
    items = [item("a"), item("b", type="Note"), {"id": "c"}, item("d"), item("a")]
    status, answer = await post(node, {"items": items})
    assert status == 200
    assert answer["success"] is False
    statuses = [each["status"] for each in answer["results"]]
    assert statuses == ["applied", "refused", "refused", "applied", "duplicate"]
    assert [each["id"] for each in answer["results"]] == ["a", "b", "c", "d", "a"]
    assert answer["results"][1]["error"]["message"].startswith("type: ")
    assert set(await documents(node)) == {"a", "d"}


async def test_a_conflict_is_answered_409_and_waits(node: Running) -> None:
    await post(node, item("one", {"a": 1}, documentId="d"))
    await post(node, item("two", {"a": 2}, documentId="d", baseVersion=1))
    mine = item("three", {"a": 3}, documentId="d", baseVersion=1, strategy="manual")
    status, answer = await post(node, mine)
    assert status == 409
    assert (answer["type"], answer["code"]) == ("sync_error", "conflict")
    conflict = answer["conflict"]
    assert conflict["conflictingFields"] == ["a"]
    assert (conflict["clientData"], conflict["serverData"]) == ({"a": 3}, {"a": 2})
    assert conflict["requiresUserAction"] is True
    assert (await node.get("/api/sync/conflicts"))[1] == {"conflicts": [conflict]}
    decided = item("four", {"a": 4}, documentId="d", resolves=conflict["conflictId"])
    assert (await post(node, decided))[0] == 200
    assert (await node.get("/api/sync/conflicts"))[1] == {"conflicts": []}


async def test_what_differs_from_what_was_sent_is_told(node: Running) -> None:
    await post(node, item("one", {"a": 1, "b": [1]}, documentId="d"))
    await post(node, item("two", {"a": 2, "b": [2]}, documentId="d", baseVersion=1))
    _, result = await post(
        node, item("three", {"a": 3, "b": [3], "c": 1}, documentId="d", baseVersion=1)
    )
    assert result["status"] == "merged"
    assert result["data"] == {"a": 2, "b": [2, 3], "c": 1}
    assert result["unmerged"] == [{"path": "/a", "client": 3, "server": 2}]


async def test_pages_and_cursors_bring_a_device_up_to_date(node: Running) -> None:
    await post(node, {"items": [item(f"i{n}", {"n": n}) for n in range(5)]})
    seen: dict[str, Any] = {}
    query = "?limit=2"
    while True:
        _, page = await node.get(f"/api/sync{query}")
        seen |= {each["documentId"]: each["data"]["n"] for each in page["documents"]}
        query = f"?limit=2&since={page['cursor']}"
        if not page["more"]:
            break
    assert seen == {f"i{n}": n for n in range(5)}
    await post(node, {"id": "x", "documentId": "i3", "type": "note", "deleted": True})
    _, page = await node.get(f"/api/sync{query}")
    [tombstone] = page["documents"]
    assert (tombstone["documentId"], tombstone["deleted"]) == ("i3", True)
    assert "data" not in tombstone


async def test_a_history_tells_versions_and_what_was_sent(node: Running) -> None:
    await post(node, item("one", {"a": 1}, documentId="d"))
    await post(node, item("two", {"a": 2}, documentId="d", baseVersion=1))
    await post(node, item("three", {"a": 1, "b": 1}, documentId="d", baseVersion=1))
    status, history = await node.get("/api/sync/history/note/d")
    assert status == 200
    assert [each["itemId"] for each in history["versions"]] == ["three", "two", "one"]
    assert history["versions"][0]["data"] == {"a": 2, "b": 1}
    assert [each["data"] for each in history["sent"]] == [{"a": 1, "b": 1}]
    assert (await node.get("/api/sync/history/note/none"))[0] == 404


REFUSED = {
    "not JSON": ("{", 400, "body"),
    "NaN": ('{"id": "i", "type": "note", "data": {"a": NaN}}', 400, "body"),
    "too large a number": ('{"id": "i", "type": "note", "data": {"a": 1e999}}', 400, "data"),
    "half a character": ('{"id": "i", "type": "note", "data": {"a": "\\ud800"}}', 400, "body"),
    "deep": (json.dumps(item("i", {"a": json.loads("[" * 80 + "]" * 80)})), 400, "data"),
    "very deep": ('{"id": "i", "type": "note", "data": ' + '{"a":' * 50_000, 400, "body"),
    "no object": ("7", 400, "body"),
    "no id": (
        json.dumps({"type": "note", "data": {}}),
        400,
        "payload: object missing required field `id`",
    ),
    "an empty id": (json.dumps(item("")), 400, "id"),
    "a long id": (json.dumps(item("i" * 129)), 400, "id"),
    "a control character": (json.dumps(item("i\n")), 400, "id"),
    "an id that no document has": (json.dumps(item("a/b")), 400, "id"),
    "a document's id": (json.dumps(item("i", documentId="a b")), 400, "documentId"),
    "a document's id and a newline": (json.dumps(item("i", documentId="a\n")), 400, "documentId"),
    "a type": (json.dumps(item("i", type="../x")), 400, "type"),
    "no data": (json.dumps({"id": "i", "type": "note"}), 400, "data"),
    "data that is a list": (json.dumps(item("i", [1])), 400, "data"),
    "data of a deletion": (json.dumps(item("i", {"a": 1}, deleted=True)), 400, "data"),
    "64 KB": (json.dumps(item("i", {"a": "x" * 65_536})), 413, "data"),
    "a negative version": (json.dumps(item("i", baseVersion=-1)), 400, "baseVersion"),
    "half a version": (json.dumps(item("i", baseVersion=1.5)), 400, "baseVersion"),
    "a version from the future": (json.dumps(item("i", baseVersion=1)), 400, "baseVersion"),
    "a strategy": (json.dumps(item("i", strategy="mine")), 400, "strategy"),
    "a forged conflict": (json.dumps(item("i", resolves="c")), 400, "resolves"),
    "no items": ('{"items": []}', 400, "items"),
    "101 items": (json.dumps({"items": [item(f"i{n}") for n in range(101)]}), 400, "items"),
    "items that are none": ('{"items": [7]}', 400, "items[0]"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_bad_input_is_refused_with_its_field_and_changes_nothing(
    node: Running, name: str
) -> None:
    body, expected, field = REFUSED[name]
    with capture_logs() as logs:
        status, answer = await post(node, body)
    assert status == expected
    assert answer["type"] == "sync_error"
    assert answer["message"].startswith(f"{field}"), answer["message"]
    assert not [each for each in logs if each["log_level"] in ("warning", "error")]
    assert await documents(node) == {}


async def test_a_body_of_10_mb_is_refused_at_once(node: Running) -> None:
    status, answer = await post(node, json.dumps(item("i", {"a": "x" * 10_000_000})))
    assert (status, answer["code"]) == (413, "too_large")
    assert await documents(node) == {}


@pytest.mark.parametrize(
    "query",
    [
        "since=forged",
        "since=-.0.00000000",
        "limit=0",
        "limit=x",
        "type=Note",
        "colour=red",
    ],
)
async def test_wrong_questions_are_refused(node: Running, query: str) -> None:
    status, answer = await node.get(f"/api/sync?{query}")
    assert (status, answer["code"]) == (400, "invalid_payload")
    assert query.split("=", maxsplit=1)[0] in answer["message"]


async def test_a_cursor_of_one_type_does_not_stand_for_all(node: Running) -> None:
    _, page = await node.get("/api/sync?type=note")
    assert (await node.get(f"/api/sync?type=note&since={page['cursor']}"))[0] == 200
    assert (await node.get(f"/api/sync?since={page['cursor']}"))[0] == 400


async def test_more_changes_a_second_than_a_user_may_make_are_refused(tmp_path: Path) -> None:
    database_url = f"sqlite:///{tmp_path / 'documents.db'}"
    async with running(database_url=database_url, max_syncs_per_second=0.1) as node:
        batches = [{"items": [item(f"{n}-{i}") for i in range(60)]} for n in range(2)]
        assert (await post(node, batches[0]))[0] == 200
        for _ in range(2):
            status, answer = await post(node, batches[1])
            assert (status, answer["code"]) == (429, "rate_limited")
        # What was refused has cost nothing: fewer changes still pass.
        assert (await post(node, item("one")))[0] == 200
        assert set(await documents(node)) == {"one", *(f"0-{i}" for i in range(60))}


async def test_a_store_that_is_gone_acknowledges_nothing(node: Running) -> None:
    gone = StoreUnavailableError("sqlite", "disk I/O error")
    with patch.object(node.node.documents.store, "apply", side_effect=gone):
        status, answer = await post(node, item("one"))
        assert (status, answer["code"]) == (503, "unavailable")
    with patch.object(node.node.documents.store, "ping", side_effect=gone):
        await documents(node)
        _, readiness = await node.get("/readyz")
        assert readiness["dependencies"]["documents"]["ready"] is False
        assert readiness["status"] == "ready"
    assert (await post(node, item("one")))[1]["status"] == "applied"


async def test_a_place_that_cannot_be_written_to_is_named_and_tried_again(tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.touch()
    async with running(database_url=f"sqlite:///{place}/documents.db") as node:
        assert (await post(node, item("one")))[0] == 503
        place.unlink()
        with patch("stockstream.storage.documents.database._REST", 0.0):
            assert (await post(node, item("one")))[0] == 200


async def test_documents_survive_a_restart(tmp_path: Path) -> None:
    database_url = f"sqlite:///{tmp_path / 'new' / 'documents.db'}"
    async with running(database_url=database_url) as node:
        await post(node, item("one", {"a": 1}))
    async with running(database_url=database_url) as node:
        assert (await post(node, item("one", {"a": 1})))[1]["status"] == "duplicate"
        assert await documents(node) == {"one": {"a": 1}}


async def test_nothing_is_opened_before_somebody_needs_it(tmp_path: Path) -> None:
    file = tmp_path / "documents.db"
    async with running(database_url=f"sqlite:///{file}") as node:
        _, readiness = await node.get("/readyz")
        assert readiness["dependencies"]["documents"]["state"] == "not used yet"
    assert not file.exists()


async def test_the_file_is_for_nobody_else_to_read(node: Running, tmp_path: Path) -> None:
    await post(node, item("one"))
    assert (tmp_path / "documents.db").stat().st_mode & 0o077 == 0


async def test_settings_say_what_decides_where_an_item_does_not(tmp_path: Path) -> None:
    async with running(
        database_url=f"sqlite:///{tmp_path / 'documents.db'}",
        sync_strategy="server_wins",
        sync_strategies=("note=client_wins",),
    ) as node:
        for kind, holds in (("note", {"a": 3}), ("alert", {"a": 2})):
            for number, base in ((1, None), (2, 1), (3, 1)):
                change = item(f"{kind}{number}", {"a": number}, type=kind, documentId="d")
                await post(node, change | ({"baseVersion": base} if base else {}))
            _, history = await node.get(f"/api/sync/history/{kind}/d")
            assert history["versions"][0]["data"] == holds


@asynccontextmanager
async def two_devices(node: Running) -> AsyncIterator[tuple[Client, Client]]:
    async with node.client() as one, node.client() as other:
        for client in (one, other):
            assert (await client.ask("subscribe", NEWS))["events"] == ["document_changed"]
        yield one, other


async def test_every_device_hears_of_a_change_at_once(node: Running) -> None:
    async with two_devices(node) as (one, other):
        result = await one.ask("sync", item("i", {"a": 1}, documentId="d"))
        assert result["status"] == "applied"
        assert await one.event("synced") == result
        for client in (one, other):
            news = await client.event("document_changed")
            assert news["type"] == "document_changed"
            payload = news["payload"]
            assert payload["itemId"] == "i"
            assert (payload["type"], payload["documentId"]) == ("note", "d")
            assert (payload["data"], payload["version"]) == ({"a": 1}, result["version"])
        # What changes nothing is no news.
        await one.ask("sync", item("i", {"a": 1}, documentId="d"))
        await post(node, {"id": "j", "documentId": "d", "type": "note", "deleted": True})
        assert (await other.event("document_changed"))["payload"]["deleted"] is True
        await other.ask("unsubscribe", NEWS)
        await one.ask("sync", item("k", {"a": 2}, documentId="d", baseVersion=2))
        assert (await other.ask("sync_since", {}))["documents"][0]["data"] == {"a": 2}
        assert len(other.payloads("document_changed")) == 2


async def test_socket_requests_answer_as_http_does(node: Running) -> None:
    async with node.client() as client:
        answer = await client.ask("sync", {"items": [item("a"), item("b", type="X")]})
        assert [each["status"] for each in answer["results"]] == ["applied", "refused"]
        page = await client.ask("sync_since", {"limit": 10})
        assert [each["documentId"] for each in page["documents"]] == ["a"]
        assert (await client.ask("sync_since", {"since": page["cursor"]}))["documents"] == []
        error = await client.ask("sync_since", {"since": "forged"})
        assert (error["type"], error["code"]) == ("sync_since_error", "invalid_payload")
        error = await client.ask("sync", {"items": []})
        assert (error["type"], error["code"]) == ("sync_error", "invalid_payload")
        assert (await client.ask("sync", 7))["status"] == "refused"


async def test_nobody_sees_or_hears_of_another_users_documents(node: Running) -> None:
    bob = Identity(user="bob", roles=frozenset({UserRole.USER}))
    async with two_devices(node) as (ann, other):
        await ann.ask("sync", item("i", {"a": 1}, documentId="d"))
        mine = item("c", {"a": 2}, documentId="d", strategy="manual", baseVersion=0)
        assert (await ann.ask("sync", mine))["status"] == "conflict"
        await other.ask("unsubscribe", NEWS)
        node.node.gateway._clients[other.id].identity = bob
        await other.ask("subscribe", NEWS)
        assert (await other.ask("sync_since", {}))["documents"] == []
        stolen = item("x", {"a": 9}, documentId="d", resolves="c")
        assert (await other.ask("sync", stolen))["error"]["message"].startswith("resolves: ")
        forged = item("y", {"a": 9}, documentId="d", baseVersion=1)
        assert (await other.ask("sync", forged))["error"]["message"].startswith("baseVersion: ")
        own = await other.ask("sync", item("i", {"b": 1}, documentId="d"))
        assert (own["status"], own["version"]["author"]) == ("applied", "bob")
        await ann.ask("sync", item("j", {"a": 3}, documentId="d", baseVersion=1))
        other_heard = [each["payload"]["data"] for each in other.payloads("document_changed")]
        # The first one before it was bob's.
        assert other_heard == [{"a": 1}, {"b": 1}]
        ann_heard = [each["payload"]["itemId"] for each in ann.payloads("document_changed")]
        assert ann_heard == ["i", "j"]
    assert await documents(node) == {"d": {"a": 3}}


async def test_requests_of_one_user_at_once_are_bounded(node: Running) -> None:
    held = asyncio.Event()

    async def hang(*_: object) -> None:
        await held.wait()

    with (
        patch.object(sync_service, "_AT_ONCE", 2),
        patch.object(node.node.documents.store, "conflicts", hang),
    ):
        waiting = [asyncio.create_task(node.get("/api/sync/conflicts")) for _ in range(2)]
        async with asyncio.timeout(10):
            while node.node.documents.sync._under_way["local"] < 2:
                await asyncio.sleep(0.001)
        status, answer = await post(node, item("one"))
        assert (status, answer["code"]) == (429, "rate_limited")
        held.set()
        await asyncio.gather(*waiting)
    assert (await post(node, item("one")))[0] == 200


async def test_what_happens_is_counted(node: Running) -> None:
    await post(node, {"items": [item("a"), item("a"), item("b", type="X")]})
    async with node.http.get(node.url + "/metrics") as response:
        page = await response.text()
    for sample in (
        'stockstream_sync_items_total{status="applied"} 1.0',
        'stockstream_sync_items_total{status="duplicate"} 1.0',
        'stockstream_sync_items_total{status="refused"} 1.0',
        "stockstream_sync_latency_seconds_count 1.0",
    ):
        assert sample in page


async def test_an_event_stream_tells_of_documents_as_well(node: Running) -> None:
    async with event_stream(node.url, "events=document_changed") as stream:
        await stream.event("subscribed")
        await post(node, item("i", {"a": 1}, documentId="d"))
        news = await stream.event("document_changed")
        assert news["payload"]["itemId"] == "i"
