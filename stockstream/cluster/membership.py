"""Who is here, and which partitions each owns: leases with fencing tokens."""

import asyncio
from collections.abc import Collection, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Protocol

import structlog

from stockstream.clock import wait_until
from stockstream.cluster import keys
from stockstream.cluster.link import Argument, RedisLink, Script
from stockstream.core.ownership import PARTITIONS, desired_owners
from stockstream.errors import StoreUnavailableError
from stockstream.ports import Clock

log = structlog.get_logger(__name__)

_TICK: Final = Script("tick")
_LEAVE: Final = Script("leave")
# Partitions handed over in one tick: few at a time, so that no symbol's move holds up another's.
_HANDED_OVER: Final = 8
# Ticks in a row that one change of members may cause.
_MOST_TICKS: Final = 3


class Role(StrEnum):
    """What a node does."""

    #: Serves clients, and streams from the provider.
    ALL = "all"
    #: Serves clients only.
    GATEWAY = "gateway"
    #: Streams from the provider only.
    FEED = "feed"

    @property
    def streams(self) -> bool:
        """Whether such a node owns partitions."""
        return self is not Role.GATEWAY


class MembershipListener(Protocol):
    """Who wants to know; nothing here may wait but :meth:`releasing`."""

    def acquired(self, partitions: Mapping[int, int]) -> None:
        """Take over partitions, each with its fencing token; commits with it are accepted.

        One that was owned before has a new token: its lease had run out, and nobody took it.
        """
        ...

    def certain(self) -> None:
        """Learn that leases which had run out, as far as this node knew, are its own all the same.

        Called after :meth:`acquired`, which tells only of those with new tokens: what did not
        happen meanwhile, since there was no token, can happen now.
        """
        ...

    def isolated(self, partitions: Collection[int]) -> None:
        """Learn that nobody can say any more who owns these, for Redis is out of reach.

        Each is acquired or lost when it can be said again.
        """
        ...

    async def releasing(self, partitions: Collection[int]) -> None:
        """Stop streaming partitions and commit what is under way; they are lost next.

        Given little time, and cancelled after it. Where the release then fails, they are still
        owned, and announced once more.
        """
        ...

    def lost(self, partitions: Collection[int]) -> None:
        """Stop streaming partitions: released, or taken by somebody else."""
        ...

    def members(self, nodes: Mapping[str, Role]) -> None:
        """Learn which nodes are here, this one included, when that has changed."""
        ...


class Membership:
    """This node's place among the others.

    What it believes to own it stops believing in time by its own monotonic clock, and the store
    refuses its writes when it is wrong all the same (it was stopped, and woke up).

    Args:
        link: the way to Redis.
        node: name of this node, unique to this process; no blanks.
        role: what it does.
        listener: who is told of changes.
        clock: only its monotonic side matters.
        ttl: seconds that membership and leases outlive their last renewal.
        interval: seconds between two renewals; several must fit into ``ttl``.
        drain: most seconds for :meth:`MembershipListener.releasing`.
    """

    def __init__(
        self,
        link: RedisLink,
        *,
        node: str,
        role: Role,
        listener: MembershipListener,
        clock: Clock,
        ttl: float = 2.0,
        interval: float = 0.5,
        drain: float = 0.25,
    ) -> None:
        self.node = node
        self.role = role
        self._link = link
        self._listener = listener
        self._clock = clock
        self._ttl = ttl
        self._interval = interval
        self._drain = drain
        self._tokens: dict[int, int] = {}
        self._members: dict[str, Role] = {}
        # Until when leases and membership are certain, on the monotonic clock.
        self._certain_until = clock.monotonic()
        self._hand_over_from = self._certain_until
        self._woken = asyncio.Event()
        self._ticking = asyncio.Lock()
        self._left = False
        # Partitions that were owned when Redis was lost.
        self._orphans: set[int] = set()
        # Until when members that Redis does not know (yet) are believed to be here.
        self._patient_until = self._certain_until
        #: How often Redis could not be reached in time.
        self.failures = 0
        #: Since when it can't, on the monotonic clock; None while it can.
        self.failing_since: float | None = None
        #: Since when it can, the same way; meaningless while it can't.
        self.answering_since = self._certain_until

    @property
    def isolated(self) -> bool:
        """Whether this node has been out of touch for so long that its leases may be others'."""
        return self._clock.monotonic() >= self._certain_until

    @property
    def tokens(self) -> Mapping[int, int]:
        """The partitions that this node owns with their tokens; none while it is isolated."""
        return MappingProxyType({} if self.isolated else self._tokens)

    @property
    def nodes(self) -> Mapping[str, Role]:
        """The nodes that were here at the last tick."""
        return MappingProxyType(self._members)

    def token(self, partition: int) -> int | None:
        """Return the fencing token of a partition that this node owns, or None."""
        return None if self.isolated else self._tokens.get(partition)

    def wake(self, who: bytes = b"") -> None:
        """Tick at once; what the bus calls for a message on the channel of members."""
        if who != self.node.encode():
            self._woken.set()

    async def run(self) -> None:
        """Take part until cancelled or :meth:`leave`; cancelling alone lets the leases expire."""
        while not self._left:
            self._woken.clear()
            begun = self._clock.monotonic()
            try:
                await self.tick()
            except StoreUnavailableError as error:
                self._missed(error)
            await wait_until(self._clock, begun + self._interval, self._woken)

    async def tick(self) -> None:
        """Renew, release and acquire, once; what :meth:`run` does all the time.

        Raises:
            StoreUnavailableError: Redis did not answer in time; leases may run out.
        """
        async with self._ticking:
            for _ in range(_MOST_TICKS):
                desired = self._desired()
                await self._tick(desired)
                # Others came or went, which only this tick told: act on it now.
                if self._left or desired == self._desired():
                    return

    async def retire(self) -> None:
        """Hand over everything at once and stream nothing more, but stay here for the clients.

        Raises:
            StoreUnavailableError: Redis can't be reached; others take over when the leases expire.
        """
        async with self._ticking:
            self.role = Role.GATEWAY
            owned = set(self._tokens)
            await self._release(owned)
            await self._exchange(set(), owned)

    async def leave(self) -> None:
        """Hand over everything at once, and wake the others; :meth:`run` ends.

        Raises:
            StoreUnavailableError: Redis can't be reached; others take over when the leases expire.
        """
        self._left = True
        self._woken.set()
        async with self._ticking:
            await self._release(set(self._tokens))
            link = self._link
            script_keys = [keys.NODES, keys.ROLES, keys.LEASES, keys.DEMAND_VERSIONS]
            script_keys.append(keys.demand(self.node))
            try:
                args = [self.node, link.publish, link.channels.members]
                await link.run(_LEAVE, script_keys, args)
            finally:
                gone, self._tokens = self._orphans | self._tokens.keys(), {}
                self._orphans.clear()
                if gone:
                    self._listener.lost(gone)

    def _desired(self) -> set[int]:
        if not self.role.streams:
            return set()
        owners = desired_owners([node for node, role in self._members.items() if role.streams])
        return {partition for partition, owner in enumerate(owners) if owner == self.node}

    def _surplus(self, desired: set[int]) -> set[int]:
        """Return what to hand over now; others' ticks don't make it more often."""
        now = self._clock.monotonic()
        surplus = sorted(self._tokens.keys() - desired)[:_HANDED_OVER]
        if not surplus or now < self._hand_over_from:
            return set()
        self._hand_over_from = now + self._interval
        return set(surplus)

    async def _tick(self, desired: set[int]) -> None:
        surplus = self._surplus(desired)
        await self._release(surplus)
        if not self._left:
            await self._exchange(desired, surplus)

    async def _exchange(self, desired: set[int], surplus: set[int]) -> None:
        """Tell Redis what we want and give up, and learn what we have and who is here."""
        link = self._link
        actions = "".join(
            "r" if p in surplus else "a" if p in desired else "k" if p in self._tokens else "-"
            for p in range(PARTITIONS)
        )
        args: list[Argument] = [self.node, self.role, round(self._ttl * 1000)]
        args += (link.publish, link.channels.members, actions)
        script_keys = [keys.NODES, keys.ROLES, keys.LEASES, keys.TOKEN, keys.DEMAND_VERSIONS]
        sent = self._clock.monotonic()
        joined, members, held = await link.run(
            _TICK, script_keys, args, within=min(link.timeout, self._ttl / 2)
        )
        if self._clock.monotonic() >= sent + self._ttl:
            # The answer is older than what it promises.
            return
        was_isolated, self._certain_until = self.isolated, sent + self._ttl
        if self.failing_since is not None:
            self.failing_since, self.answering_since = None, sent
        if joined and self._members:
            # Redis forgot us, and so perhaps the others: what is theirs is not to be grabbed.
            self._patient_until = sent + self._ttl
        self._take_tokens({int(p): int(t) for p, t in zip(held[::2], held[1::2], strict=True)})
        if was_isolated and self._tokens:
            self._listener.certain()
        pairs = zip(members[::2], members[1::2], strict=True)
        self._take_members({node.decode(): Role(role.decode()) for node, role in pairs})

    async def _release(self, partitions: set[int]) -> None:
        if not partitions:
            return
        try:
            async with asyncio.timeout(self._drain):
                await self._listener.releasing(partitions)
        except TimeoutError:
            log.warning("partitions_not_drained", partitions=sorted(partitions))

    def _take_tokens(self, tokens: dict[int, int]) -> None:
        before = self._tokens
        gone = (before.keys() | self._orphans) - tokens.keys()
        self._orphans.clear()
        self._tokens = {p: token for p, token in before.items() if p in tokens}
        if gone:
            self._listener.lost(gone)
        acquired = {p: token for p, token in tokens.items() if before.get(p) != token}
        self._tokens = tokens
        if acquired:
            log.info("partitions_acquired", count=len(acquired), owned=len(tokens))
            self._listener.acquired(acquired)

    def _take_members(self, members: dict[str, Role]) -> None:
        if self._clock.monotonic() < self._patient_until:
            members = {**self._members, **members}
        if members != self._members:
            log.info("members_changed", nodes=len(members))
            self._members = members
            self._listener.members(members)

    def _missed(self, error: StoreUnavailableError) -> None:
        self.failures += 1
        if self.failing_since is None:
            self.failing_since = self._clock.monotonic()
        if self._tokens and self.isolated:
            log.warning("leases_not_certain", count=len(self._tokens), error=str(error))
            self._orphans |= self._tokens.keys()
            self._tokens = {}
            self._listener.isolated(self._orphans)
