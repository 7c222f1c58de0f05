"""Processes that end without a chance to do anything: ``kill -9``, again and again."""

import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import pytest

from tests.client.offline.devices import device
from tests.support.ports import free_port
from tests.support.processes import ROOT, Child, running_child, running_server, wait_until

SAVING = ROOT / "tests" / "client" / "offline" / "saving.py"


def saved(child: Child) -> list[int]:
    """Return the numbers of the changes that were said to be safe."""
    # A line may have been cut off in the middle.
    return [int(line) for line in child.output().split("\n")[:-1]]


def settings(folder: Path) -> dict[str, str]:
    """Return a server's environment: it keeps its documents in a folder, and all their versions."""
    return {
        "STOCKSTREAM_DATABASE_URL": f"sqlite:///{folder / 'documents.db'}",
        "STOCKSTREAM_SYNC_HISTORY": "5000",
        "STOCKSTREAM_MAX_SYNCS_PER_SECOND": "10000",
    }


async def history(url: str, document_id: str) -> list[dict[str, Any]]:
    """Return all versions of a document."""
    address = f"{url}/api/sync/history/note/{document_id}?limit=1000"
    async with aiohttp.ClientSession() as session, session.get(address) as response:
        found: list[dict[str, Any]] = (await response.json())["versions"]
        return found


async def kill_while_saving(url: str, path: Path, counts: Iterator[int]) -> list[int]:
    """Run the program once for each count, kill it after so many changes; return all numbers."""
    numbers: list[int] = []
    for count in counts:
        first = numbers[-1] + 1 if numbers else 0
        command = (sys.executable, str(SAVING), url, str(path), str(first))
        with running_child(command) as child:
            await wait_until(
                lambda c=child, n=count: len(saved(c)) >= n or not c.running,  # type: ignore[misc]
                "changes",
            )
            assert child.running, child.output()
            child.kill()
            numbers += saved(child)
    return numbers


@pytest.mark.timeout(300)
async def test_the_end_of_the_program_loses_no_change_and_repeats_none(tmp_path: Path) -> None:
    random = Random(7)
    async with running_server(env=settings(tmp_path)) as server:
        counts = (random.randint(1, 40) for _ in range(6))
        numbers = await kill_while_saving(server.url, tmp_path / "queue.db", counts)
        async with device(server.url, tmp_path / "queue.db") as one:
            assert await one.documents.synced(100), one.documents.get_offline_queue()
            found = {n for d in one.documents.documents("note") for n in (d.data or {})["numbers"]}
            # What was written without having been said to be may be there as well.
            assert set(numbers) <= found
        for document_id in ("d0", "d1", "d2"):
            versions = await history(server.url, document_id)
            # Each change made one version: none was applied twice, none was left out.
            assert len({each["itemId"] for each in versions}) == len(versions)
            newest = versions[0]["data"]["numbers"]
            assert [each["data"]["numbers"] for each in reversed(versions)] == [
                newest[:length] for length in range(1, len(newest) + 1)
            ]


@pytest.mark.timeout(300)
async def test_the_end_of_the_server_loses_nothing_that_it_confirmed(tmp_path: Path) -> None:
    random = Random(8)
    port, env = free_port(), settings(tmp_path)
    async with device(f"http://127.0.0.1:{port}", tmp_path / "queue.db") as one:
        made: list[str] = []
        for _ in range(3):
            before = len(one.successes)
            count = random.randint(10, 60)
            async with running_server(env=env, port=port) as server:
                for number in range(count):
                    data = {"number": len(made)}
                    made.append(await one.documents.save("note", f"d{number % 7}", data))
                await wait_until(lambda n=before: len(one.successes) > n, "some")  # type: ignore[misc]
                server.child.kill()
        async with running_server(env=env, port=port) as server:
            assert await one.documents.synced(100)
            assert sorted(each.item.id for each in one.successes) == sorted(made)
            sent = {
                each["itemId"]
                for number in range(7)
                for each in await history(server.url, f"d{number}")
            }
            assert sent == set(made)
