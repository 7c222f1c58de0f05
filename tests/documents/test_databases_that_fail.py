"""A database that is locked, or gone: nothing is acknowledged, and nothing comes twice."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from unittest.mock import patch

import psycopg

from stockstream.storage.documents import database
from tests.documents.test_doors import documents, item, post
from tests.gateway.nodes import Running, running
from tests.support.postgres_server import running_postgres


@contextmanager
def locked(url: str) -> Iterator[None]:
    """Hold what a change needs, as another program might."""
    if url.startswith("sqlite"):
        path = url.removeprefix("sqlite:///")
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield
    else:
        with psycopg.connect(url) as connection:
            connection.execute("SELECT * FROM document_accounts FOR UPDATE")
            yield


async def test_who_waits_for_a_lock_is_told_in_time_and_may_send_again(database_url: str) -> None:
    async with running(alone=False, database_url=database_url) as node:
        await post(node, item("one", {"n": 1}, documentId="d"))
        change = item("two", {"n": 2}, documentId="d", baseVersion=1)
        with locked(database_url), patch.object(database, "_WITHIN", 0.3):
            status, answer = await post(node, change)
            assert (status, answer["code"]) == (503, "unavailable")
            # Reading waits for nobody.
            assert await documents(node) == {"d": {"n": 1}}
        # What was given up may have happened all the same, once the lock was free.
        status, answer = await post(node, change)
        assert (status, answer["version"]["version"]) == (200, 2)
        assert answer["status"] in ("applied", "duplicate")
        assert await versions(node, "d") == ["two", "one"]


async def test_a_database_that_goes_and_comes_back_is_used_again() -> None:
    with running_postgres() as server:
        async with running(alone=False, database_url=server.new_database()) as node:
            await post(node, item("one", {"n": 1}, documentId="d"))
            server.stop()
            change = item("two", {"n": 2}, documentId="d", baseVersion=1)
            for _ in range(2):
                status, answer = await post(node, change)
                assert (status, answer["code"]) == (503, "unavailable")
            _, readiness = await node.get("/readyz")
            assert readiness["status"] == "ready"
            assert readiness["dependencies"]["documents"]["ready"] is False
            server.start()
            status, answer = await post(node, change)
            assert (status, answer["status"]) == (200, "applied")
            assert await versions(node, "d") == ["two", "one"]
            _, readiness = await node.get("/readyz")
            assert readiness["dependencies"]["documents"]["ready"] is True


async def versions(node: Running, document: str) -> list[str]:
    """Return the items that made the versions of a document, newest first."""
    _, page = await node.get(f"/api/sync/history/note/{document}")
    return [each["itemId"] for each in page["versions"]]
