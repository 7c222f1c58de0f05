"""What a user changes, from one end to the other: real files, real sockets, a real node."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from stockstream import OfflineDataManager, StockClient
from stockstream.client.offline import ItemState
from stockstream.errors import (
    InvalidPayloadError,
    QueueFullError,
    QueueLockedError,
    StoreUnavailableError,
    TooLargeError,
)
from tests.client.offline.devices import LIST, NOWHERE, device, server, stored, versions
from tests.support.ports import free_port
from tests.support.processes import wait_until


async def test_what_is_changed_offline_is_seen_at_once_and_arrives_in_order_once(
    tmp_path: Path,
) -> None:
    port = free_port()
    async with device(f"http://127.0.0.1:{port}", tmp_path / "queue.db") as one:
        documents = one.documents
        for symbol in ("AAPL", "MSFT", "TSLA"):
            symbols = [*(documents.get(LIST, "main") or {"symbols": []})["symbols"], symbol]
            await documents.save(LIST, "main", {"symbols": symbols})
        await documents.save("note", "n1", {"text": "buy"})
        await documents.remove("note", "n1")

        assert documents.get(LIST, "main") == {"symbols": ["AAPL", "MSFT", "TSLA"]}
        assert documents.get("note", "n1") is None
        assert [each.id for each in documents.documents()] == ["main"]
        assert (documents.pending_sync_count, documents.online) == (5, False)
        async with server(tmp_path, port=port) as node:
            assert await documents.synced()

            expected = {"symbols": ["AAPL", "MSFT", "TSLA"]}
            assert await stored(node) == {"main": expected, "n1": None}
            was = await versions(node, "main")
            assert was == [{"symbols": expected["symbols"][:n]} for n in (1, 2, 3)]
            assert documents.pending_sync_count == documents.failed_sync_count == 0
            assert one.online == [True]
            assert [each.item.state for each in one.successes] == [ItemState.SYNCED] * 5


async def test_the_queue_outlives_its_manager(tmp_path: Path) -> None:
    path = tmp_path / "some" / "queue.db"
    async with device(NOWHERE, path) as one:
        item_id = await one.documents.add_to_offline_queue({"symbols": ["AAPL"]}, LIST)
    async with server(tmp_path) as node, device(node.url, path) as one:
        assert await one.documents.synced()
        assert await stored(node) == {item_id: {"symbols": ["AAPL"]}}
    async with device(NOWHERE, path) as one:
        assert one.documents.get(LIST, item_id) == {"symbols": ["AAPL"]}
        assert one.documents.get_offline_queue() == []


async def test_changes_that_are_made_at_once_are_all_kept(tmp_path: Path) -> None:
    async with server(tmp_path) as node, device(node.url, tmp_path / "queue.db") as one:
        save = one.documents.save
        await asyncio.gather(save("note", "n", {"a": 1}), save("note", "n", {"b": 1}))
        assert one.documents.get("note", "n") == {"a": 1, "b": 1}
        assert await one.documents.synced()
        assert await stored(node) == {"n": {"a": 1, "b": 1}}


async def test_a_refused_change_is_taken_back_and_may_be_tried_again(tmp_path: Path) -> None:
    async with server(tmp_path) as node, device(node.url, tmp_path / "queue.db") as one:
        documents = one.documents
        await documents.save(LIST, "main", {"symbols": ["AAPL"]})
        assert await documents.synced()
        await documents.save(LIST, "main", {"symbols": ["TSLA"]}, strategy="no such thing")
        assert documents.get(LIST, "main") == {"symbols": ["TSLA"]}
        assert not await documents.synced()

        assert documents.get(LIST, "main") == {"symbols": ["AAPL"]}
        [failure] = one.failures
        assert (failure.error.code, failure.will_retry) == ("invalid_payload", False)
        assert str(failure.error).startswith("strategy: ")
        [item] = documents.get_offline_queue()
        assert (item.state, item.code) == (ItemState.FAILED, "invalid_payload")
        assert (documents.failed_sync_count, documents.pending_sync_count) == (1, 0)
        await documents.retry_failed_syncs()
        assert documents.get(LIST, "main") == {"symbols": ["TSLA"]}
        assert not await documents.synced()
        await documents.remove_from_offline_queue(item.id)
        assert await documents.synced()


async def test_the_queue_is_bounded_and_says_so(tmp_path: Path) -> None:
    async with device(NOWHERE, tmp_path / "queue.db", queue_size=2) as one:
        await one.documents.save("note", "a", {})
        await one.documents.save("note", "a", {"n": 1})
        with pytest.raises(QueueFullError, match="2 changes"):
            await one.documents.save("note", "b", {})
        assert one.documents.get("note", "b") is None
        await one.documents.clear_offline_queue()
        assert one.documents.documents() == []
        await one.documents.save("note", "b", {})


async def test_what_no_server_takes_is_refused_at_once(tmp_path: Path) -> None:
    async with device(NOWHERE, tmp_path / "queue.db") as one:
        wrong: list[tuple[Any, ...]] = [
            ("Note", "a", {}),
            ("note", "a b", {}),
            ("note", "a", {"n": float("nan")}),
            ("note", "a", {"n": object()}),
            ("note", "a", ["no object"]),
        ]
        for arguments in wrong:
            with pytest.raises(InvalidPayloadError):
                await one.documents.save(*arguments)
        with pytest.raises(TooLargeError, match="65,536"):
            await one.documents.save("note", "a", {"text": "x" * 70_000})
        assert one.documents.get_offline_queue() == []
    with pytest.raises(InvalidPayloadError, match="sync_batch_size"):
        OfflineDataManager(StockClient(), tmp_path / "queue.db", sync_batch_size=101)


async def test_a_file_has_one_manager_and_is_a_queue(tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    async with device(NOWHERE, path):
        with pytest.raises(QueueLockedError, match=r"queue\.db"):
            async with device(NOWHERE, path):
                pass
    async with device(NOWHERE, path):
        pass
    (tmp_path / "other.db").write_bytes(b"no database " * 1_000)
    with pytest.raises(StoreUnavailableError, match=r"other\.db"):
        async with device(NOWHERE, tmp_path / "other.db"):
            pass


async def test_a_handler_that_fails_disturbs_nobody(tmp_path: Path) -> None:
    async with server(tmp_path) as node, device(node.url, tmp_path / "queue.db") as one:

        def fail(_: object) -> None:
            raise ValueError("a handler")

        one.documents.on("sync_success", fail)
        await one.documents.save(LIST, "main", {})
        assert await one.documents.synced()
        one.documents.off("sync_success", fail)


async def test_who_waits_for_the_server_hears_of_what_was_taken_back(tmp_path: Path) -> None:
    async with device(NOWHERE, tmp_path / "queue.db") as one:
        item_id = await one.documents.save(LIST, "main", {"symbols": []})
        await one.documents.save("note", "n1", {})
        waiting = asyncio.create_task(one.documents.synced())
        await one.documents.remove_from_offline_queue(item_id)
        assert one.documents.get(LIST, "main") is None
        assert not await one.documents.synced(within=0.01)
        await one.documents.clear_offline_queue()
        assert await waiting


async def test_who_is_cancelled_while_saving_finds_it_saved(tmp_path: Path) -> None:
    async with device(NOWHERE, tmp_path / "queue.db") as one:
        saving = asyncio.create_task(one.documents.save(LIST, "main", {}))
        await asyncio.sleep(0)
        saving.cancel()
        await asyncio.gather(saving, return_exceptions=True)
        await wait_until(lambda: one.documents.pending_sync_count == 1, "the change")


async def test_a_full_disk_refuses_and_changes_nothing(tmp_path: Path) -> None:
    async with server(tmp_path) as node, device(node.url, tmp_path / "queue.db") as one:
        documents = one.documents
        await documents.save(LIST, "main", {"symbols": ["AAPL"]})
        assert await documents.synced()
        file = documents._book._journal._file
        assert file is not None
        disk = file._database
        disk.execute("PRAGMA max_page_count = 1")
        with pytest.raises(StoreUnavailableError, match="full"):
            await documents.save(LIST, "main", {"text": "x" * 60_000})
        assert documents.get(LIST, "main") == {"symbols": ["AAPL"]}
        assert documents.get_offline_queue() == []
        disk.execute("PRAGMA max_page_count = 1000000")
        await documents.save(LIST, "main", {"text": "x" * 60_000})
        assert await documents.synced()


async def test_a_closed_manager_says_so_and_may_be_entered_again(tmp_path: Path) -> None:
    manager = OfflineDataManager(StockClient(NOWHERE), tmp_path / "queue.db")
    with pytest.raises(StoreUnavailableError, match="is not open"):
        await manager.save("note", "a", {})
    for number in range(2):
        async with manager:
            await manager.save("note", "a", {"number": number})
            with pytest.raises(QueueLockedError):
                await manager.__aenter__()
        with pytest.raises(StoreUnavailableError, match="is not open"):
            await manager.save("note", "a", {})
    assert manager.pending_sync_count == 2
