"""`stockstream serve` whose provider is the market: `python -m tests.chaos.node URL NAME …`."""

import sys
from collections.abc import Sequence
from unittest.mock import patch

import aiohttp
import msgspec

from stockstream.cli import main
from stockstream.errors import TemporaryProviderError
from stockstream.model import Quote, Symbol
from stockstream.ports import Clock
from stockstream.provider_ports import BarSource, PollLimits, QuoteBatch, QuoteFeed, QuotePoller
from stockstream.providers import ProviderSettings

_prices = msgspec.json.Decoder(dict[str, float])


class MarketProvider:
    """Asks the market, in the name of this node."""

    name = "market"
    feed: QuoteFeed | None = None
    bars: BarSource | None = None
    limits = PollLimits()

    def __init__(self, url: str, node: str) -> None:
        self._url = url
        self._node = node
        self._session: aiohttp.ClientSession | None = None

    @property
    def poller(self) -> QuotePoller:
        return self

    async def fetch_quotes(self, symbols: Sequence[Symbol]) -> QuoteBatch:
        self._session = self._session or aiohttp.ClientSession()
        query = {"node": self._node, "symbols": ",".join(symbols)}
        try:
            async with self._session.get(f"{self._url}/quotes", params=query) as answer:
                prices = _prices.decode(await answer.read())
        except aiohttp.ClientError as error:
            raise TemporaryProviderError("market", str(error)) from error
        return QuoteBatch(
            quotes=[Quote(symbol=Symbol(name), price=price) for name, price in prices.items()]
        )

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()


if __name__ == "__main__":
    market, name = sys.argv[1:3]

    def open_market(_settings: ProviderSettings, _clock: Clock) -> MarketProvider:
        return MarketProvider(market, name)

    sys.argv[1:] = ["serve", *sys.argv[3:]]
    with patch("stockstream.app.open_provider", open_market):
        main()
