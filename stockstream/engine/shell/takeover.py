"""Becomes a WebSocket: shakes hands through aiohttp, then takes the transport over from it."""

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Mapping
from contextlib import suppress
from hashlib import sha1

from aiohttp import hdrs, web

from stockstream.engine.core.handshake import BAD_REQUEST
from stockstream.engine.errors import HandshakeRefused
from stockstream.engine.shell.head import Head
from stockstream.engine.shell.owned import OwnedTransport

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def accept_key(request: Head) -> str:
    """Return what proves to the client that the server speaks WebSocket.

    Raises:
        HandshakeRefused: the request is no valid WebSocket handshake.
    """
    key = request.headers.get(hdrs.SEC_WEBSOCKET_KEY, "")
    try:
        valid = len(b64decode(key, validate=True)) == 16
    except (Base64Error, ValueError):
        valid = False
    if not valid or request.headers.get(hdrs.SEC_WEBSOCKET_VERSION) != "13":
        raise HandshakeRefused(400, *BAD_REQUEST)
    # Not a matter of security: the protocol asks for this very hash.
    digest = sha1(key.encode() + _GUID, usedforsecurity=False).digest()
    return b64encode(digest).decode()


class Takeover(web.StreamResponse):
    """A response after whose head the transport belongs to a protocol of ours.

    Middlewares, signals and the access log see it as any response. When aiohttp asks for its
    end, aiohttp's own protocol is told that the connection is lost, without closing it: the
    request, its headers and its parser are freed, and the server's shutdown does not wait for
    the transport's end.
    """

    # aiohttp then joins the head with the first bytes of the body: one system call for each
    # client less. Where aiohttp does not know the attribute, the head leaves at once.
    _send_headers_immediately = False

    # Nothing is added to the body: neither chunks nor a length.
    _length_check = False

    def __init__(self, status: int, headers: Mapping[str, str]) -> None:
        super().__init__(status=status, headers=headers)
        self.force_close()
        self._request: web.BaseRequest | None = None
        self._owner: OwnedTransport | None = None

    async def begin(self, request: web.BaseRequest, first: bytes) -> None:
        """Send the head, and behind it the first bytes, if there are any."""
        # A client that has gone meanwhile is found by its missing transport.
        with suppress(ConnectionError):
            writer = await self.prepare(request)
            if first:
                await self.write(first)
            elif writer is not None:
                writer.send_headers()

    def hand_over(self, request: web.BaseRequest, owner: OwnedTransport) -> None:
        """Let the protocol read from now on; bytes behind the request reach it first."""
        self._request = request
        self._owner = owner
        # aiohttp knows its own parser here; it calls no more than feed_data and feed_eof.
        request.protocol.set_parser(owner)  # type: ignore[arg-type]

    async def write_eof(self, data: bytes = b"") -> None:
        """Take the transport over; aiohttp calls this when it is done with the response."""
        request, self._request = self._request, None
        owner, self._owner = self._owner, None
        if request is None or owner is None:
            return
        handler = request.protocol
        transport = handler.transport
        if transport is None:
            return
        owner.own(transport, writing_paused=handler.writing_paused)
        # Without a transport the handler has nothing to close when it lets go.
        handler.transport = None
        handler.connection_lost(None)


class TakeoverResponse(Takeover):
    """The answer 101, after which the transport belongs to a `WebSocketProtocol`."""

    def __init__(self, accept: str, headers: dict[str, str], extension: str | None = None) -> None:
        super().__init__(101, headers)
        self.headers[hdrs.UPGRADE] = "websocket"
        self.headers[hdrs.CONNECTION] = "Upgrade"
        self.headers[hdrs.SEC_WEBSOCKET_ACCEPT] = accept
        if extension is not None:
            self.headers[hdrs.SEC_WEBSOCKET_EXTENSIONS] = extension
