"""Who streams which symbols: every node comes to the same answer by itself.

Symbols are dealt to partitions by a stable hash, and partitions to nodes by rendezvous hashing with
bounded loads (Mirrokni, Thorup, Zadimoghaddam: "Consistent hashing with bounded loads", 2016).
"""

from collections.abc import Collection
from functools import lru_cache
from hashlib import blake2b
from typing import Final
from zlib import crc32

from stockstream.model import Symbol

#: Symbols move between nodes by partitions. Never changed while nodes of two versions run.
PARTITIONS: Final = 64


def partition_of(symbol: Symbol) -> int:
    """Return the partition of a symbol: 0 to 63, the same on every node and in every version."""
    return crc32(symbol.encode()) % PARTITIONS


def desired_owners(nodes: Collection[str]) -> tuple[str, ...]:
    """Return the node that should own each partition, by index; empty where there are no nodes.

    Depends on nothing but which nodes there are. Their loads differ by one partition at most, and
    when a node comes or goes, little moves beside what it takes or leaves.
    """
    return _desired_owners(frozenset(nodes))


# Nodes come and go seldom, and each tick asks again.
@lru_cache(maxsize=8)
def _desired_owners(nodes: frozenset[str]) -> tuple[str, ...]:
    if not nodes:
        return ()
    least, with_one_more = divmod(PARTITIONS, len(nodes))
    loads = dict.fromkeys(nodes, 0)
    owners: dict[int, str] = {}
    # Whoever prefers each other most is joined first, as in a stable marriage.
    for _, node, partition in sorted(_preferences(nodes), reverse=True):
        if partition in owners or loads[node] > least:
            continue
        if loads[node] == least:
            if not with_one_more:
                continue
            with_one_more -= 1
        loads[node] += 1
        owners[partition] = node
    return tuple(owners[partition] for partition in range(PARTITIONS))


def _preferences(nodes: Collection[str]) -> list[tuple[bytes, str, int]]:
    # Not crc32: it is linear, so nodes would rank different partitions alike.
    return [
        (blake2b(f"{node}/{partition}".encode(), digest_size=8).digest(), node, partition)
        for node in nodes
        for partition in range(PARTITIONS)
    ]
