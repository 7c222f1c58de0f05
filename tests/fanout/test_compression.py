"""No compression unless somebody asks for it: it would cost more than it saves."""

import pytest

from tests.fanout.browser import browser
from tests.fanout.market import open_exchange, price_of


@pytest.mark.parametrize("msgpack", [False, True], ids=["json", "msgpack"])
async def test_an_offer_of_compression_is_declined_by_default(*, msgpack: bool) -> None:
    async with (
        open_exchange(["AAPL"]) as exchange,
        browser(exchange.url, msgpack=msgpack) as client,
    ):
        assert client.heard[0][::2] == ["connect", ""]
        await client.subscribe("AAPL")
        await client.until_price("AAPL", price_of(1))


@pytest.mark.parametrize("msgpack", [False, True], ids=["json", "msgpack"])
async def test_compression_that_was_asked_for_is_agreed_on_and_updates_arrive(
    *, msgpack: bool
) -> None:
    async with (
        open_exchange(["AAPL"], websocket_compression=True) as exchange,
        browser(exchange.url, msgpack=msgpack) as client,
    ):
        assert "permessage-deflate" in client.heard[0][2]
        await client.subscribe("AAPL")
        for seq in range(2, 22):
            exchange.change("AAPL")
            await client.until_price("AAPL", price_of(seq))
        assert [update["seq"] for update in client.updates("AAPL")] == list(range(1, 22))
