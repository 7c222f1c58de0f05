"""Which symbols a provider's one connection carries, where it can't carry all."""

from collections.abc import Collection, Mapping
from heapq import nlargest

from stockstream.model import Symbol


def allocate(
    demand: Mapping[Symbol, int], limit: int | None, carried: Collection[Symbol]
) -> set[Symbol]:
    """Return the symbols to push, those that most clients want first; the others are polled.

    Args:
        demand: clients of each symbol.
        limit: most symbols that can be pushed; None: any number.
        carried: what is pushed now; at a tie it stays, so that nothing moves without need.
    """
    if limit is None or len(demand) <= limit:
        return set(demand)
    return set(nlargest(limit, demand, key=lambda s: (demand[s], s in carried, s)))
