"""A node whose prices change when a test says so."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

from stockstream import app, wiring
from stockstream.app import Node
from stockstream.config import Settings
from stockstream.engine import Limits
from stockstream.model import Quote, Symbol
from stockstream.ports import Clock
from stockstream.serving import running_node
from tests.support.processes import wait_until
from tests.support.providers import FakeProvider

#: Bytes that wait in a server's transport before its outbox is used: little, so that a few
#: updates fill it.
_TRANSPORT_BYTES = 2_000
#: Seconds that the server waits at its end for clients that were cut off and will never answer.
_CLOSE_SECONDS = 0.05


def price_of(seq: int) -> float:
    """Return the price that the update of that number has."""
    return 100 + seq / 100


class Market:
    """A :class:`~stockstream.provider_ports.QuoteFeed` whose n-th price of a symbol is known."""

    symbol_limit = None

    def __init__(self) -> None:
        #: Number of the last change of each symbol; the server numbers them alike.
        self.seqs: Counter[str] = Counter()
        self._coming: asyncio.Queue[Sequence[Quote]] = asyncio.Queue()

    def change(self, symbols: Iterable[str]) -> None:
        """Change prices once for each name, all of them in one delivery of the provider."""
        quotes = []
        for symbol in symbols:
            self.seqs[symbol] += 1
            price = price_of(self.seqs[symbol])
            quotes.append(Quote(symbol=Symbol(symbol), price=price))
        self._coming.put_nowait(quotes)

    async def watch(self, symbols: Collection[Symbol]) -> None:
        pass

    async def stream(self) -> AsyncGenerator[Sequence[Quote], None]:
        while True:
            yield await self._coming.get()


class Exchange:
    """A running node and its market."""

    def __init__(self, node: Node, url: str, market: Market) -> None:
        self.node = node
        self.url = url
        self.market = market

    @property
    def port(self) -> int:
        port = urlsplit(self.url).port
        assert port is not None
        return port

    def change(self, *symbols: str) -> None:
        """See :meth:`Market.change`."""
        self.market.change(symbols)

    def info(self, client_id: str) -> dict[str, Any]:
        """Return what the node says about a client."""
        info = self.node.gateway.get_client_info(client_id)
        assert info is not None
        return info

    def engine_total(self, what: str) -> int:
        """Return a counter of the engine, over the servers of both wire forms."""
        return sum(server.metrics.as_dict()[what] for server in self.node.servers.values())

    def unread_bytes(self) -> int:
        """Return the bytes that wait for all clients."""
        hubs = [server.eio.hub for server in self.node.servers.values()]
        return sum(each.unread_bytes for hub in hubs for each in hub.sessions.values())


@asynccontextmanager
async def open_exchange(
    symbols: Sequence[str],
    *,
    unpriced: Sequence[str] = (),
    clock: Clock | None = None,
    **settings: Any,
) -> AsyncIterator[Exchange]:
    """Run a node in which symbols stream from the start.

    Args:
        symbols: have a first price.
        unpriced: have none yet.
        clock: of the node, but for its connections.
        settings: what differs from the defaults.
    """
    market = Market()
    usual: dict[str, Any] = {
        "port": 0,
        "symbols": (*symbols, *unpriced),
        "max_connections_per_address": 10_000,
        "slow_consumer_timeout": 600,
    }

    def limits(**given: Any) -> Limits:
        return Limits(transport_bytes=_TRANSPORT_BYTES, close_seconds=_CLOSE_SECONDS, **given)

    with (
        patch.object(app, "open_provider", lambda *_: FakeProvider(feed=market)),
        patch.object(wiring, "Limits", limits),
    ):
        async with running_node(Settings(**usual | settings), clock, Random(1)) as (node, url):
            market.change(symbols)
            await wait_until(
                lambda: all(node.streaming.snapshot(Symbol(s)) for s in symbols), "the first prices"
            )
            yield Exchange(node, url, market)
