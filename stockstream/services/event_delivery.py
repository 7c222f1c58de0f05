"""How a subscriber of the event bus wants its events, and what became of them."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

from stockstream.core.backoff import Backoff
from stockstream.model.event import Event

#: A handler of any subscription, as its task calls it.
BatchHandler = Callable[[Sequence[Event[Any]]], Awaitable[None] | None]
#: Says whether a subscription wants an event.
EventFilter = Callable[[Event[Any]], bool]

_BACKOFF: Final = Backoff(initial=0.1, maximum=5.0)


@dataclass(slots=True, kw_only=True)
class DeliveryCounts:
    """What became of the events that matched a subscription.

    ``accepted`` is the sum of all others but ``retried``, and of what is pending.
    """

    #: Matched a topic and the filter (or made the filter fail).
    accepted: int = 0
    #: A handler took them and returned.
    delivered: int = 0
    #: Given to the handler once more after it had failed; an event counts once for each time.
    retried: int = 0
    #: Given up after the last retry, or because the filter failed.
    dead: int = 0
    #: Outlived their ``ttl`` before they were delivered.
    expired: int = 0
    #: Made room for others in the full queue.
    dropped: int = 0
    #: Undelivered when the subscription was closed, or when the bus's deadline for that was over.
    abandoned: int = 0

    def add(self, other: "DeliveryCounts") -> None:
        """Add another's counts to these."""
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """An event that a subscriber could not handle."""

    event: Event[Any]
    #: Type and message of the last error; its traceback is in the log, and not kept in memory.
    error: str
    #: How often the handler was called; 0 where the filter failed.
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryOptions:
    """How a subscriber wants its events."""

    #: Most events in one call of the handler.
    batch_size: int = 1
    #: Seconds that a subscriber with nothing else to do waits for a batch to fill.
    batch_timeout: float = 0.1
    #: How often a failed call is repeated before its events are dead.
    max_retries: int = 3
    #: How long to wait before each of these.
    backoff: Backoff = _BACKOFF
    #: Most events that wait.
    max_pending: int = 10_000

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.max_pending < 1:
            raise ValueError(
                f"batch_size {self.batch_size} or max_pending {self.max_pending} is below 1"
            )
        if self.batch_timeout < 0 or self.max_retries < 0:
            raise ValueError(
                f"batch_timeout {self.batch_timeout} or max_retries {self.max_retries} is below 0"
            )
