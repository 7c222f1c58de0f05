"""Devices of one user that are connected to different nodes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from stockstream.gateway.shared_news import SharedNews
from tests.documents.test_doors import NEWS, item
from tests.gateway.nodes import Client, Running, running
from tests.support.processes import wait_until
from tests.support.redis_server import running_redis


@asynccontextmanager
async def two_nodes(redis_url: str, database_url: str) -> AsyncIterator[tuple[Running, Running]]:
    common: dict[str, Any] = {"redis_url": redis_url, "database_url": database_url}
    async with (
        running(alone=False, node_id="one", **common) as one,
        running(alone=False, node_id="two", **common) as two,
    ):
        yield one, two


@asynccontextmanager
async def listening(node: Running) -> AsyncIterator[Client]:
    async with node.client() as client:
        await client.ask("subscribe", NEWS)
        yield client


def sent(node: Running) -> int:
    return news_of(node).sent


def news_of(node: Running) -> SharedNews:
    assert node.node.cluster is not None
    return node.node.cluster.news


async def test_a_device_hears_of_a_change_whichever_node_it_is_on(
    redis_url: str, database_url: str
) -> None:
    async with (
        two_nodes(redis_url, database_url) as (one, two),
        listening(one) as near,
        listening(two) as far,
    ):
        result = await near.ask("sync", item("i", {"a": 1}, documentId="d"))
        heard = [(await each.event("document_changed"))["payload"] for each in (near, far)]
        assert heard[0] == heard[1]
        assert (heard[1]["itemId"], heard[1]["data"]) == ("i", {"a": 1})
        assert heard[1]["version"] == result["version"]
        # The other one goes on from there, and the first hears of that.
        change = item("j", {"a": 2}, documentId="d", baseVersion=1)
        assert (await far.ask("sync", change))["status"] == "applied"
        await near.event("document_changed")
        # Once each: a node does not hear itself.
        assert [each["payload"]["itemId"] for each in near.payloads("document_changed")] == [
            *("i", "j")
        ]


async def test_nodes_that_were_told_of_no_database_refuse_documents(redis_url: str) -> None:
    async with running(alone=False, redis_url=redis_url) as node:
        for path in ("/api/sync", "/api/sync/conflicts"):
            status, answer = await node.get(path)
            assert (status, answer["code"]) == (503, "unavailable")
        _, readiness = await node.get("/readyz")
        assert readiness["dependencies"]["documents"]["ready"] is False
        assert "DATABASE_URL" in readiness["dependencies"]["documents"]["state"]


async def test_news_wait_while_redis_is_gone_the_newest_of_each_document(
    database_url: str,
) -> None:
    with running_redis() as redis:
        async with (
            two_nodes(redis.url, database_url) as (one, two),
            listening(one) as near,
            listening(two) as far,
        ):
            redis.stop()
            for version in range(3):
                change = item(f"i{version}", {"a": version}, documentId="d", baseVersion=version)
                assert (await near.ask("sync", change))["status"] == "applied"
            assert sent(one) == 0
            redis.start()
            await wait_until(lambda: sent(one), "news to be passed on")
            assert sent(one) == 1
            # Whether it was heard depends on when the other node's connection came back; the
            # device finds it by its cursor at the latest.
            page = await far.ask("sync_since", {})
            assert [each["data"] for each in page["documents"]] == [{"a": 2}]


@pytest.mark.parametrize("message", [b"", b"7", b'["other", "local", {}]', b'["o", "local", 7]'])
async def test_what_is_no_news_is_counted_and_tells_nobody(
    redis_url: str, database_url: str, message: bytes
) -> None:
    async with two_nodes(redis_url, database_url) as (one, _), listening(one) as client:
        news_of(one).hear(message)
        assert news_of(one).undecodable == 1
        assert client.payloads("document_changed") == []


async def test_an_older_version_that_was_overtaken_is_not_told(
    redis_url: str, database_url: str
) -> None:
    async with two_nodes(redis_url, database_url) as (one, _), listening(one) as client:
        for number in (2, 1, 3):
            news_of(one).hear(message(number))
        while len(client.payloads("document_changed")) < 2:
            await client.event("document_changed")
        heard = [
            each["payload"]["version"]["version"] for each in client.payloads("document_changed")
        ]
        assert heard == [2, 3]


def message(version: int) -> bytes:
    held = {"version": version, "timestamp": 1_700_000_000_000, "author": "local", "checksum": ""}
    payload: dict[str, Any] = {"type": "note", "documentId": "d", "data": {}, "version": held}
    return msgspec.json.encode(["other", "local", {**payload, "itemId": "i"}])
