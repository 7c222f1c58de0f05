"""The handshake: its parameters, and which requests the protocol allows."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from stockstream.engine.core.message import Message, control
from stockstream.engine.core.packets import OPEN
from stockstream.engine.errors import ConfigurationError, HandshakeRefused

POLLING = "polling"
WEBSOCKET = "websocket"
TRANSPORTS = (POLLING, WEBSOCKET)

#: Error numbers as Node's Engine.IO server gives them, with their words.
UNKNOWN_TRANSPORT = (0, "Transport unknown")
UNKNOWN_SID = (1, "Session ID unknown")
BAD_METHOD = (2, "Bad handshake method")
BAD_REQUEST = (3, "Bad request")
FORBIDDEN = (4, "Forbidden")
BAD_VERSION = (5, "Unsupported protocol version")


@dataclass(frozen=True, kw_only=True, slots=True)
class Handshake:
    """What a server tells its clients when they open a session.

    Raises:
        ConfigurationError: a value that no client could work with.
    """

    #: Seconds between a pong and the next ping.
    ping_interval: float = 25.0
    #: Seconds that a client has to answer a ping.
    ping_timeout: float = 20.0
    #: Bytes of one message or polling body that the server takes.
    max_payload: int = 1_000_000
    #: Whether polling clients are told that they may move to WebSocket.
    allow_upgrades: bool = True
    #: Transports that are served.
    transports: tuple[str, ...] = TRANSPORTS

    def __post_init__(self) -> None:
        for key in ("ping_interval", "ping_timeout", "max_payload"):
            # Less than a millisecond would reach clients as 0.
            if getattr(self, key) < 0.001:
                raise ConfigurationError(key, getattr(self, key), "at least 0.001")
        if not self.transports or not set(self.transports) <= set(TRANSPORTS):
            raise ConfigurationError("transports", self.transports, ", ".join(TRANSPORTS))

    def open_packet(self, sid: str, transport: str) -> Message:
        """Return the packet that opens a session."""
        upgrades = (
            [WEBSOCKET]
            if transport == POLLING and self.allow_upgrades and WEBSOCKET in self.transports
            else []
        )
        values = {
            "sid": sid,
            "upgrades": upgrades,
            "pingInterval": round(self.ping_interval * 1000),
            "pingTimeout": round(self.ping_timeout * 1000),
            "maxPayload": self.max_payload,
        }
        return control(OPEN + json.dumps(values, separators=(",", ":")))

    def check(self, method: str, query: Mapping[str, str], *, upgrade: bool) -> str:
        """Return the transport that a request is for.

        Args:
            method: Of the request.
            query: Its query parameters.
            upgrade: Whether it asks to become a WebSocket.

        Raises:
            HandshakeRefused: the protocol forbids such a request.
        """
        transport = query.get("transport", "")
        if transport not in self.transports:
            raise HandshakeRefused(400, *UNKNOWN_TRANSPORT)
        if upgrade != (transport == WEBSOCKET):
            raise HandshakeRefused(400, *BAD_REQUEST)
        if "sid" in query:
            if query.get("EIO", "4") != "4":
                raise HandshakeRefused(400, *BAD_VERSION)
            if method != "GET" and (method != "POST" or upgrade):
                raise HandshakeRefused(400, *BAD_REQUEST)
        elif method != "GET":
            raise HandshakeRefused(400, *BAD_METHOD)
        elif query.get("EIO") != "4":
            raise HandshakeRefused(400, *BAD_VERSION)
        return transport
