"""What a connection is doing (documented, section 3.1)."""

from dataclasses import dataclass
from enum import StrEnum


class ConnectionState(StrEnum):
    """The documented states."""

    #: Not begun, ended, or given up.
    DISCONNECTED = "disconnected"
    #: The first attempt is under way.
    CONNECTING = "connecting"
    CONNECTED = "connected"
    #: Lost or refused; it is being tried again.
    RECONNECTING = "reconnecting"


@dataclass(frozen=True, slots=True, kw_only=True)
class StateChange:
    """The connection is in another state than before, or waits for another attempt."""

    state: ConnectionState
    #: Why it was lost or could not be had; empty where all is well.
    reason: str = ""
    #: Seconds until the next attempt; None: it is under way, or there is none.
    retry_in: float | None = None
