"""What travels on the event bus (documented, section 2.2)."""

from enum import IntEnum
from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Priority(IntEnum):
    """Which of two waiting events is delivered first; events of one priority keep their order."""

    LOW = 0
    MEDIUM = 1
    HIGH = 2
    CRITICAL = 3


# Not a dataclass: one with frozen slots can't be made through a generic alias in Python 3.11.
class Topic(msgspec.Struct, Generic[T], frozen=True):
    """The name of a kind of event, tied to the type of its data.

    ``Topic[StockUpdate]("stock_updated")`` makes both the publisher's and the subscriber's side
    of that event checkable.
    """

    #: The documented ``type`` of its events.
    name: str


# A struct because one is made for every price change, also where nobody listens: it costs an eighth
# of a frozen dataclass.
class Event(msgspec.Struct, Generic[T_co], frozen=True, kw_only=True):
    """One thing that happened; only the event bus makes them."""

    #: Unique within the process.
    id: str
    #: Name of the topic.
    type: str
    #: When it was published, in ms since the epoch.
    timestamp: int
    #: The part of the house that published it.
    source: str
    data: T_co
    priority: Priority = Priority.MEDIUM
    #: Milliseconds after its publication from which on nobody wants it any more; None: always
    #: wanted.
    ttl_ms: int | None = None
    #: That moment in seconds on the bus's monotonic clock, because ``timestamp`` is on a clock that
    #: jumps; None: never.
    expires_at: float | None = None
