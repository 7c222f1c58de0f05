"""A node that numbers by itself while it is cut off, and what becomes of that afterwards."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from random import Random

from stockstream.clock import SystemClock
from stockstream.cluster.link import RedisLink
from stockstream.cluster.quote_log import QuoteLog
from stockstream.core.ownership import partition_of
from stockstream.model import StockUpdate, Symbol
from stockstream.services.committing import Committer
from tests.cluster.quotes import AAPL, MSFT, decoded, own_everything, owner

PARTITION = partition_of(AAPL)


class Node:
    """One that owns everything when it believes so."""

    def __init__(self, link: RedisLink) -> None:
        self.token: int | None = 1
        self.begun = 0
        self.alone: list[tuple[str, int]] = []
        self.superseded: list[Symbol] = []
        self.log = QuoteLog(link, node="me")
        self.committer = Committer(
            self.log,
            token=lambda _: self.token,
            clock=SystemClock(),
            random=Random(1),
            on_alone=self._deliver,
            on_refused=lambda: None,
            on_superseded=self.superseded.append,
        )

    def _deliver(self, updates: Sequence[StockUpdate], received: float) -> None:
        self.alone += [(update.epoch, update.seq) for update in updates]

    def offer(self, *prices: float) -> None:
        updates = [
            StockUpdate(
                symbol=AAPL,
                price=price,
                change=0.0,
                change_percent=0.0,
                volume=1.0,
                timestamp=1,
                seq=0,
                epoch="",
            )
            for price in prices
        ]
        self.committer.offer(updates, 0.0)

    async def committed(self) -> list[tuple[float, int]]:
        """Return the prices and numbers of the log once everything is in it."""
        await self.committer.flush([PARTITION])
        return [(u["price"], u["seq"]) for u in decoded(await self.log.after(AAPL, self.begun))]


@asynccontextmanager
async def running(link: RedisLink) -> AsyncIterator[Node]:
    # What is read of the log later is what comes after this one.
    await (await owner(link, "me", 1)).commit(MSFT, 1.0)
    node = Node(link)
    node.begun = await node.log.current_offset()
    task = asyncio.create_task(node.committer.run())
    try:
        yield node
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_what_was_numbered_alone_becomes_everybodys_under_the_same_numbers(
    single: RedisLink,
) -> None:
    async with running(single) as node:
        node.offer(1.0)
        assert await node.committed() == [(1.0, 1)]
        node.token = None
        node.committer.go_on_alone({PARTITION})
        node.offer(2.0, 3.0)
        node.token = 1
        node.committer.go_on_together()
        assert await node.committed() == [(1.0, 1), (2.0, 1), (3.0, 2)]
        assert [seq for _, seq in node.alone] == [1, 2]
        assert not node.superseded


async def test_what_was_numbered_alone_gives_way_where_another_node_went_on(
    single: RedisLink,
) -> None:
    async with running(single) as node:
        node.offer(1.0)
        await node.committed()
        node.token = None
        node.committer.go_on_alone({PARTITION})
        node.offer(5.0, 6.0)
        await (await owner(single, "other", 2)).commit(AAPL, 5.5)
        await own_everything(single, "me", 3)
        node.token = 3
        node.committer.go_on_together()
        # What it asked for while the other one did may be older than what that one made of it.
        assert await node.committed() == [(1.0, 1), (5.5, 2)]
        assert node.superseded == [AAPL]
        assert node.committer.superseded == 2
        node.offer(7.0)
        assert await node.committed() == [(1.0, 1), (5.5, 2), (7.0, 3)]


async def test_what_comes_while_a_commit_is_refused_is_given_up_with_it(single: RedisLink) -> None:
    async with running(single) as node:
        node.offer(1.0)
        await node.committed()
        await (await owner(single, "other", 2)).commit(AAPL, 5.5)
        await own_everything(single, "me", 3)
        node.token = 3
        node.offer(2.0)
        # The commit begins, and the next change comes before its end.
        await asyncio.sleep(0)
        node.offer(3.0)
        assert await node.committed() == [(1.0, 1), (5.5, 2)]
        assert node.superseded == [AAPL]
        assert node.committer.superseded == 2
        assert node.committer.pending == 0


async def test_what_was_numbered_alone_is_given_up_with_the_partition(single: RedisLink) -> None:
    async with running(single) as node:
        node.token = None
        node.committer.go_on_alone({PARTITION})
        node.offer(5.0, 6.0)
        node.committer.drop({PARTITION})
        assert node.superseded == [AAPL]
        # It may be ours again at once.
        node.token = 1
        node.offer(7.0)
        assert await node.committed() == [(7.0, 1)]
