"""A client that only listens: a stream of Server-Sent Events is its transport.

See https://html.spec.whatwg.org/multipage/server-sent-events.html.
"""

from typing import Final

from stockstream.engine.core.connection import Connection
from stockstream.engine.core.hub import Hub
from stockstream.engine.core.message import Raw
from stockstream.engine.core.ports import WebSocketPort

EVENT_STREAM: Final = "event-stream"

#: A comment: keeps proxies from taking the stream for dead, and finds clients that are.
_HEARTBEAT: Final = Raw(b":\n\n")


class StreamConnection(Connection):
    """A client of the engine to which messages are written as they are (see `Raw`).

    It is limited and conflated as every other one. It answers no pings: instead of a ping there is
    a comment, and it is the transport that says when the client is gone.
    """

    __slots__ = ()

    def __init__(self, hub: Hub, sid: str, address: str, port: WebSocketPort) -> None:
        super().__init__(hub, sid, address, port)
        self.transport = EVENT_STREAM
        # There is nothing more that it would have to say.
        self.accepted()

    def ping(self) -> None:
        """Send a sign of life: that is due."""
        self._hub.ping_due.start(self, self._hub.clock())
        self.offer(_HEARTBEAT, _HEARTBEAT)
