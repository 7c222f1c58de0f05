"""Answers requests: the part of the engine that aiohttp, or `Front` in its place, drives."""

import asyncio
import secrets
from collections.abc import Callable
from typing import Any

from aiohttp import hdrs, web

from stockstream.engine.core.connection import Connection
from stockstream.engine.core.deflate import DeflatingConnection, agree
from stockstream.engine.core.handshake import (
    FORBIDDEN,
    POLLING,
    UNKNOWN_SID,
    WEBSOCKET,
    Handshake,
)
from stockstream.engine.core.hub import Hub
from stockstream.engine.errors import HandshakeRefused
from stockstream.engine.metrics import Metrics
from stockstream.engine.shell import polling
from stockstream.engine.shell.address import Origins, TrustedProxies
from stockstream.engine.shell.cookie import session_cookie
from stockstream.engine.shell.environ import Environ
from stockstream.engine.shell.head import HandshakeHead, Head, asks_for_websocket
from stockstream.engine.shell.protocol import WebSocketProtocol
from stockstream.engine.shell.responses import refusal_bytes, refusal_response, switching_bytes
from stockstream.engine.shell.takeover import TakeoverResponse, accept_key

OnConnect = Callable[[Connection, Environ], None]

_TEXT = {"Content-Type": "text/plain; charset=UTF-8", "Cache-Control": "no-store"}


class RequestServer:
    """The part of `EngineServer` that requests reach; that one sets the attributes."""

    hub: Hub
    metrics: Metrics
    _handshake: Handshake
    _origins: Origins
    _proxies: TrustedProxies
    _cookie: str | dict[str, Any] | None
    _deflates: bool
    _compression_threshold: int | None
    _on_connect: OnConnect | None

    def generate_id(self) -> str:
        """Return a new unguessable id of 20 characters."""
        return secrets.token_urlsafe(15)

    async def handle_request(self, request: web.Request) -> web.StreamResponse:
        """Answer one request; the handler to be routed to where `attach` does not fit."""
        if not self._origins.allows(request):
            self.metrics.refused_origin += 1
            return refusal_response(HandshakeRefused(403, *FORBIDDEN), {})
        if request.method == "OPTIONS":
            return web.Response(status=204, headers=self._origins.preflight_for(request))
        headers = self._origins.headers_for(request)
        try:
            return await self._answer(request, headers)
        except HandshakeRefused as refusal:
            if refusal.status == 400:
                self.metrics.refused_request += 1
            return refusal_response(refusal, headers)

    async def _answer(self, request: web.Request, headers: dict[str, str]) -> web.StreamResponse:
        upgrade = asks_for_websocket(request)
        transport = self._handshake.check(request.method, request.query, upgrade=upgrade)
        sid = request.query.get("sid")
        if sid is None:
            if transport == POLLING:
                return self._open_polling(request, headers)
            return await self._open_websocket(request, headers)
        connection = self.hub.sessions.get(sid)
        if connection is None:
            raise HandshakeRefused(400, *UNKNOWN_SID)
        if transport == WEBSOCKET:
            return await self._probe(request, headers, connection)
        return await self._poll(request, headers, connection)

    def shake_hands(
        self, head: HandshakeHead, transport: asyncio.Transport
    ) -> WebSocketProtocol | None:
        """Answer a WebSocket handshake that has not gone through aiohttp.

        Returns:
            What serves the transport from now on; None if the client was refused, and told so.
        """
        headers: dict[str, str] = {}
        try:
            return self._switch(head, headers, transport)
        except HandshakeRefused as refusal:
            if refusal.status == 400:
                self.metrics.refused_request += 1
            transport.write(refusal_bytes(refusal, headers))
            transport.close()
            return None

    def _switch(
        self, head: HandshakeHead, headers: dict[str, str], transport: asyncio.Transport
    ) -> WebSocketProtocol:
        if not self._origins.allows(head):
            self.metrics.refused_origin += 1
            raise HandshakeRefused(403, *FORBIDDEN)
        headers |= self._origins.headers_for(head)
        self._handshake.check("GET", head.query, upgrade=True)
        extension = self._extension(head)
        deflates = extension is not None
        accept = accept_key(head)
        sid = head.query.get("sid")
        if sid is not None:
            connection = self.hub.sessions.get(sid)
            if connection is None:
                raise HandshakeRefused(400, *UNKNOWN_SID)
            transport.write(switching_bytes(accept, extension, headers))
            websocket = WebSocketProtocol(self.hub, transport, deflates=deflates)
            self._begin_probe(connection, websocket, deflates=deflates)
            return websocket
        address = self._admit(head)
        sid = self.generate_id()
        headers |= session_cookie(self._cookie, sid)
        frame = self._handshake.open_packet(sid, WEBSOCKET).frame
        # In one write: a system call for each client less.
        transport.write(switching_bytes(accept, extension, headers) + frame)
        websocket = WebSocketProtocol(self.hub, transport, deflates=deflates)
        environ = Environ.of_head(head, address)
        websocket.serve(self._open(environ, sid, address, websocket, deflates=deflates))
        self.metrics.opened_websocket += 1
        return websocket

    def _admit(self, request: Head) -> str:
        address = self._proxies.address_of(request)
        self.hub.admit(address)
        return address

    def _open(
        self,
        environ: Environ,
        sid: str,
        address: str,
        websocket: WebSocketProtocol | None,
        *,
        deflates: bool = False,
    ) -> Connection:
        connection = (
            DeflatingConnection(self.hub, sid, address, websocket, deflates=deflates)
            if self._deflates
            else Connection(self.hub, sid, address, websocket)
        )
        if self._on_connect is not None:
            self._on_connect(connection, environ)
        return connection

    def _open_polling(self, request: web.Request, headers: dict[str, str]) -> web.Response:
        address = self._admit(request)
        sid = self.generate_id()
        self._open(Environ.of_request(request, address), sid, address, None)
        self.metrics.opened_polling += 1
        body = self._handshake.open_packet(sid, POLLING).packet.encode()
        return web.Response(body=body, headers=_TEXT | headers | session_cookie(self._cookie, sid))

    async def _open_websocket(
        self, request: web.Request, headers: dict[str, str]
    ) -> web.StreamResponse:
        extension = self._extension(request)
        response = TakeoverResponse(accept_key(request), headers, extension)
        address = self._admit(request)
        sid = self.generate_id()
        response.headers.extend(session_cookie(self._cookie, sid))
        frame = self._handshake.open_packet(sid, WEBSOCKET).frame
        opened = False
        try:
            await response.begin(request, frame)
            if request.transport is not None:
                deflates = extension is not None
                websocket = WebSocketProtocol(self.hub, request.transport, deflates=deflates)
                environ = Environ.of_request(request, address)
                websocket.serve(self._open(environ, sid, address, websocket, deflates=deflates))
                opened = True
                self.metrics.opened_websocket += 1
                response.hand_over(request, websocket)
        finally:
            if not opened:
                self.hub.leave(address)
        return response

    def _extension(self, request: Head) -> str | None:
        if not self._deflates:
            return None
        return agree(request.headers.getall(hdrs.SEC_WEBSOCKET_EXTENSIONS, ()))

    async def _probe(
        self, request: web.Request, headers: dict[str, str], connection: Connection
    ) -> web.StreamResponse:
        extension = self._extension(request)
        deflates = extension is not None
        response = TakeoverResponse(accept_key(request), headers, extension)
        await response.begin(request, b"")
        if request.transport is None:
            return response
        websocket = WebSocketProtocol(self.hub, request.transport, deflates=deflates)
        self._begin_probe(connection, websocket, deflates=deflates)
        response.hand_over(request, websocket)
        return response

    def _begin_probe(
        self, connection: Connection, websocket: WebSocketProtocol, *, deflates: bool
    ) -> None:
        # As Node does: a WebSocket that the session cannot use is opened, and closed.
        if self._handshake.allow_upgrades and connection.begin_probe(websocket, deflates=deflates):
            websocket.serve(connection)
        else:
            self.metrics.upgrades_failed += 1
            websocket.close(1002)

    async def _poll(
        self, request: web.Request, headers: dict[str, str], connection: Connection
    ) -> web.Response:
        if connection.transport != POLLING:
            raise HandshakeRefused(400, *UNKNOWN_SID)
        if request.method == "POST":
            if not connection.open:
                raise HandshakeRefused(400, *UNKNOWN_SID)
            await polling.take_post(request, connection, self.hub)
            return web.Response(body=b"ok", headers=_TEXT | headers)
        payload = await polling.answer_poll(request, connection)
        response = web.Response(body=payload, headers=_TEXT | headers)
        if self._compression_threshold and len(payload) >= self._compression_threshold:
            response.enable_compression()
        return response
