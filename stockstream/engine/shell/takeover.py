"""Becomes a WebSocket: shakes hands through aiohttp, then takes the transport over from it."""

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from contextlib import suppress
from hashlib import sha1

from aiohttp import hdrs, web

from stockstream.engine.core.handshake import BAD_REQUEST
from stockstream.engine.errors import HandshakeRefused
from stockstream.engine.shell.head import Head
from stockstream.engine.shell.protocol import WebSocketProtocol

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


class TakeoverResponse(web.StreamResponse):
    """The answer 101, after which the transport belongs to a `WebSocketProtocol`.

    Middlewares, signals and the access log see it as any response. When aiohttp asks for its
    end, aiohttp's own protocol is told that the connection is lost, without closing it: the
    request, its headers and its parser are freed, and the server's shutdown does not wait for
    the WebSocket.
    """

    # aiohttp then joins the head with the first bytes of the body: one system call for each
    # client less. Where aiohttp does not know the attribute, the head leaves at once.
    _send_headers_immediately = False

    def __init__(self, accept: str, headers: dict[str, str], extension: str | None = None) -> None:
        super().__init__(status=101, headers=headers)
        self.headers[hdrs.UPGRADE] = "websocket"
        self.headers[hdrs.CONNECTION] = "Upgrade"
        self.headers[hdrs.SEC_WEBSOCKET_ACCEPT] = accept
        if extension is not None:
            self.headers[hdrs.SEC_WEBSOCKET_EXTENSIONS] = extension
        self.force_close()
        self._request: web.BaseRequest | None = None
        self._websocket: WebSocketProtocol | None = None

    async def begin(self, request: web.BaseRequest, frame: bytes) -> None:
        """Send the head, and behind it the first frame, if there is one."""
        # A client that has gone meanwhile is found by its missing transport.
        with suppress(ConnectionError):
            writer = await self.prepare(request)
            if frame:
                await self.write(frame)
            elif writer is not None:
                writer.send_headers()

    def hand_over(self, request: web.BaseRequest, websocket: WebSocketProtocol) -> None:
        """Let the WebSocket read from now on; bytes behind the handshake reach it first."""
        self._request = request
        self._websocket = websocket
        # aiohttp knows its own parser here; it calls no more than feed_data and feed_eof.
        request.protocol.set_parser(websocket)  # type: ignore[arg-type]

    async def write_eof(self, data: bytes = b"") -> None:
        """Take the transport over; aiohttp calls this when it is done with the response."""
        request, self._request = self._request, None
        websocket, self._websocket = self._websocket, None
        if request is None or websocket is None:
            return
        handler = request.protocol
        transport = handler.transport
        if transport is None:
            return
        websocket.own(transport, writing_paused=handler.writing_paused)
        # Without a transport the handler has nothing to close when it lets go.
        handler.transport = None
        handler.connection_lost(None)
