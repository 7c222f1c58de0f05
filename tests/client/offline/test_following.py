"""What a device learns: others' changes, their conflicts, and another database."""

import asyncio
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from stockstream.client.offline.journal import Journal
from stockstream.client.offline.replica import Delta
from stockstream.client.offline.server import SyncServer
from stockstream.errors import (
    InvalidPayloadError,
)
from tests.client.offline.devices import LIST, NOWHERE, device, server, stored
from tests.support.processes import wait_until


async def test_other_devices_hear_at_once(tmp_path: Path) -> None:
    async with (
        server(tmp_path) as node,
        device(node.url, tmp_path / "one.db") as one,
        device(node.url, tmp_path / "two.db") as two,
    ):
        await one.documents.save(LIST, "main", {"symbols": ["AAPL"]})
        await wait_until(lambda: two.changed, "the news")
        await two.documents.remove(LIST, "main")
        await wait_until(lambda: one.documents.get(LIST, "main") is None, "the deletion")

        assert two.changed[0].data == {"symbols": ["AAPL"]}
        assert two.changed[0].pending is False
        assert one.changed[0].version is None
        # The sender's own change is told once: the server's confirmation changes nothing for him.
        assert [each.data for each in one.changed] == [{"symbols": ["AAPL"]}, None]


async def test_what_comes_while_a_change_waits_to_be_written_down_is_not_undone_by_it(
    tmp_path: Path,
) -> None:
    write, hears, go_on = Journal.write, asyncio.Event(), asyncio.Event()
    async with (
        server(tmp_path) as node,
        device(node.url, tmp_path / "one.db") as one,
        device(node.url, tmp_path / "two.db") as two,
    ):
        await one.documents.save(LIST, "main", {"a": 1, "b": 1})
        await wait_until(lambda: two.documents.get(LIST, "main"), "the news")

        async def slow(journal: Journal, deltas: list[Delta]) -> None:
            if journal is two.documents._book._journal and not hears.is_set():
                hears.set()
                await go_on.wait()
            await write(journal, deltas)

        with patch.object(Journal, "write", slow):
            await one.documents.save(LIST, "main", {"a": 2, "b": 1})
            await hears.wait()
            assert two.documents.get(LIST, "main") == {"a": 1, "b": 1}
            saving = asyncio.create_task(two.documents.save(LIST, "main", {"a": 1, "b": 2}))
            await asyncio.sleep(0)
            go_on.set()
            await saving
        assert two.documents.get(LIST, "main") == {"a": 2, "b": 2}
        assert await two.documents.synced()
        assert await stored(node) == {"main": {"a": 2, "b": 2}}


async def test_what_was_missed_offline_is_caught_up_with_in_pages(tmp_path: Path) -> None:
    async with server(tmp_path) as node:
        async with device(node.url, tmp_path / "one.db", sync_batch_size=100) as one:
            for number in range(150):
                await one.documents.save("note", f"n{number}", {"number": number})
            assert await one.documents.synced()
        async with device(node.url, tmp_path / "two.db") as two:
            await wait_until(lambda: len(two.documents.documents("note")) == 150, "all of them")
            assert two.documents.get("note", "n149") == {"number": 149}


async def test_a_conflict_waits_for_the_user_and_is_decided(tmp_path: Path) -> None:
    async with (
        server(tmp_path, sync_strategy="manual") as node,
        device(node.url, tmp_path / "two.db") as two,
    ):
        async with device(NOWHERE, tmp_path / "one.db") as one:
            await one.documents.save(LIST, "main", {"name": "Mine"})
        await two.documents.save(LIST, "main", {"name": "Yours"})
        assert await two.documents.synced()
        async with device(node.url, tmp_path / "one.db") as one:
            await wait_until(lambda: one.failures, "the conflict")
            [conflict] = one.documents.conflicts()
            assert (conflict.client_data, conflict.server_data) == (
                {"name": "Mine"},
                {"name": "Yours"},
            )
            [failure] = one.failures
            assert (failure.error.given, failure.conflict) == ("conflict", conflict)  # type: ignore[attr-defined]
            # Until then it is as the server has it.
            assert one.documents.get(LIST, "main") == {"name": "Yours"}
            with pytest.raises(InvalidPayloadError, match="conflict_id"):
                await one.documents.resolve("another", {})
            await one.documents.resolve(conflict.conflict_id, {"name": "Ours"})
            assert one.documents.conflicts() == []
            assert await one.documents.synced()
            await wait_until(lambda: two.documents.get(LIST, "main") == {"name": "Ours"}, "it")
            assert (await node.get("/api/sync/conflicts"))[1] == {"conflicts": []}


async def test_conflicts_of_other_devices_are_known_and_decided(tmp_path: Path) -> None:
    async with server(tmp_path, sync_strategy="manual") as node:
        for name in ("one", "two"):
            async with device(NOWHERE, tmp_path / f"{name}.db") as one:
                await one.documents.save(LIST, "main", {"name": name})
        for name in ("one", "two"):
            async with device(node.url, tmp_path / f"{name}.db") as one:
                await one.documents.synced()
        async with device(node.url, tmp_path / "three.db") as three:
            await wait_until(three.documents.conflicts, "the conflict")
            [conflict] = three.documents.conflicts()
            assert conflict.client_data == {"name": "two"}
            async with device(node.url, tmp_path / "two.db") as two:
                await wait_until(two.documents.conflicts, "the conflict")
                await two.documents.resolve(conflict.conflict_id, None)
                assert await two.documents.synced()
            await wait_until(lambda: not three.documents.conflicts(), "the decision")
            assert three.documents.get(LIST, "main") is None


async def test_what_is_confirmed_while_everything_is_read_anew_stays(tmp_path: Path) -> None:
    async with server(tmp_path) as node, device(node.url, tmp_path / "queue.db") as one:
        documents = one.documents
        await documents.save(LIST, "main", {"number": 1})
        assert await documents.synced()
        read, cursors = SyncServer.changed_since, list[str | None]()

        async def slow(asked: SyncServer, cursor: str | None) -> Any:
            page = await read(asked, cursor)
            cursors.append(cursor)
            if len(cursors) == 1:
                await documents.save(LIST, "main", {"number": 2})
                assert await documents.synced()
            return page

        with patch.object(SyncServer, "changed_since", slow):
            documents._follower._anew = True
            documents._follower._due = True
            documents._follower._wake.set()
            await wait_until(lambda: len(cursors) == 2, "the second round")
        assert cursors[0] is None
        await wait_until(lambda: documents.get(LIST, "main") == {"number": 2}, "the newer one")


async def test_another_database_begins_anew_and_loses_nothing_that_waits(tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    (tmp_path / "before").mkdir()
    (tmp_path / "after").mkdir()
    async with server(tmp_path / "before") as node, device(node.url, path) as one:
        for number in range(3):
            await one.documents.save(LIST, "main", {"number": number})
        await one.documents.save(LIST, "other", {})
        assert await one.documents.synced()
    async with device(NOWHERE, path) as one:
        await one.documents.save(LIST, "main", {"number": 3})
    async with server(tmp_path / "after") as node, device(node.url, path) as one:
        assert await one.documents.synced(), one.failures
        assert await stored(node) == {"main": {"number": 3}}
        assert one.documents.get(LIST, "other") is None
