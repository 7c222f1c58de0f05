"""Changes as clients send them, found to be well-formed."""

from itertools import count
from typing import Any

from stockstream.core.conflict_resolution import ConflictResolutionEngine
from stockstream.core.hybrid_clock import HybridClock
from stockstream.core.syncing import Quota, SyncRules
from stockstream.model.document import Change, DocumentKey
from stockstream.wire.canonical import canonical

USER = "ann"
#: A time in ms since the epoch.
NOW = 1_700_000_000_000

_numbers = count(1)


class Changes:
    """Makes changes; each is received after the one before it."""

    def __init__(self) -> None:
        self._clock = HybridClock()
        self.now = NOW

    def __call__(
        self,
        data: dict[str, Any] | None,
        *,
        item_id: str | None = None,
        document: str = "d",
        kind: str = "note",
        base: int | None = None,
        strategy: str = "merge",
        resolves: str | None = None,
        author: str = USER,
    ) -> Change:
        return Change(
            item_id=item_id or f"item-{next(_numbers)}",
            key=DocumentKey(kind, document),
            body=None if data is None else canonical(data),
            base_version=base,
            strategy=strategy,
            resolves=resolves,
            author=author,
            stamp=self._clock.stamp(self.now),
        )


def rules(**quota: int) -> SyncRules:
    """Return the rules, with the documented strategies."""
    return SyncRules(ConflictResolutionEngine(), Quota(**quota))
