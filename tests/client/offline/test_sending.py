"""How what waits is sent: in batches, again where it was put off, and with which token."""

import asyncio
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from stockstream import StockClient
from stockstream.client import ConnectionState
from stockstream.client.offline.journal import Journal
from stockstream.client.offline.replica import Delta
from stockstream.errors import (
    ForbiddenError,
    RateLimitedError,
    UnauthorizedError,
    UnavailableError,
)
from stockstream.model.document import Refusal, SyncStatus
from tests.client.clients import Waits, in_state
from tests.client.offline.devices import LIST, NOWHERE, device, server, stored, versions
from tests.support.ports import free_port
from tests.support.processes import wait_until
from tests.support.tokens import SECRET, token


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
