"""This server as one of many: updates enter where the owner of a symbol numbers its changes.

The provider knows no symbol, so that nothing else does.
"""

import asyncio
from random import Random

from stockstream import __version__
from stockstream.app import Node
from stockstream.clock import SystemClock
from stockstream.config import load_settings
from stockstream.engine import Site
from stockstream.log import configure_logging
from stockstream.model import Symbol
from stockstream.services.clustered import ClusteredStreaming
from stockstream.serving import tune_collector
from tests.bench.servers.control import Order, run
from tests.bench.servers.market import Market

#: Changes that wait to be committed while as many are made as can be, and that are made at once.
WAITING = 2_000
AT_ONCE = 250

settings = load_settings({})
market = Market()
clock = SystemClock()
node = Node(settings, clock, Random(0))
assert isinstance(node.streaming, ClusteredStreaming)
streaming = node.streaming


async def publish(first: int, count: int) -> None:
    received = clock.monotonic()
    updates = [market.next_update(index) for index in range(first, first + count)]
    streaming.committer.offer(updates, received)


async def watch(symbols: float) -> float:
    """Wants symbols as a client does."""
    for index in range(int(symbols)):
        streaming.acquire(Symbol(f"S{index:05}"))
    return len(streaming.hearing.symbols)


async def flood(seconds: float, symbols: float, *_: float) -> float:
    """Lets the symbols that this node owns change as fast as it can; returns the updates."""
    own = [n for n in range(int(symbols)) if streaming.owned.owns(Symbol(f"S{n:05}"))]
    committer, made = streaming.committer, 0
    end = clock.monotonic() + seconds
    while clock.monotonic() < end:
        if committer.pending > WAITING:
            await asyncio.sleep(0.0005)
            continue
        indices = [own[(made + n) % len(own)] for n in range(AT_ONCE)]
        committer.offer([market.next_update(index) for index in indices], clock.monotonic())
        made += AT_ONCE
        await asyncio.sleep(0)
    while committer.pending:
        await asyncio.sleep(0.001)
    return made


async def heard() -> float:
    """Returns how many updates this node has heard."""
    return streaming.hearing.heard


async def owned() -> float:
    """Returns how much of all symbols is this node's: 1 for all of them."""
    return len(streaming.membership.tokens) / 64


if __name__ == "__main__":
    configure_logging(settings.log_level, settings.log_format)
    tune_collector()
    orders: dict[str, Order] = {"watch": watch, "flood": flood, "heard": heard, "owned": owned}
    run(node.runner(), publish, __version__, orders=orders, jobs=node.jobs(), site=Site)
