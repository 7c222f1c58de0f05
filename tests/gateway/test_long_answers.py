"""Many bars in one answer, from a running node."""

import asyncio
import gzip
import json
import socket
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import pairwise, repeat
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest
from yarl import URL

from stockstream.core.bar_parts import BarPart
from stockstream.core.spans import SessionDays
from stockstream.gateway import long_answers
from stockstream.model import Bar, Symbol
from stockstream.ports import CountedMinute
from stockstream.storage.sql.history import SqlHistory
from stockstream.wire.bar_pages import json_pieces
from tests.gateway.nodes import running

AAPL = Symbol("AAPL")
MINUTE, DAY = 60_000, 86_400_000
#: A day long ago, 00:00 UTC.
START = 1_420_416_000_000
DAYS = 3
ALL = f"/api/bars/AAPL?timeframe=1m&from={START}&to={START + DAYS * DAY}"


async def filled(folder: Path) -> str:
    """Return the address of a history of three days of minutes, two of them packed."""
    url = f"sqlite:///{folder / 'history.db'}"
    store = SqlHistory(url)
    for day in range(START, START + DAYS * DAY, DAY):
        parts = [
            BarPart(start, 2.0, 3.0, 1.0, 2.5, start / 1e9, start, start + 1)
            for start in range(day, day + DAY, MINUTE)
        ]
        await store.put_minutes([CountedMinute(AAPL, 1, part) for part in parts])
        if day < START + (DAYS - 1) * DAY:
            await store.seal(AAPL, day, SessionDays((), ()))
    await store.aclose()
    return url


async def test_many_bars_are_one_answer_which_is_not_sent_again(tmp_path: Path) -> None:
    async with running(history_url=await filled(tmp_path)) as node:
        address = node.url + ALL
        async with node.http.get(address + "&limit=100000") as answer:
            bars = await answer.json()
            tag = answer.headers["ETag"]
            assert answer.headers["Content-Encoding"] == "gzip"
            assert "Link" not in answer.headers
        assert [bar["timestamp"] for bar in bars] == list(range(START, START + DAYS * DAY, MINUTE))
        assert bars[-1] == {
            "timestamp": bars[-1]["timestamp"],
            "open": 2.0,
            "high": 3.0,
            "low": 1.0,
            "close": 2.5,
            "volume": bars[-1]["timestamp"] / 1e9,
        }
        known = {"If-None-Match": tag}
        async with node.http.get(address + "&limit=100000", headers=known) as again:
            assert (again.status, await again.read(), again.headers["ETag"]) == (304, b"", tag)
        async with node.http.head(address + "&limit=100000") as head:
            assert (head.status, await head.read(), head.headers["ETag"]) == (200, b"", tag)
        plain = {"Accept-Encoding": "identity"}
        async with node.http.get(address + "&limit=2000", headers=plain) as page:
            assert await page.json() == bars[:2_000]
            assert "Content-Encoding" not in page.headers
            following = URL(page.links["next"]["url"])
            assert following.query["from"] == str(bars[2_000 - 1]["timestamp"] + 1)


async def test_everything_else_has_its_turn_between_two_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = 0
    at: list[int] = []

    def watched(bars: Sequence[Bar], size: int) -> Iterator[bytes]:
        for piece in json_pieces(bars, size):
            at.append(turns)
            yield piece

    monkeypatch.setattr(long_answers, "json_pieces", watched)

    async def turning() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async with running(history_url=await filled(tmp_path)) as node:
        task = asyncio.create_task(turning())
        # Two at once take turns with each other as well.
        await asyncio.gather(*(node.get(ALL + "&limit=4000") for _ in range(2)))
        task.cancel()
        await asyncio.wait((task,))
    assert len(at) == 2 * (4_000 // 500 + 1)
    assert all(before < after for before, after in pairwise(at))


async def test_there_are_places_for_so_many_large_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(long_answers, "_PLACES", 0)
    async with running(history_url=await filled(tmp_path)) as node:
        async with node.http.get(node.url + ALL + "&limit=10001") as refused:
            assert refused.status == 503
            assert "Retry-After" in refused.headers
            error = await refused.json()
        assert error["code"] == "unavailable"
        assert "10000" in error["message"]
        status, bars = await node.get(ALL + "&limit=10000")
        assert (status, len(bars)) == (200, DAYS * 1_440)


async def test_who_takes_too_long_to_read_is_disconnected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(long_answers, "_SECONDS", 0.05)
    monkeypatch.setattr(long_answers, "json_pieces", lambda *_: repeat(b" " * 100_000))
    async with running(history_url=await filled(tmp_path)) as node:
        address = urlsplit(node.url)
        with socket.create_connection((address.hostname, address.port)) as client:
            client.sendall(f"GET {ALL}&limit=4000 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            client.setblocking(False)
            with suppress(ConnectionError):
                while await asyncio.get_running_loop().sock_recv(client, 1_000_000):
                    pass
        status, _ = await node.get("/healthz")
        assert status == 200


async def test_gzip_is_what_was_asked_for(tmp_path: Path) -> None:
    async with (
        running(history_url=await filled(tmp_path)) as node,
        aiohttp.ClientSession(auto_decompress=False) as http,
        http.get(node.url + ALL + "&limit=1000", headers={"Accept-Encoding": "gzip"}) as page,
    ):
        assert len(json.loads(gzip.decompress(await page.read()))) == 1_000
