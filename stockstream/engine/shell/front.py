"""Stands before aiohttp: shakes hands with WebSockets itself, and passes on all the rest."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Protocol

from aiohttp import web

from stockstream.engine.shell.head import HandshakeHead, read_head
from stockstream.engine.shell.server import EngineServer

#: Bytes of a head that is read here; whoever sends more is left to aiohttp.
_LONGEST_HEAD: Final = 8_192

Behind = Callable[[], asyncio.Protocol]


class Attached(Protocol):
    """A Socket.IO server that was attached to an application."""

    eio: EngineServer


class Front:
    """Makes a protocol for each connection; give it to `loop.create_server`.

    The first request of a connection decides. A plain WebSocket handshake for one of the engines
    is answered at once, let in or refused, without a task, a request or a response of aiohttp: no
    middleware, signal or access log sees it. Anything else is aiohttp's from its first byte on.

    Args:
        behind: Makes the protocols of everything else: an `aiohttp.web.Server`.
        engines: Those that are attached to its application, by path.
    """

    def __init__(self, behind: Behind, engines: Mapping[str, EngineServer]) -> None:
        self.behind = behind
        self.engines = [(f"GET {path}?".encode(), engine) for path, engine in engines.items()]

    def __call__(self) -> asyncio.Protocol:
        """Return the protocol of a new connection."""
        return _Doorway(self)

    def engine_for(self, start: bytes) -> EngineServer | None:
        """Return the engine that a request is for, or may turn out to be for."""
        for wanted, engine in self.engines:
            if start.startswith(wanted) or wanted.startswith(start):
                return engine
        return None


class _Doorway(asyncio.Protocol):
    """A connection whose first request has not been read yet; a `Closable` of the hub."""

    __slots__ = ("_engine", "_front", "_start", "_transport", "_writing_paused")

    def __init__(self, front: Front) -> None:
        self._front = front
        # Bytes that arrived before the head was complete.
        self._start = b""
        # Whose deadline runs: the first engine's, until a path is known.
        self._engine = front.engines[0][1]
        self._transport: Any = None
        self._writing_paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for the head."""
        self._transport = transport
        hub = self._engine.hub
        hub.head_due.start(self, hub.clock())

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._engine.hub.head_due.cancel(self)
        self._transport = None

    def abort(self) -> None:
        """End at once: the head did not come in time."""
        self._transport.abort()

    def pause_writing(self) -> None:
        """Remember it for whoever writes: nothing has been written here yet."""
        self._writing_paused = True

    def resume_writing(self) -> None:
        """Remember it for whoever writes."""
        self._writing_paused = False

    def data_received(self, data: bytes) -> None:
        """Take bytes, and let go of the connection as soon as it is known whose it is."""
        start = self._start + data if self._start else data
        engine = self._front.engine_for(start)
        end = start.find(b"\r\n\r\n")
        if engine is not None and end < 0 and len(start) <= _LONGEST_HEAD:
            self._start = start
            return
        transport = self._transport
        self._engine.hub.head_due.cancel(self)
        if engine is not None and 0 <= end <= _LONGEST_HEAD:
            peer = transport.get_extra_info("peername")
            remote = str(peer[0]) if isinstance(peer, tuple) else str(peer or "")
            secure = transport.get_extra_info("sslcontext") is not None
            head = read_head(start[:end], remote, "https" if secure else "http")
            if head is not None:
                self._shake_hands(engine, head, start[end + 4 :])
                return
        # aiohttp's from its first byte on.
        handler = self._front.behind()
        transport.set_protocol(handler)
        handler.connection_made(transport)
        handler.data_received(start)

    def _shake_hands(self, engine: EngineServer, head: HandshakeHead, rest: bytes) -> None:
        websocket = engine.shake_hands(head, self._transport)
        if websocket is not None:
            websocket.own(self._transport, writing_paused=self._writing_paused)
            if rest:
                websocket.data_received(rest)


class AppRunner(web.AppRunner):
    """aiohttp's `AppRunner`, with a `Front` before its application on all its sites.

    Args:
        app: Application that the servers are attached to.
        servers: Socket.IO servers whose WebSocket handshakes do not go through the application.
        kwargs: As `aiohttp.web.AppRunner` has them.
    """

    def __init__(self, app: web.Application, servers: Iterable[Attached], **kwargs: Any) -> None:
        super().__init__(app, **kwargs)
        engines = [server.eio for server in servers]
        self._engines = {path: engine for engine in engines for path in engine.paths}

    @property
    def server(self) -> Any:
        """What makes the protocols of the sites' connections."""
        behind = super().server
        return Front(behind, self._engines) if behind is not None and self._engines else behind
