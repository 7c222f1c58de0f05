"""A node whose prices change when a test says so, in this very process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any
from unittest.mock import patch

from stockstream import app
from stockstream.config import Settings
from stockstream.model import Symbol
from stockstream.serving import running_node
from tests.fanout.market import Exchange, Market
from tests.support.processes import wait_until
from tests.support.providers import FakeProvider


@asynccontextmanager
async def exchange(
    *symbols: str, unpriced: tuple[str, ...] = (), port: int = 0, **settings: Any
) -> AsyncIterator[Exchange]:
    """Run a node whose symbols stream all the time.

    Args:
        symbols: have a first price.
        unpriced: have none yet.
        port: where it listens; 0: anywhere.
        settings: what differs from the defaults.
    """
    market = Market()
    usual: dict[str, Any] = {
        "port": port,
        "symbols": (*symbols, *unpriced),
        "max_connections_per_address": 10_000,
        "shutdown_timeout": 2.0,
    }
    with patch.object(app, "open_provider", lambda *_: FakeProvider(feed=market)):
        async with running_node(Settings(**usual | settings), None, Random(1)) as (node, url):
            market.change(symbols)
            await wait_until(
                lambda: all(node.streaming.snapshot(Symbol(s)) for s in symbols), "the first prices"
            )
            yield Exchange(node, url, market)


async def change(place: Exchange, *symbols: str, times: int = 1) -> None:
    """Change prices so often, each time in a delivery of its own, and wait until it is done."""
    for _ in range(times):
        place.change(*symbols)
    await wait_until(
        lambda: all(_seq(place, symbol) == place.market.seqs[symbol] for symbol in symbols),
        "the changes",
    )


def _seq(place: Exchange, symbol: str) -> int:
    snapshot = place.node.streaming.snapshot(Symbol(symbol))
    return snapshot.seq if snapshot is not None else 0


async def is_gone(place: Exchange) -> None:
    """Wait until the node knows that a client lost its connection."""
    await wait_until(lambda: place.node.recovery.waiting, "the loss of a client")
