"""The hardened Socket.IO server: python-socketio's `AsyncServer` on this engine."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

from aiohttp import web

from stockstream.engine.core.connection import Connection
from stockstream.engine.errors import SessionNotFoundError, UnsupportedError
from stockstream.engine.limits import Limits
from stockstream.engine.shell.environ import Environ
from stockstream.engine.shell.server import EngineServer
from stockstream.engine.sio import packets
from stockstream.engine.sio.dispatch import Dispatcher
from stockstream.engine.sio.inbox import Inbox
from stockstream.engine.sio.manager import Manager, adopt, leave
from stockstream.engine.sio.peer import CONNECTED, CONNECTING, LEAVING, Peer
from stockstream.engine.sio.recovery import Admit, SessionRecovery

engine_logger = logging.getLogger("stockstream.engine")


class AsyncServer(Dispatcher):
    """A Socket.IO server for asyncio and aiohttp that unfriendly clients cannot hurt.

    Takes the constructor arguments of `socketio.AsyncServer`, has its methods, and keeps what
    its users rely on: events, namespaces, rooms, acknowledgements, sessions, class-based
    namespaces, managers for several servers. What differs:

    - Clients that break the protocol, or send names reserved for the life of a connection, are
      closed; nothing of it reaches a handler or, as a traceback, the log.
    - Everything that a client can make the server keep or do is limited (`Limits`).
    - A handler that returns None acknowledges with no arguments, as ever; an event without a
      handler is not acknowledged.
    - `environ` is built when looked into; `REMOTE_ADDR` is the client's real address.
    - `cors_allowed_origins="*"` allows cookies only together with `cors_credentials=True`.
    - `instrument` is not supported.

    Args:
        client_manager: In memory by default. Any asyncio manager of python-socketio may be
            given; it is adapted in place.
        logger: A logger, or True for information about each event on `stockstream.engine`.
        json: A module with `dumps` and `loads` in place of the strict one.
        async_handlers: Whether an event's handler may start while the one before still waits for
            something. They start in the order of the events in any case; False runs the
            handlers of one client strictly in turn.
        always_connect: Whether clients are told that they are connected before their connect
            handler has decided.
        namespaces: Those accepted besides the ones with handlers; `"*"` for all.
        serializer: `"default"` (JSON), `"msgpack"`, or a packet class.
        limits: What a client may cost.
        trusted_proxies: Addresses and networks whose `X-Forwarded-For` and `X-Forwarded-Host`
            are believed, `"unix"` for peers on a Unix socket.
        websocket_compression: Whether clients may agree on permessage-deflate. A message is
            compressed once for all that did; those below 128 bytes are left as they are.
        recovery: Gives clients that lost their connection their sessions back; none by default.
        admit: A coroutine function that is asked with the connection, its environ and the payload
            of its CONNECT before an earlier session is given back and before connect handlers. It
            refuses by raising `ConnectionRefusedError`, as they do; what it returns is found by
            `admitted`.
        kwargs: As `socketio.AsyncServer` has them: ping_interval, ping_timeout (seconds),
            max_http_buffer_size (bytes), allow_upgrades, http_compression,
            compression_threshold (bytes), cookie, cors_allowed_origins, cors_credentials,
            transports.

    Raises:
        ConfigurationError: an argument cannot work.
    """

    def __init__(
        self,
        client_manager: Any = None,
        *,
        logger: Any = False,
        json: Any = None,
        async_handlers: bool = True,
        always_connect: bool = False,
        namespaces: Sequence[str] | str | None = None,
        serializer: Any = "default",
        limits: Limits | None = None,
        trusted_proxies: Sequence[str] = (),
        websocket_compression: bool = False,
        recovery: SessionRecovery | None = None,
        admit: Admit | None = None,
        **kwargs: Any,
    ) -> None:
        self._recovery = recovery
        self._admit = admit
        self.limits = limits or Limits()
        if isinstance(logger, bool):
            if logger:
                engine_logger.setLevel(logging.INFO)
            # Given, so that python-socketio adds no handler of its own to the log.
            logger = engine_logger
        super().__init__(
            Manager() if client_manager is None else adopt(client_manager),
            logger=logger,
            json=json,
            async_handlers=async_handlers,
            always_connect=always_connect,
            namespaces=namespaces,
            serializer=self._packet_class(serializer),
            limits=self.limits,
            trusted_proxies=trusted_proxies,
            websocket_compression=websocket_compression,
            **kwargs,
        )
        self._inbox = Inbox(
            at_once=self.limits.concurrent_handlers if async_handlers else 1,
            limits=self.limits,
            metrics=self.metrics,
            owed=self._leave,
        )

    def connection(self, sid: str, namespace: str | None = None) -> Connection | None:
        """Return the connection of a client, None if it is gone. O(1).

        Messages given to it are ordered with everything else that the client gets.
        """
        return self.manager.connection(sid, namespace or "/")

    def admitted(self, connection: Connection) -> Any:
        """Return what `admit` returned for a connection; None where it was not asked."""
        return None if connection.context is None else connection.context.admitted

    def attach(self, app: web.Application, socketio_path: str = "socket.io") -> None:
        """Serve under a path of an aiohttp application, and shut down with it.

        aiohttp itself must be told how long the head of a request may take: run the application
        with `keepalive_timeout=server.limits.header_seconds`. Run by `engine.AppRunner`, handshakes
        of WebSockets do not go through it.
        """
        self.eio.attach(app, socketio_path)
        app.on_shutdown.append(self._on_app_shutdown)

    async def emit(  # noqa: PLR0917 - python-socketio's signature
        self,
        event: str,
        data: Any = None,
        to: Any = None,
        room: Any = None,
        skip_sid: Any = None,
        namespace: str | None = None,
        callback: Callable[..., Any] | None = None,
        ignore_queue: bool = False,  # noqa: FBT001, FBT002
    ) -> None:
        """Send an event, as `socketio.AsyncServer.emit` does.

        Encodes once and starts no task, however many clients there are.

        Raises:
            EncodeError: the data cannot be sent (NaN, Infinity, an unknown type).
        """
        await self.manager.emit(
            event,
            data,
            namespace or "/",
            room=to or room,
            skip_sid=skip_sid,
            callback=callback,
            ignore_queue=ignore_queue,
        )

    async def disconnect(
        self,
        sid: str,
        namespace: str | None = None,
        ignore_queue: bool = False,  # noqa: FBT001, FBT002
    ) -> None:
        """Disconnect a client from a namespace; it is told so and does not come back by itself.

        Returns when its disconnect handler has run.
        """
        namespace = namespace or "/"
        if ignore_queue:
            here = self.manager.is_connected(sid, namespace)
        else:
            here = await self.manager.can_disconnect(sid, namespace)
        member = self.manager.member(sid, namespace)
        if not here or member is None or member.state != CONNECTED:
            return
        leave(member)
        if member.peer.left is None:
            member.peer.left = set()
        member.peer.left.add(namespace)
        self._reply(member.peer, packets.DISCONNECT, namespace)
        await self._leave(member, self.reason.SERVER_DISCONNECT)

    async def drop(self, sid: str, namespace: str | None = None) -> None:
        """Cut a client's connection off, as a broken network would; it comes back by itself.

        Returns when its disconnect handler has run, also where it was leaving by itself: its id
        is free then. Nothing happens if it is gone, or waits for its connect handler.
        """
        member = self.manager.member(sid, namespace or "/")
        if member is None or member.state == CONNECTING:
            return
        if member.state == LEAVING:
            await member.wait_gone()
            return
        leave(member)
        member.peer.connection.end(self.reason.TRANSPORT_CLOSE, abort=True)
        await self._leave(member, self.reason.TRANSPORT_CLOSE)

    async def shutdown(self, *, reason: str = "server shutting down", spread: float = 0.0) -> None:
        """Close all clients so that they come back, to another server or to the next start.

        They see their transport close (WebSocket code 1001, or the end of their poll) and no
        Socket.IO DISCONNECT, after which a JavaScript client would stay away. Takes at most
        `spread`, `Limits.close_seconds` and `Limits.drain_seconds`. Canceling it leaves clients
        connected; they are cut off when the process ends.

        Args:
            reason: For disconnect handlers.
            spread: Seconds over which clients are closed.
        """
        await self.eio.shutdown(reason=reason, spread=spread)
        await self._inbox.close()
        await self.manager.aclose()

    def get_environ(self, sid: str, namespace: str | None = None) -> Environ | None:
        """Return the WSGI environment of a client, None if it is gone."""
        member = self.manager.member(sid, namespace or "/")
        return None if member is None else member.peer.environ

    async def get_session(self, sid: str, namespace: str | None = None) -> Any:
        """Return what was kept about a client, as a dict.

        Raises:
            SessionNotFoundError: it is gone.
        """
        namespace = namespace or "/"
        peer = self._peer(sid, namespace)
        if peer.session is None:
            peer.session = {}
        return peer.session.setdefault(namespace, {})

    async def save_session(self, sid: str, session: Any, namespace: str | None = None) -> None:
        """Keep something about a client.

        Raises:
            SessionNotFoundError: it is gone.
        """
        namespace = namespace or "/"
        peer = self._peer(sid, namespace)
        if peer.session is None:
            peer.session = {}
        peer.session[namespace] = session

    def instrument(self, *_args: Any, **_kwargs: Any) -> Any:
        """Refuse: python-socketio's admin interface reaches into its own engine.

        Raises:
            UnsupportedError: always.
        """
        raise UnsupportedError("instrument")

    async def _on_app_shutdown(self, _app: web.Application) -> None:
        await self.shutdown()

    def _peer(self, sid: str, namespace: str) -> Peer:
        member = self.manager.member(sid, namespace)
        if member is None:
            raise SessionNotFoundError(sid)
        return member.peer

    def _engineio_server_class(self) -> type[EngineServer]:
        return EngineServer

    def _packet_class(self, serializer: Any) -> Any:
        known = {"default": packets.JSONPacket, "msgpack": packets.MsgpackPacket}
        base = known.get(serializer) if isinstance(serializer, str) else None
        if base is None:
            return serializer
        # A class of this server's own: python-socketio sets its JSON module on the class.
        return type(base.__name__, (base,), {"limits": self.limits})
