"""An alert about the service itself (documented, section 7.1)."""

from enum import StrEnum

import msgspec


class AlertType(StrEnum):
    """What is out of bounds; the first three are documented."""

    HIGH_LATENCY = "high_latency"
    HIGH_ERROR_RATE = "high_error_rate"
    HIGH_MEMORY_USAGE = "high_memory_usage"
    HIGH_MESSAGE_RATE = "high_message_rate"
    #: The value is the seconds for which Redis has been out of reach.
    REDIS_UNAVAILABLE = "redis_unavailable"
    #: The value is how many ticks and bars could not be stored in the interval.
    HISTORY_SHED = "history_shed"


class AlertState(StrEnum):
    """Whether the value is out of bounds now, or back within them."""

    FIRING = "firing"
    RESOLVED = "resolved"


class Alert(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A value passed its threshold, in either direction."""

    type: AlertType
    state: AlertState
    #: The value measured, and the threshold that it is held against, in the threshold's unit.
    value: float
    threshold: float
    #: Which node measured it.
    node: str
    #: When the alert began to fire, in ms since the epoch.
    since: int
    #: When this was measured, in ms since the epoch.
    timestamp: int
