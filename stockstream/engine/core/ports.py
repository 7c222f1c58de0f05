"""What the core asks of the sockets and requests that a client comes by."""

from collections.abc import Hashable
from typing import Protocol


class InboundPort(Hashable, Protocol):
    """Where packets of a client come from: a WebSocket, or a POST that is being read."""

    def pause_reading(self) -> None:
        """Take nothing more from the client until `resume_reading`."""

    def resume_reading(self) -> None:
        """Go on."""


class Abortable(Hashable, Protocol):
    """A connection that can be ended."""

    def abort(self) -> None:
        """End at once; what is still buffered is lost."""


class WebSocketPort(InboundPort, Hashable, Protocol):
    """What the core asks of a WebSocket that was shaken hands with."""

    def write(self, data: bytes, /) -> None:
        """Send whole frames; never blocks."""

    def close(self, code: int) -> None:
        """Send a close frame and end once the client has answered it."""

    def abort(self) -> None:
        """End at once; what is still buffered is lost."""
