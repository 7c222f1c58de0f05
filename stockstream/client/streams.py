"""What a program iterates over: the events of some names, as typed values."""

from collections.abc import AsyncGenerator, Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from stockstream.client.inbox import Inbox, InboxClosedError, Overflow
from stockstream.errors import RefusedError
from stockstream.model import Alert, PerformanceMetrics, StockUpdate
from stockstream.wire.names import PERFORMANCE_ALERT, PERFORMANCE_METRICS, Channel
from stockstream.wire.replies import BarUpdate

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """What the events of a channel carry."""

    type: type[T]
    #: Of two with the same key, the newer one can stand for both.
    key: Callable[[T], Hashable]


QUOTES = Kind(StockUpdate, lambda update: update.symbol)
BARS = Kind(BarUpdate, lambda bar: (bar.symbol, bar.timeframe, bar.timestamp))
METRICS = Kind(PerformanceMetrics, lambda metrics: metrics.node)
ALERTS = Kind(Alert, lambda alert: (alert.node, alert.type))
#: What this version does not know.
RAW: Kind[Any] = Kind(object, id)


def kind_of(channel: Channel) -> Kind[Any]:
    """Return what the events of a channel carry."""
    if channel.timeframe is not None:
        return BARS
    if channel.symbol is not None:
        return QUOTES
    if channel.name == PERFORMANCE_METRICS:
        return METRICS
    return ALERTS if channel.name == PERFORMANCE_ALERT else RAW


class Stream(Generic[T]):
    """An async iterable; it is subscribed to while somebody iterates over it.

    Leaving the loop, or being cancelled in it, ends the subscription. It may be iterated over by
    one task at a time. When the client is closed it ends.

    Raises:
        RefusedError: while iterating: the server refuses every one of its events.
        NotConnectedError: while iterating: the client has given up connecting.
        SlowConsumerError: while iterating, with ``overflow="raise"``.
    """

    def __init__(
        self,
        events: Sequence[str],
        *,
        limit: int,
        overflow: Overflow,
        key: Callable[[T], Hashable],
        join: Callable[["Stream[Any]"], None],
        leave: Callable[["Stream[Any]"], None],
    ) -> None:
        #: Canonical names of its events.
        self.events = tuple(events)
        #: Those that the server refuses, and why.
        self.refused: dict[str, RefusedError] = {}
        self._limit = max(limit, len(self.events))
        self._overflow = overflow
        self._key = key
        self.inbox = self._fresh()
        self._join = join
        self._leave = leave
        self._running = False

    @property
    def conflated(self) -> int:
        """Values that were passed over because newer ones came before they were taken."""
        return self.inbox.conflated + self.inbox.dropped

    @property
    def pending(self) -> int:
        """Values that came and were not taken yet."""
        return len(self.inbox)

    async def __aiter__(self) -> AsyncGenerator[T, None]:
        if self._running:
            raise RuntimeError("somebody iterates over this stream already")
        self._running = True
        self.inbox = self._fresh()
        self._join(self)
        try:
            while True:
                yield await self.inbox.get()
        except InboxClosedError:
            return
        finally:
            self._running = False
            self._leave(self)

    def _fresh(self) -> Inbox[T]:
        return Inbox(self._limit, self._overflow, self._key)

    def refuse(self, event: str, error: RefusedError) -> None:
        """Take note of a refusal; where nothing is left to wait for, it ends the stream."""
        self.refused[event] = error
        if len(self.refused) == len(self.events):
            self.inbox.close(error)

    def take(self, event: str, value: T) -> None:
        """Take in a value."""
        self.refused.pop(event, None)
        self.inbox.put(value)
