"""The second transport of a client that moves from polling to WebSocket."""

from stockstream.engine.core.ports import WebSocketPort


class Probe:
    """A WebSocket that a polling session may move to.

    Attributes:
        port: It.
        deflates: Whether its messages may be compressed.
        answered: Whether the client was told that it may move.
        code: What it is closed with, should the session end before.
    """

    __slots__ = ("answered", "code", "deflates", "port")

    def __init__(self, port: WebSocketPort, *, deflates: bool) -> None:
        self.port = port
        self.deflates = deflates
        self.answered = False
        self.code = 1000
