"""What a user changes, from one end to the other: real files, real sockets, a real node."""

import asyncio
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from stockstream import OfflineDataManager, StockClient
from stockstream.client import ConnectionState
from stockstream.client.offline import ItemState
from stockstream.client.offline.journal import Journal
from stockstream.client.offline.replica import Delta
from stockstream.client.offline.server import SyncServer
from stockstream.errors import (
    ForbiddenError,
    InvalidPayloadError,
    QueueFullError,
    QueueLockedError,
    RateLimitedError,
    StoreUnavailableError,
    TooLargeError,
    UnauthorizedError,
    UnavailableError,
)
from stockstream.model.document import Refusal, SyncStatus
from tests.client.clients import Waits, in_state
from tests.client.offline.devices import LIST, device, server, stored, versions
from tests.support.ports import free_port
from tests.support.processes import wait_until
from tests.support.tokens import SECRET, token

NOWHERE = "http://127.0.0.1:1"


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


async def test_changes_that_are_made_at_once_are_all_kept(tmp_path: Path) -> None:
    async with server(tmp_path) as node, device(node.url, tmp_path / "queue.db") as one:
        save = one.documents.save
        await asyncio.gather(save("note", "n", {"a": 1}), save("note", "n", {"b": 1}))
        assert one.documents.get("note", "n") == {"a": 1, "b": 1}
        assert await one.documents.synced()
        assert await stored(node) == {"n": {"a": 1, "b": 1}}


async def test_what_was_missed_offline_is_caught_up_with_in_pages(tmp_path: Path) -> None:
    async with server(tmp_path) as node:
        async with device(node.url, tmp_path / "one.db", sync_batch_size=100) as one:
            for number in range(150):
                await one.documents.save("note", f"n{number}", {"number": number})
            assert await one.documents.synced()
        async with device(node.url, tmp_path / "two.db") as two:
            await wait_until(lambda: len(two.documents.documents("note")) == 150, "all of them")
            assert two.documents.get("note", "n149") == {"number": 149}


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


async def test_batches_are_as_large_as_they_may_be(tmp_path: Path) -> None:
    async with device(NOWHERE, tmp_path / "queue.db") as one:
        for number in range(7):
            await one.documents.save("note", f"n{number}", {})
    async with server(tmp_path) as node:
        sync = node.node.documents.sync.sync
        with patch.object(node.node.documents.sync, "sync", side_effect=sync) as asked:
            async with device(node.url, tmp_path / "queue.db", sync_batch_size=3) as one:
                assert await one.documents.synced()
        assert [len(call.args[1]) for call in asked.call_args_list] == [3, 3, 1]


async def test_what_a_server_can_not_take_now_is_tried_again_with_growing_waits(
    tmp_path: Path,
) -> None:
    waits = Waits()
    async with server(tmp_path) as node, device(node.url, tmp_path / "q.db", waits=waits) as one:
        with patch.object(node.node.documents.sync, "sync", side_effect=UnavailableError("gone")):
            await one.documents.save(LIST, "main", {"symbols": []})
            await waits.wait_for(7)
        assert await one.documents.synced()

        longest = (1, 2, 4, 8, 16, 30, 30)
        assert all(most / 2 <= s <= most for s, most in zip(waits.seconds, longest, strict=False))
        # Whether and when the server has it is no matter of the change: it is tried for ever.
        assert {str(each) for each in one.errors} == {"gone"}
        assert one.failures == []
        assert [each.item.retry_count for each in one.successes] == [0]


async def test_what_is_put_off_too_often_fails_and_keeps_its_place(tmp_path: Path) -> None:
    async with server(tmp_path) as node, device(node.url, tmp_path / "q.db", max_retries=2) as one:

        async def put_off(_: str, items: list[Any]) -> Any:
            return [Refusal(code="rate_limited", message="not so fast") for _ in items]

        with patch.object(node.node.documents.sync, "sync", side_effect=put_off):
            await one.documents.save(LIST, "main", {"symbols": ["AAPL"]})
            assert not await one.documents.synced()
        await one.documents.save(LIST, "main", {"symbols": ["AAPL", "MSFT"]})
        assert not await one.documents.synced()

        assert [each.will_retry for each in one.failures] == [True, True, False]
        assert (one.documents.failed_sync_count, one.documents.pending_sync_count) == (1, 1)
        # Nobody has refused it: the user sees it, and what he did upon it.
        assert one.documents.get(LIST, "main") == {"symbols": ["AAPL", "MSFT"]}
        await one.documents.retry_failed_syncs()
        assert await one.documents.synced()
        assert len(await versions(node, "main")) == 2


async def test_a_broken_connection_is_no_failure_of_a_change(tmp_path: Path) -> None:
    port = free_port()
    async with device(f"http://127.0.0.1:{port}", tmp_path / "queue.db", max_retries=0) as one:
        for number in range(3):
            async with server(tmp_path, port=port) as node:
                await wait_until(lambda: one.documents.online, "a connection")
                await one.documents.save(LIST, "main", {"number": number})
                assert await one.documents.synced()
                assert (await stored(node))["main"] == {"number": number}
            await wait_until(lambda: not one.documents.online, "the loss")
        assert one.online == [True, False] * 3
        await wait_until(lambda: not one.documents._tasks, "the end of what was for a connection")


async def test_an_answer_is_told_although_the_connection_is_lost_while_it_is_written_down(
    tmp_path: Path,
) -> None:
    port, write = free_port(), Journal.write
    answered, lost = asyncio.Event(), asyncio.Event()

    async def slow(journal: Journal, deltas: list[Delta]) -> None:
        if any(delta.removed for delta in deltas):
            answered.set()
            await lost.wait()
        await write(journal, deltas)

    async with device(f"http://127.0.0.1:{port}", tmp_path / "queue.db") as one:
        with patch.object(Journal, "write", slow):
            async with server(tmp_path, port=port):
                await one.documents.save(LIST, "main", {"symbols": []})
                await answered.wait()
            await wait_until(lambda: not one.documents.online, "the loss")
            lost.set()
            await wait_until(lambda: one.documents.pending_sync_count == 0, "the answer")
        assert [each.status for each in one.successes] == [SyncStatus.APPLIED]


async def test_another_connection_waits_for_nothing_of_the_one_before(tmp_path: Path) -> None:
    waits, port = Waits(passing=False), free_port()
    async with device(f"http://127.0.0.1:{port}", tmp_path / "queue.db", waits=waits) as one:
        async with server(tmp_path, port=port) as node:
            with patch.object(node.node.documents.sync, "sync", side_effect=UnavailableError("")):
                await one.documents.save(LIST, "main", {"symbols": []})
                await waits.wait_for(1)
        async with server(tmp_path, port=port):
            assert await one.documents.synced()


async def test_what_is_too_much_for_one_request_is_sent_piece_by_piece(tmp_path: Path) -> None:
    async with device(NOWHERE, tmp_path / "queue.db") as one:
        for number in range(4):
            await one.documents.save("note", f"n{number}", {"text": "x" * 60_000})
    async with (
        server(tmp_path, max_payload_bytes=100_000) as node,
        device(node.url, tmp_path / "queue.db") as one,
    ):
        assert await one.documents.synced()
        assert len(await stored(node)) == 4


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


async def test_tokens_are_refreshed_where_they_end(tmp_path: Path) -> None:
    asked: list[str] = []

    async def fresh() -> str:
        # Each is for a moment: less than any request leaves it.
        asked.append(token("ann", lasts=3_600 if len(asked) else -1))
        return asked[-1]

    async with server(tmp_path, auth="jwt", jwt_secret=SECRET, jwt_leeway=0) as node:
        async with device(node.url, tmp_path / "queue.db", token=fresh) as one:
            await one.documents.save(LIST, "main", {"symbols": []})
            assert await one.documents.synced()
            # A token that was good has ended meanwhile: it is asked for another one.
            count = len(asked)
            one.client._link._newest = token("ann", lasts=-1)
            await one.client.fetch("GET", "/api/sync")
            assert len(asked) == count + 1
            await one.client.fetch("GET", "/api/sync")
            assert len(asked) == count + 1
        async with StockClient(node.url, token=token("ann", lasts=-1)) as client:
            with pytest.raises(UnauthorizedError):
                await client.fetch("GET", "/api/sync")


async def test_a_client_that_ended_with_its_token_goes_on_with_another_one(tmp_path: Path) -> None:
    async with (
        server(tmp_path, auth="jwt", jwt_secret=SECRET, jwt_leeway=0) as node,
        device(node.url, tmp_path / "queue.db", token=token("ann", lasts=-1)) as one,
    ):
        await one.documents.save(LIST, "main", {"symbols": []})
        await in_state(one.client, ConnectionState.DISCONNECTED)
        with pytest.raises(UnauthorizedError):
            await one.client.authenticate(token("ann", lasts=-1))
        assert (await one.client.authenticate(token("ann")))["user"] == "ann"
        assert await one.documents.synced()


async def test_a_user_without_rights_keeps_his_changes(tmp_path: Path) -> None:
    waits = Waits(passing=False)

    async def useless() -> str:
        return token("ann", lasts=3_600, roles=("feed",))

    async with (
        server(tmp_path, auth="jwt", jwt_secret=SECRET) as node,
        device(node.url, tmp_path / "queue.db", token=useless, waits=waits) as one,
    ):
        await one.documents.save(LIST, "main", {"symbols": []})
        await waits.wait_for(1)
        assert [type(each) for each in one.errors] == [ForbiddenError]
        assert one.documents.pending_sync_count == 1
        assert one.documents.get(LIST, "main") == {"symbols": []}


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


async def test_a_server_that_takes_little_at_once_gets_little_at_once(tmp_path: Path) -> None:
    async with device(NOWHERE, tmp_path / "queue.db") as one:
        for number in range(12):
            await one.documents.save("note", f"n{number}", {})
    async with server(tmp_path) as node:
        sync = node.node.documents.sync.sync
        sizes: list[int] = []

        async def take_four(user: str, items: list[Any]) -> Any:
            sizes.append(len(items))
            if len(items) > 4:
                raise RateLimitedError("too many at once")
            return await sync(user, items)

        with patch.object(node.node.documents.sync, "sync", side_effect=take_four):
            async with device(node.url, tmp_path / "queue.db", sync_batch_size=12) as one:
                assert await one.documents.synced()
        assert sizes[:3] == [12, 6, 3]
        assert len(await stored(node)) == 12
