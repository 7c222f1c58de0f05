"""What a user changes in a browser survives lost networks, reloads, crashes, and several tabs."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from tests.support.fault_proxy import FaultProxy
from tests.support.processes import Server, running_server
from tests.support.tokens import SECRET, token
from tests.web.chromium import Chromium, names

LIST = "watchlist"
ASKED_SINCE = "performance.getEntriesByType('resource').some(({ name }) => name.includes('since='))"


def server_of(database: Path, **env: str) -> AbstractAsyncContextManager[Server]:
    return running_server(env={"STOCKSTREAM_DATABASE_URL": f"sqlite:///{database}", **env})


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with server_of(tmp_path / "documents.db") as running:
        yield running


async def stored(server: Server) -> dict[str, Any]:
    """Return the documents that the server has, by id."""
    async with aiohttp.ClientSession() as session, session.get(f"{server.url}/api/sync") as answer:
        page = await answer.json()
    return {each["documentId"]: each.get("data") for each in page["documents"]}


async def versions(server: Server, document: str) -> list[Any]:
    """Return what a document has been, the oldest first."""
    url = f"{server.url}/api/sync/history/{LIST}/{document}"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        page = await answer.json()
    return [each.get("data") for each in reversed(page["versions"])]


async def test_what_is_edited_offline_in_two_tabs_arrives_once_after_a_reload(
    server: Server, browser: Chromium
) -> None:
    first = await browser.page("first", server.url)
    await first.open_documents()
    await browser.offline()
    await first.save(LIST, "main", {"symbols": ["AAPL"]})
    await first.reload()
    await first.open_documents()
    second = await browser.page("second", server.url)
    await second.open_documents()
    # The second tab sees what the first one has changed, and goes on from there.
    assert await second.document(LIST, "main") == {"symbols": ["AAPL"]}
    await second.save(LIST, "main", {"symbols": ["AAPL", "MSFT"]})
    await first.save(LIST, "other", {"symbols": ["TSLA"]})
    assert await stored(server) == {}
    await browser.offline(False)
    await first.until_synced()
    assert await stored(server) == {
        "main": {"symbols": ["AAPL", "MSFT"]},
        "other": {"symbols": ["TSLA"]},
    }
    assert await versions(server, "main") == [{"symbols": ["AAPL"]}, {"symbols": ["AAPL", "MSFT"]}]
    assert await versions(server, "other") == [{"symbols": ["TSLA"]}]
    # Whichever tab has sent: both have heard.
    for page in (first, second):
        await page.until("heard.filter(([name]) => name === 'sync_success').length === 3")


async def test_another_tab_sends_on_when_the_one_that_sends_crashes(
    server: Server, browser: Chromium
) -> None:
    first = await browser.page("first", server.url)
    await first.open_documents()
    await first.until("documents.isSender")
    second = await browser.page("second", server.url)
    await second.open_documents()
    await browser.offline()
    await first.save(LIST, "main", {"symbols": ["AAPL"]})
    assert await second.value("documents.isSender") is False
    await first.crash()
    await second.until("documents.isSender")
    await browser.offline(False)
    await second.until_synced()
    assert await versions(server, "main") == [{"symbols": ["AAPL"]}]


async def test_edits_in_quick_succession_arrive_in_order(server: Server, browser: Chromium) -> None:
    page = await browser.page("page", server.url)
    await page.open_documents()
    await page.run(
        "for (let n = 0; n < 30; n++) documents.save('watchlist', 'main', { n });"
        "await documents.save('watchlist', 'main', { n: 30 });"
    )
    await page.until_synced()
    assert await versions(server, "main") == [{"n": n} for n in range(31)]


async def test_a_change_that_the_server_refuses_is_taken_back(
    server: Server, browser: Chromium
) -> None:
    page = await browser.page("page", server.url)
    await page.open_documents()
    await page.save(LIST, "main", {"symbols": ["AAPL"]})
    await page.until_synced()
    await browser.offline()
    await page.save(LIST, "main", {"symbols": ["AAPL"], "note": "x" * 70_000})
    await page.save(LIST, "main", {"symbols": ["AAPL", "MSFT"], "note": "x" * 70_000})
    await page.save(LIST, "main", {"symbols": ["AAPL", "MSFT"]})
    assert await page.document(LIST, "main") == {"symbols": ["AAPL", "MSFT"]}
    await browser.offline(False)
    await page.until_synced()
    assert names(await page.value("heard")).count("sync_error") == 1
    assert await page.value("documents.getFailedSyncCount()") == 1
    # What was made on it has come over without it.
    assert await page.document(LIST, "main") == {"symbols": ["AAPL", "MSFT"]}
    assert await stored(server) == {"main": {"symbols": ["AAPL", "MSFT"]}}


async def test_what_another_device_changed_meanwhile_is_kept(
    server: Server, browser: Chromium
) -> None:
    page = await browser.page("page", server.url)
    await page.open_documents()
    await page.save("settings", "chart", {"theme": "dark", "bars": 100})
    await page.until_synced()
    await browser.offline()
    await page.save("settings", "chart", {"theme": "light", "bars": 100})
    await page.save("settings", "chart", {"theme": "light", "bars": 100, "grid": True})
    await change(server, {"theme": "dark", "bars": 200}, base=1)
    await browser.offline(False)
    await page.until_synced()
    expected = {"theme": "light", "bars": 200, "grid": True}
    assert await stored(server) == {"chart": expected}
    assert await page.document("settings", "chart") == expected


@pytest.mark.parametrize("has_waiting", [False, True], ids=["the server's", "its own"])
async def test_what_came_while_a_page_held_a_document_outlives_what_it_saves(
    server: Server, browser: Chromium, *, has_waiting: bool
) -> None:
    page = await browser.page("page", server.url)
    await change(server, {"theme": "dark", "bars": 100}, base=0)
    await page.open_documents(pollInterval=50)
    await page.until("documents.list('settings').then((found) => found.size)")
    if has_waiting:
        # What the page is given has a change of its own in it, which the server takes later.
        await browser.offline()
        await page.save("settings", "chart", {"theme": "dark", "bars": 150})
    held = await page.document("settings", "chart")
    if has_waiting:
        await browser.offline(False)
        await page.until_synced()
    await page.run("heard.length = 0")
    await change(server, {**held, "grid": True}, base=1 + has_waiting)
    await page.until("heard.some(([name]) => name === 'changed')")
    await page.save("settings", "chart", held | {"theme": "light"})
    await page.until_synced()
    expected = {"theme": "light", "bars": held["bars"], "grid": True}
    assert await stored(server) == {"chart": expected}
    assert await page.document("settings", "chart") == expected


async def test_a_conflict_is_one_with_what_the_page_held(server: Server, browser: Chromium) -> None:
    page = await browser.page("page", server.url)
    await change(server, {"theme": "dark"}, base=0)
    await page.open_documents(pollInterval=50, conflictResolution="manual")
    await page.until("documents.get('settings', 'chart')")
    await change(server, {"theme": "blue"}, base=1)
    await page.until("heard.filter(([name]) => name === 'changed').length > 1")
    await page.save("settings", "chart", {"theme": "light"})
    (conflict,) = await page.until("documents.conflicts().then((c) => c.length > 0 && c)")
    assert conflict["clientData"] == {"theme": "light"}
    assert conflict["serverData"] == {"theme": "blue"}


async def test_a_document_that_another_device_changed_appears_by_itself(
    server: Server, browser: Chromium
) -> None:
    page = await browser.page("page", server.url)
    await page.run(
        "window.stocks = new client.StockClient(location.origin);"
        "window.subscribed = new Promise((done) => stocks.socket.once('subscribed', done));"
        "window.documents = await client.OfflineDataManager.open({ socket: stocks.socket });"
        "window.documents.on('changed', (detail) => heard.push(['changed', detail]));"
        "await subscribed;"
    )
    await change(server, {"theme": "dark"}, base=0)
    await page.until("heard.length > 0")
    assert await page.document("settings", "chart") == {"theme": "dark"}


async def test_a_conflict_waits_for_its_user(server: Server, browser: Chromium) -> None:
    page = await browser.page("page", server.url)
    await page.open_documents(conflictResolution="manual")
    await page.save("settings", "chart", {"theme": "dark"})
    await page.until_synced()
    await browser.offline()
    await page.save("settings", "chart", {"theme": "light"})
    await change(server, {"theme": "blue"}, base=1)
    await browser.offline(False)
    (conflict,) = await page.until("documents.conflicts().then((c) => c.length > 0 && c)")
    assert conflict["clientData"] == {"theme": "light"}
    assert conflict["serverData"] == {"theme": "blue"}
    assert await stored(server) == {"chart": {"theme": "blue"}}
    await page.value(f"documents.resolve({conflict['conflictId']!r}, {{ theme: 'light' }})")
    await page.until_synced()
    assert await stored(server) == {"chart": {"theme": "light"}}
    assert await page.value("documents.conflicts()") == []


async def test_documents_are_listed_as_the_user_sees_them(
    server: Server, browser: Chromium
) -> None:
    page = await browser.page("page", server.url)
    await page.open_documents()
    for name in ("a", "b", "c"):
        await page.save("note", name, {"text": name})
    await page.until_synced()
    await browser.offline()
    await page.value("documents.remove('note', 'b')")
    await page.save("note", "d", {"text": "d"})
    assert await page.value("documents.list('note').then((all) => [...all.keys()])") == [
        *("a", "c", "d")
    ]
    await browser.offline(False)
    await page.until_synced()
    assert (await stored(server))["b"] is None


async def test_a_page_begins_anew_with_a_database_that_has_lost_what_it_knows(
    server: Server, browser: Chromium, tmp_path: Path
) -> None:
    async with server_of(tmp_path / "other.db") as other, FaultProxy(port_of(server)) as proxy:
        page = await browser.page("page", f"http://127.0.0.1:{proxy.port}")
        await page.open_documents(pollInterval=50)
        for bars in (1, 2):
            await page.save("settings", "chart", {"bars": bars})
        await page.save("settings", "gone", {})
        await page.until_synced()
        await change(other, {"bars": 3}, base=0)
        put_in_its_place(proxy, other)
        await page.until("documents.get('settings', 'chart').then((data) => data.bars === 3)")
        assert await page.document("settings", "gone") is None
        await page.save("settings", "chart", {"bars": 4})
        await page.until_synced()
        assert await stored(other) == {"chart": {"bars": 4}}


async def test_what_waits_is_kept_where_the_database_has_lost_what_it_was_made_on(
    server: Server, browser: Chromium, tmp_path: Path
) -> None:
    async with server_of(tmp_path / "other.db") as other, FaultProxy(port_of(server)) as proxy:
        page = await browser.page("page", f"http://127.0.0.1:{proxy.port}")
        await page.open_documents()
        for bars in (1, 2):
            await page.save("settings", "chart", {"bars": bars, "theme": "dark"})
        await page.save(LIST, "main", {"symbols": ["AAPL"]})
        await page.until_synced()
        await browser.offline()
        await page.save("settings", "chart", {"bars": 3, "theme": "dark"})
        await page.save("settings", "chart", {"bars": 4, "theme": "dark"})
        await page.save(LIST, "main", {"symbols": ["AAPL", "MSFT"]})
        put_in_its_place(proxy, other)
        await browser.offline(False)
        await page.until_synced()
        assert await page.value("documents.getFailedSyncCount()") == 0
        expected = {"chart": {"bars": 4, "theme": "dark"}, "main": {"symbols": ["AAPL", "MSFT"]}}
        assert await stored(other) == expected
        assert await versions(other, "main") == [expected["main"]]


async def test_a_change_is_kept_where_only_its_refusal_tells_of_the_loss(
    server: Server, browser: Chromium, tmp_path: Path
) -> None:
    async with server_of(tmp_path / "other.db") as other, FaultProxy(port_of(server)) as proxy:
        page = await browser.page("page", f"http://127.0.0.1:{proxy.port}")
        await page.open_documents()
        # It has asked what there is before there was anything: such a cursor is of no database.
        await page.until(ASKED_SINCE)
        await page.save(LIST, "main", {"symbols": ["AAPL"]})
        await page.until_synced()
        put_in_its_place(proxy, other)
        await page.save(LIST, "main", {"symbols": ["AAPL", "MSFT"]})
        await page.until_synced()
        assert await page.value("documents.getFailedSyncCount()") == 0
        assert await page.document(LIST, "main") == {"symbols": ["AAPL", "MSFT"]}
        assert await versions(other, "main") == [{"symbols": ["AAPL", "MSFT"]}]


async def test_a_document_begun_anew_is_newer_than_a_deletion_with_a_higher_number(
    server: Server, browser: Chromium
) -> None:
    page = await browser.page("page", server.url)
    await page.run(
        "window.told = {};"
        "const on = (name, handler) => { told[name] = handler; };"
        "const socket = { connected: false, emit() {}, off() {}, on };"
        "window.documents = await client.OfflineDataManager.open({ socket });"
    )
    await page.until(ASKED_SINCE)
    await page.run(
        "const known = (version, timestamp, data) => ({ type: 'note', documentId: 'n1', data,"
        "  version: { version, timestamp, author: '', checksum: '' } });"
        "for (const payload of [known(5, 1000, null), known(1, 2000, { n: 1 }), known(4, 500, {})])"
        "  told.document_changed({ payload });"
    )
    await page.until("documents.get('note', 'n1')")
    assert await page.document("note", "n1") == {"n": 1}


async def test_a_page_that_becomes_another_users_begins_anew(
    browser: Chromium, tmp_path: Path
) -> None:
    auth = {"STOCKSTREAM_AUTH": "jwt", "STOCKSTREAM_JWT_SECRET": SECRET}
    async with server_of(tmp_path / "documents.db", **auth) as server:
        page = await browser.page("page", server.url)
        await page.open_documents(token=token("ann"))
        await page.save("settings", "chart", {"theme": "dark"})
        await page.until_synced()
        await page.until(ASKED_SINCE)
        await page.reload()
        # The server reads no cursor that it has given to somebody else.
        await page.open_documents(token=token("bob"))
        await page.until("documents.get('settings', 'chart').then((data) => data === null)")


async def test_more_changes_than_may_wait_are_refused(server: Server, browser: Chromium) -> None:
    page = await browser.page("page", server.url)
    await page.open_documents(messageQueueSize=2)
    await browser.offline()
    for name in ("a", "b"):
        await page.save("note", name, {})
    refused = "documents.save('note', 'c', {}).catch((e) => e instanceof client.QueueFullError)"
    assert await page.value(refused) is True
    assert len(await page.value("documents.getOfflineQueue()")) == 2


async def change(server: Server, data: dict[str, Any], *, base: int) -> None:
    """Change the chart's settings on another device."""
    item = {
        "id": f"other {base}",
        "type": "settings",
        "documentId": "chart",
        "data": data,
        "timestamp": 0,
        "baseVersion": base,
    }
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{server.url}/api/sync", json=item) as answer,
    ):
        assert answer.status == 200, await answer.text()


def put_in_its_place(proxy: FaultProxy, other: Server) -> None:
    """Have another server stand for the one before, begun anew."""
    proxy._upstream = ("127.0.0.1", port_of(other))
    proxy.abort()


def port_of(server: Server) -> int:
    return int(server.url.rpartition(":")[2])
