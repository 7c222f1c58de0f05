"""Live quotes in a page."""

from tests.support.fault_proxy import FaultProxy
from tests.support.processes import running_server
from tests.web.chromium import Chromium

WATCH = """
  window.stocks = new client.StockClient(location.origin, { reconnectionDelay: 20 });
  stocks.on("state", (state) => heard.push(state));
  window.updates = [];
  window.stop = stocks.watch(["aapl"], (update) => updates.push(update));
"""
STEPS = """
  updates.filter((update) => !update.snapshot).map(({ seq }) => seq)
    .every((seq, i, all) => i === 0 || seq === all[i - 1] + 1)
"""


async def test_a_page_that_loses_its_connection_misses_nothing(browser: Chromium) -> None:
    async with (
        running_server("--update-interval", "0.05") as server,
        FaultProxy(int(server.url.rpartition(":")[2])) as proxy,
    ):
        page = await browser.page("page", f"http://127.0.0.1:{proxy.port}")
        await page.run(WATCH)
        await page.until("updates.length >= 3")
        # A poll whose connection is reset is sent again by the browser, and the page told nothing.
        await page.until("stocks.socket.io.engine.transport.name === 'websocket'")
        proxy.abort()
        await page.until("heard.includes('reconnecting') && heard.at(-1) === 'connected'")
        at = await page.value("updates.length")
        await page.until(f"updates.length >= {at} + 3")
        assert await page.value(STEPS)


async def test_bars_and_quote_are_asked_for_without_a_subscription_that_stays(
    browser: Chromium,
) -> None:
    async with running_server() as server:
        page = await browser.page("page", server.url)
        await page.run(
            "window.stocks = new client.StockClient();"
            "window.left = new Promise((done) => stocks.socket.once('unsubscribed', done));"
        )
        data = await page.value("stocks.getStockData('AAPL', '1m', 5)")
        assert (data["symbol"], len(data["data"]["data"])) == ("AAPL", 5)
        assert (await page.value("left"))["events"] == ["stock_update_AAPL"]


async def test_what_the_server_says_against_a_request_is_thrown(browser: Chromium) -> None:
    async with running_server() as server:
        page = await browser.page("page", server.url)
        await page.run("window.stocks = new client.StockClient();")
        asked = "stocks.getStockData('AAPL', '3m').catch(({ code, message }) => [code, message])"
        code, message = await page.value(asked)
        assert code == "unknown_timeframe"
        assert "3m" in message
