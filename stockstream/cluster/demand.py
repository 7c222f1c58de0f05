"""Which symbols the clients of all nodes want: this node's demand told to others, and theirs."""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from itertools import islice
from typing import Any, Final

import structlog

from stockstream.clock import wait_until
from stockstream.cluster import keys
from stockstream.cluster.link import RedisLink, Script
from stockstream.errors import StoreUnavailableError
from stockstream.model import Symbol
from stockstream.ports import Clock

log = structlog.get_logger(__name__)

_CHANGE: Final = Script("demand")
_READ: Final = Script("demand_read")
# Symbols in one change: Redis does nothing else meanwhile.
_STEP: Final = 1_000
# Nodes whose sets are read in one step.
_READ_NODES: Final = 16
# Seconds that the set of a node that vanished stays; renewed by each round of repairs.
_TTL: Final = 60
# Seconds until what failed is tried again.
_RETRY: Final = 0.5


class _Peer:
    """What is known of another node."""

    __slots__ = ("symbols", "version")

    def __init__(self) -> None:
        self.version = 0
        self.symbols: set[Symbol] = set()


class SharedDemand:
    """What clients want, on this node and on others.

    This node's own demand counts at once, whether Redis can be reached or not. Others' changes come
    over the bus; a lost one is noticed by its version, and whole sets are compared all the time.

    Args:
        link: the way to Redis.
        node: name of this node.
        clock: times repairs.
        on_change: called when the first node wants a symbol (True), and when the last one no
            longer does (False); it does not wait.
        follow: whether others' demand matters here; not on a node that does not stream.
        repair_interval: seconds between two rounds of repairs.
    """

    def __init__(
        self,
        link: RedisLink,
        *,
        node: str,
        clock: Clock,
        on_change: Callable[[Symbol, bool], None],
        follow: bool = True,
        repair_interval: float = 10.0,
    ) -> None:
        self._link = link
        self._node = node
        self._clock = clock
        self._on_change = on_change
        self._follow = follow
        self._repair_interval = repair_interval
        self._own: set[Symbol] = set()
        self._changed: set[Symbol] = set()
        # What Redis has of us: the version, None where the whole set has to be written, and size.
        self._version: int | None = None
        self._written: set[Symbol] = set()
        self._peers: dict[str, _Peer] = {}
        self._to_read: set[str] = set()
        self._counts: Counter[Symbol] = Counter()
        self._wake = asyncio.Event()
        #: How often a peer's set, or ours in Redis, was not what it had to be.
        self.repairs = 0

    # --- this node ----------------------------------------------------------------------------

    def want(self, symbol: Symbol) -> None:
        """Let a symbol be wanted by this node."""
        if symbol not in self._own:
            self._own.add(symbol)
            self._changed.add(symbol)
            self._wake.set()
            self._count(symbol, 1)

    def drop(self, symbol: Symbol) -> None:
        """Let it be wanted by this node no more."""
        if symbol in self._own:
            self._own.discard(symbol)
            self._changed.add(symbol)
            self._wake.set()
            self._count(symbol, -1)

    # --- all nodes ----------------------------------------------------------------------------

    def wanted_by(self, symbol: Symbol) -> int:
        """Return how many nodes want a symbol."""
        return self._counts.get(symbol, 0)

    def wanted(self) -> Iterator[Symbol]:
        """Yield each symbol that any node wants."""
        yield from self._counts

    def members(self, nodes: Collection[str]) -> None:
        """Forget the demand of nodes that are gone, and learn that of new ones."""
        if not self._follow:
            return
        for gone in self._peers.keys() - nodes:
            self._replace(self._peers.pop(gone), set())
        for node in set(nodes) - self._peers.keys() - {self._node}:
            self._peers[node] = _Peer()
            self._to_read.add(node)
        self._wake.set()

    def hear(self, message: bytes) -> None:
        """Take in a message from the channel of demand."""
        if not self._follow or message.count(b" ") < 2:
            return
        node, before, version, *changes = message.decode(errors="replace").split(" ")
        peer = self._peers.get(node)
        if peer is None or not version.isdecimal() or int(version) <= peer.version:
            return
        if before != str(peer.version):
            self._to_read.add(node)
            self._wake.set()
            return
        peer.version = int(version)
        come = {Symbol(change[1:]) for change in changes if change.startswith("+")}
        go = {Symbol(change[1:]) for change in changes if change.startswith("-")}
        self._replace(peer, (peer.symbols | come) - go)

    def repair(self) -> None:
        """Compare everything with Redis soon; what the bus calls after a reconnect."""
        self._to_read.update(self._peers)
        self._wake.set()

    async def run(self) -> None:
        """Tell and repair until cancelled."""
        repaired = self._clock.monotonic()
        while True:
            self._wake.clear()
            now = self._clock.monotonic()
            due = now + self._repair_interval
            try:
                if now - repaired >= self._repair_interval:
                    repaired = now
                    self._to_read.update(self._peers)
                await self._write()
                await self._read()
            except StoreUnavailableError as error:
                log.debug("demand_not_told", error=str(error))
                await self._clock.sleep(_RETRY)
                continue
            await wait_until(self._clock, due, self._wake)

    # ------------------------------------------------------------------------------------------

    async def _write(self) -> None:
        """Bring Redis up to date, in steps; one step at least, which checks what it has."""
        while True:
            if self._version is None:
                self._written = set()
                self._changed = set(self._own)
            step = set(islice(self._changed, _STEP))
            come, go = step & self._own, step - self._own
            reply = await self._run_change(come, go)
            if reply is None:
                self.repairs += 1
                self._version = None
                continue
            self._version = int(reply)
            self._written = (self._written | come) - go
            # What changed once more meanwhile differs from what was written.
            self._changed -= {s for s in step if (s in self._own) == (s in self._written)}
            if not self._changed:
                return

    async def _run_change(self, come: Collection[Symbol], go: Collection[Symbol]) -> Any:
        link = self._link
        believed = "" if self._version is None else self._version
        head = (self._node, link.publish, link.channels.demand, _TTL, believed)
        args = [*head, len(self._written), len(come), *come, *go]
        script_keys = [keys.DEMAND_VERSIONS, keys.demand(self._node)]
        return await link.run(_CHANGE, script_keys, args)

    async def _read(self) -> None:
        while self._to_read:
            nodes = list(islice(self._to_read, _READ_NODES))
            script_keys = [keys.DEMAND_VERSIONS, *map(keys.demand, nodes)]
            replies = await self._link.run(_READ, script_keys, nodes)
            for node, (version, symbols) in zip(nodes, replies, strict=True):
                self._to_read.discard(node)
                self._learn(node, int(version or 0), {Symbol(s.decode()) for s in symbols})

    def _learn(self, node: str, version: int, symbols: set[Symbol]) -> None:
        peer = self._peers.get(node)
        # A change that was heard may be newer than what was read; none is newer than nothing.
        if peer is None or 0 < version < peer.version:
            return
        if symbols != peer.symbols:
            self.repairs += peer.version == version
            self._replace(peer, symbols)
        peer.version = version

    def _replace(self, peer: _Peer, symbols: set[Symbol]) -> None:
        before, peer.symbols = peer.symbols, symbols
        for symbol in symbols - before:
            self._count(symbol, 1)
        for symbol in before - symbols:
            self._count(symbol, -1)

    def _count(self, symbol: Symbol, change: int) -> None:
        self._counts[symbol] += change
        if not self._counts[symbol]:
            del self._counts[symbol]
            self._on_change(symbol, False)
        elif change > 0 and self._counts[symbol] == 1:
            self._on_change(symbol, True)
