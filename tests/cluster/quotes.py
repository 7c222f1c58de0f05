"""Changes to commit, and a receiver that remembers what the bus brought."""

import json
from collections.abc import Iterable, Sequence
from itertools import count
from typing import Any

from stockstream.cluster import keys
from stockstream.cluster.link import RedisLink
from stockstream.cluster.quote_log import Change, CommitResult, Group, LoggedUpdate, QuoteLog
from stockstream.cluster.quote_log import SymbolChanges as Changes
from stockstream.cluster.watch import BusUpdate
from stockstream.core.ownership import PARTITIONS, partition_of
from stockstream.model import Symbol

AAPL, MSFT, NVDA = Symbol("AAPL"), Symbol("MSFT"), Symbol("NVDA")
SYMBOLS = tuple(Symbol(f"S{number}") for number in range(20))

_serials = count(1)


def change(
    price: float, *, serial: int | None = None, timestamp: int = 1_709_649_000_000
) -> Change:
    body = f'{{"symbol":"X","price":{price},"change":0,"changePercent":0,"volume":1,"timestamp":1'
    return Change(
        serial=next(_serials) if serial is None else serial,
        price=repr(price),
        timestamp=timestamp,
        body=body.encode(),
    )


def group(symbol: Symbol, token: int, *changes: Change, epoch: str = "") -> Group:
    return Group(
        partition=partition_of(symbol),
        token=token,
        symbols=[Changes(symbol=symbol, changes=changes, epoch=epoch)],
    )


def raw(link: RedisLink) -> Any:
    """Return the client of a link; redis-py's annotations leave too much open."""
    return link.client


async def own_everything(link: RedisLink, node: str, token: int) -> None:
    """Give all leases to a node, as ticks would."""
    leases = {str(p): f"{token} {node} 99999999999999" for p in range(PARTITIONS)}
    await raw(link).hset(keys.LEASES, mapping=leases)


class Owner:
    """A node that owns everything and commits prices."""

    def __init__(self, link: RedisLink, node: str = "owner", token: int = 7) -> None:
        self.link = link
        self.node = node
        self.token = token
        self.log = QuoteLog(link, node=node)
        self._begun: set[Symbol] = set()

    async def own(self) -> None:
        await own_everything(self.link, self.node, self.token)

    async def commit(self, symbol: Symbol, *prices: float) -> CommitResult:
        if symbol not in self._begun:
            # As a node does when a symbol's stream begins.
            self._begun.add(symbol)
            await self.log.read([symbol], None)
        changes = [change(price) for price in prices]
        return await self.log.commit([group(symbol, self.token, *changes)])


async def owner(link: RedisLink, node: str = "owner", token: int = 7) -> Owner:
    made = Owner(link, node, token)
    await made.own()
    return made


def decoded(updates: Iterable[LoggedUpdate] | None) -> list[dict[str, Any]]:
    assert updates is not None
    return [json.loads(update.payload) for update in updates]


def seqs(updates: Iterable[LoggedUpdate] | None) -> list[int]:
    return [update["seq"] for update in decoded(updates)]


class Collector:
    """Remembers what the bus brought, in order."""

    def __init__(self) -> None:
        self.updates: list[BusUpdate] = []
        self.snapshots: list[tuple[Symbol, LoggedUpdate | None]] = []
        #: All that came of each symbol, snapshots included, as offsets.
        self.offsets: dict[Symbol, list[int]] = {}

    def quotes(self, updates: Sequence[BusUpdate]) -> None:
        self.updates += updates
        for update in updates:
            self.offsets.setdefault(update.symbol, []).append(update.offset)

    def snapshot(self, symbol: Symbol, update: LoggedUpdate | None) -> None:
        self.snapshots.append((symbol, update))
        if update is not None:
            self.offsets.setdefault(symbol, []).append(update.offset)

    def seqs(self, symbol: Symbol) -> list[int]:
        return [json.loads(u.payload)["seq"] for u in self.updates if u.symbol == symbol]
