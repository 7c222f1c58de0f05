"""A member of the cluster that remembers what it was told."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager, suppress

from stockstream.clock import SystemClock
from stockstream.cluster.link import RedisLink
from stockstream.cluster.membership import Membership, Role
from stockstream.ports import Clock
from tests.cluster.timing import INTERVAL, TTL


class Told:
    """What a member was told."""

    def __init__(self) -> None:
        self.owned: dict[int, int] = {}
        #: Partitions that were lost, and of these the ones that were announced before.
        self.lost_ones: list[int] = []
        self.released: list[int] = []
        self.nodes: dict[str, Role] = {}
        self.isolations = 0

    def acquired(self, partitions: Mapping[int, int]) -> None:
        self.owned.update(partitions)

    def certain(self) -> None:
        pass

    def isolated(self, partitions: Collection[int]) -> None:
        self.isolations += 1

    async def releasing(self, partitions: Collection[int]) -> None:
        assert set(partitions) <= self.owned.keys()
        self.released += partitions

    def lost(self, partitions: Collection[int]) -> None:
        self.lost_ones += partitions
        for partition in partitions:
            del self.owned[partition]

    def members(self, nodes: Mapping[str, Role]) -> None:
        self.nodes = dict(nodes)


class Member:
    def __init__(
        self,
        link: RedisLink,
        node: str,
        role: Role = Role.ALL,
        clock: Clock | None = None,
        *,
        ttl: float = TTL,
        interval: float = INTERVAL,
    ) -> None:
        self.told = Told()
        self.membership = Membership(
            link,
            node=node,
            role=role,
            listener=self.told,
            clock=clock or SystemClock(),
            ttl=ttl,
            interval=interval,
        )

    @property
    def owned(self) -> set[int]:
        return set(self.membership.tokens)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Member"]:
        """Take part for as long as the context lasts; leaves nothing behind but its leases."""
        task = asyncio.create_task(self.membership.run())
        try:
            yield self
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
