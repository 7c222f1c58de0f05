"""A node in a process of its own: ``python -m tests.cluster.worker URL NODE MODE``.

``polite`` commits prices of the partitions that it owns, for as long as it is sure to own them.
``stubborn`` never asks itself: it keeps the first tokens that it got and goes on committing.
On SIGTERM it leaves. Prints ``owns`` once it owns something, ``stale`` for each refusal.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Collection, Mapping
from contextlib import suppress

from stockstream.clock import SystemClock
from stockstream.cluster.link import open_link
from stockstream.cluster.membership import Membership, Role
from stockstream.cluster.quote_log import QuoteLog
from stockstream.core.ownership import partition_of
from stockstream.errors import StoreUnavailableError
from tests.cluster.quotes import SYMBOLS, change, group
from tests.cluster.timing import INTERVAL, TTL


class Silent:
    def acquired(self, partitions: Mapping[int, int]) -> None:
        print("owns", len(partitions), flush=True)  # noqa: T201

    def certain(self) -> None:
        pass

    def isolated(self, partitions: Collection[int]) -> None:
        pass

    async def releasing(self, partitions: Collection[int]) -> None:
        pass

    def lost(self, partitions: Collection[int]) -> None:
        pass

    def members(self, nodes: Mapping[str, Role]) -> None:
        pass


async def commit(log: QuoteLog, membership: Membership, *, stubborn: bool) -> None:
    tokens: dict[int, int] = {}
    price = os.getpid() * 1e6
    while True:
        if not (stubborn and tokens):
            tokens = dict(membership.tokens)
        price += 1
        groups = [
            group(symbol, tokens[partition_of(symbol)], change(price))
            for symbol in SYMBOLS
            if partition_of(symbol) in tokens
        ]
        try:
            result = await log.commit(groups)
        except StoreUnavailableError:
            continue
        if result.stale:
            print("stale", flush=True)  # noqa: T201
        await asyncio.sleep(0.005)


async def main(url: str, node: str, mode: str) -> None:
    async with open_link(url) as link:
        membership = Membership(
            link,
            node=node,
            role=Role.ALL,
            listener=Silent(),
            clock=SystemClock(),
            ttl=TTL,
            interval=INTERVAL,
        )
        log = QuoteLog(link, node=node)
        member = asyncio.create_task(membership.run())
        committer = asyncio.create_task(commit(log, membership, stubborn=mode == "stubborn"))
        ended = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
        await ended.wait()
        committer.cancel()
        with suppress(asyncio.CancelledError):
            await committer
        await membership.leave()
        await member


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4]))
