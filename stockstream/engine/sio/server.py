"""The hardened Socket.IO server: python-socketio's `AsyncServer` on this engine."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import socketio
from aiohttp import web
from socketio.exceptions import ConnectionRefusedError as SioConnectionRefusedError

from stockstream.engine.core.connection import Connection
from stockstream.engine.core.message import Message
from stockstream.engine.errors import (
    EncodeError,
    PacketViolation,
    SessionNotFoundError,
    UnsupportedError,
)
from stockstream.engine.limits import Limits
from stockstream.engine.metrics import Metrics
from stockstream.engine.shell.environ import Environ
from stockstream.engine.shell.server import EngineServer
from stockstream.engine.sio import packets
from stockstream.engine.sio.handlers import call
from stockstream.engine.sio.inbox import Inbox
from stockstream.engine.sio.manager import Manager, adopt, leave, send_all
from stockstream.engine.sio.peer import CONNECTED, CONNECTING, LEAVING, Member, Peer
from stockstream.engine.sio.recovery import SessionRecovery, claim

engine_logger = logging.getLogger("stockstream.engine")

#: Arguments that an older form of a lifecycle handler does without.
_OPTIONAL = {"connect": 1, "disconnect": 1}


class AsyncServer(socketio.AsyncServer):
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
        kwargs: As `socketio.AsyncServer` has them: ping_interval, ping_timeout (seconds),
            max_http_buffer_size (bytes), allow_upgrades, http_compression,
            compression_threshold (bytes), cookie, cors_allowed_origins, cors_credentials,
            transports.

    Raises:
        ConfigurationError: an argument cannot work.
    """

    manager: Manager
    eio: EngineServer
    manager_initialized: bool

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
        **kwargs: Any,
    ) -> None:
        self._recovery = recovery
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
        )

    @property
    def metrics(self) -> Metrics:
        """Counters of this server."""
        return self.eio.metrics

    def connection(self, sid: str, namespace: str | None = None) -> Connection | None:
        """Return the connection of a client, None if it is gone. O(1).

        Messages given to it are ordered with everything else that the client gets.
        """
        return self.manager.connection(sid, namespace or "/")

    def attach(self, app: web.Application, socketio_path: str = "socket.io") -> None:
        """Serve under a path of an aiohttp application, and shut down with it.

        aiohttp itself must be told how long the head of a request may take: run the application
        with `keepalive_timeout=server.limits.header_seconds`.
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

    def encode(
        self, kind: int, namespace: str | None, data: Any = None, number: int | None = None
    ) -> list[Message]:
        """Return a packet as messages: one, or one and its attachments.

        Raises:
            EncodeError: the data cannot be sent.
        """
        encoded = self.packet_class(kind, data=data, namespace=namespace, id=number).encode()
        if isinstance(encoded, list):
            return [Message(part) for part in encoded]
        return [Message(encoded)]

    async def _on_app_shutdown(self, _app: web.Application) -> None:
        await self.shutdown()

    # The seam.

    def _engineio_server_class(self) -> type[EngineServer]:
        return EngineServer

    def _packet_class(self, serializer: Any) -> Any:
        known = {"default": packets.JSONPacket, "msgpack": packets.MsgpackPacket}
        base = known.get(serializer) if isinstance(serializer, str) else None
        if base is None:
            return serializer
        # A class of this server's own: python-socketio sets its JSON module on the class.
        return type(base.__name__, (base,), {"limits": self.limits})

    async def _send_packet(self, eio_sid: str, pkt: Any) -> None:
        connection = self.eio.connection(eio_sid)
        if connection is not None:
            encoded = pkt.encode()
            parts = encoded if isinstance(encoded, list) else [encoded]
            send_all(connection, [Message(part) for part in parts])

    def _peer(self, sid: str, namespace: str) -> Peer:
        member = self.manager.member(sid, namespace)
        if member is None:
            raise SessionNotFoundError(sid)
        return member.peer

    def _reply(
        self, peer: Peer, kind: int, namespace: str, data: Any = None, number: int | None = None
    ) -> None:
        send_all(peer.connection, self.encode(kind, namespace, data, number))

    # What the engine tells.

    def _handle_eio_connect(self, connection: Connection, environ: Environ) -> None:
        if not self.manager_initialized:
            self.manager_initialized = True
            self.manager.initialize()
        connection.context = Peer(connection, environ)

    def _handle_eio_message(self, connection: Connection, data: str | bytes) -> None:
        peer: Peer = connection.context
        packet = peer.partial
        if packet is not None:
            if packet.add_attachment(data):
                peer.partial = None
                self._dispatch(peer, packet)
            return
        packet = self.packet_class(encoded_packet=data or "")
        if packet.packet_type is None or not data:
            raise PacketViolation("empty packet")
        if packet.packet_type in {packets.BINARY_EVENT, packets.BINARY_ACK}:
            self._member(peer, packet)
            if packet.attachment_count:
                peer.partial = packet
                return
        self._dispatch(peer, packet)

    def _handle_eio_disconnect(self, connection: Connection, reason: str) -> None:
        peer: Peer | None = connection.context
        if peer is None:
            return
        peer.partial = None
        peer.environ = None
        for member in list(peer.members.values()):
            if member.state == CONNECTED:
                leave(member)
                self._inbox.put(peer, self._leave, member, reason)
        self._inbox.finish(peer)

    def _dispatch(self, peer: Peer, packet: Any) -> None:
        kind = packet.packet_type
        data = packets.content_of(packet)
        if kind == packets.CONNECT:
            self._inbox.put(peer, self._connect, peer, packet.namespace or "/", data)
            return
        member = self._member(peer, packet)
        if member is None:
            return
        if kind in {packets.EVENT, packets.BINARY_EVENT}:
            self._inbox.put(peer, self._run_event, member, packet.id, data)
        elif kind == packets.DISCONNECT:
            # At once, so that nothing more is taken in; its handler runs when it is its turn.
            leave(member)
            self._inbox.put(peer, self._leave, member, self.reason.CLIENT_DISCONNECT)
        else:
            self._inbox.run(peer, self._run_callback, member, packet.id, data)

    def _member(self, peer: Peer, packet: Any) -> Member | None:
        namespace = packet.namespace or "/"
        member = peer.members.get(namespace)
        if member is not None and member.state == CONNECTED:
            return member
        if member is None and peer.left is not None and namespace in peer.left:
            # Sent before the client knew that the server took it out.
            return None
        raise PacketViolation("packet before CONNECT")

    # Jobs: each catches what handlers raise.

    async def _connect(self, peer: Peer, namespace: str, auth: Any) -> None:
        if namespace in peer.members or (peer.recovering and namespace == "/"):
            peer.connection.violate(PacketViolation("second CONNECT"))
            return
        refusal = self._refusal(peer, namespace)
        if refusal is not None:
            self._refuse(peer, namespace, {"message": refusal})
            return
        sid, pid = await self._identify(peer, namespace, auth)
        member = Member(sid, namespace, peer)
        self.manager.add(member)
        if self.always_connect:
            self._accept(member, pid)
        error = await self._ask(member, auth)
        if error is not None:
            await self._turn_away(member, error)
        elif not peer.connection.open:
            # It left while its handler was busy: the handler is owed the other half.
            await self._leave(member, self.reason.TRANSPORT_CLOSE)
        elif member.state == CONNECTING:
            self._accept(member, pid)
        if peer.environ is not None:
            peer.environ.release()

    def _refusal(self, peer: Peer, namespace: str) -> str | None:
        known = (
            namespace in self.handlers
            or namespace in self.namespace_handlers
            or self.namespaces == "*"
            or namespace in self.namespaces
        )
        if not known:
            return "Invalid namespace"
        if len(peer.members) >= self.limits.namespaces:
            return "Too many namespaces"
        return None

    async def _ask(self, member: Member, auth: Any) -> dict[str, Any] | None:
        """Let the connect handler decide; returns why not, None for yes."""
        args = (member.sid, member.peer.environ, auth)
        try:
            if await self._trigger_event("connect", member.namespace, *args) is not False:
                return None
        except SioConnectionRefusedError as refused:
            reason: dict[str, Any] = refused.error_args
            return reason
        except ConnectionRefusedError as refused:
            return SioConnectionRefusedError(*refused.args).error_args  # type: ignore[no-any-return]
        except Exception:  # noqa: BLE001 - the border of a task
            self._log_failure("connect", member.sid)
            return {"message": "Internal server error"}
        return SioConnectionRefusedError().error_args  # type: ignore[no-any-return]

    async def _identify(self, peer: Peer, namespace: str, auth: Any) -> tuple[str, str]:
        """Return the id of the session to begin or go on with, and its private one."""
        if self._recovery is None or namespace != "/":
            return self.eio.generate_id(), ""
        claimed = claim(auth)
        if claimed is not None:
            sid = await self._recover(self._recovery, peer, *claimed)
            if sid is not None:
                return sid, claimed[0]
        sid = self.eio.generate_id()
        return sid, self._recovery.open(sid)

    async def _recover(
        self, recovery: SessionRecovery, peer: Peer, pid: str, offset: str
    ) -> str | None:
        peer.recovering = True
        try:
            sid = await recovery.recover(peer.connection, pid, offset)
        except Exception:  # noqa: BLE001 - the border of a task
            self._log_failure("recovery", peer.connection.id)
            return None
        finally:
            peer.recovering = False
        # One id never stands for two clients at once.
        return None if sid is None or self.manager.member(sid, "/") is not None else sid

    def _accept(self, member: Member, pid: str) -> None:
        member.state = CONNECTED
        if member.peer.left is not None:
            member.peer.left.discard(member.namespace)
        self.metrics.connects += 1
        member.peer.connection.accepted()
        session = {"sid": member.sid, "pid": pid} if pid else {"sid": member.sid}
        self._reply(member.peer, packets.CONNECT, member.namespace, session)

    async def _turn_away(self, member: Member, error: dict[str, Any]) -> None:
        if member.state == CONNECTING:
            self._refuse(member.peer, member.namespace, error)
        elif member.state == CONNECTED:
            self._reply(member.peer, packets.DISCONNECT, member.namespace, error)
        await self._forget(member)

    def _refuse(self, peer: Peer, namespace: str, error: dict[str, Any]) -> None:
        self.metrics.connects_refused += 1
        try:
            self._reply(peer, packets.CONNECT_ERROR, namespace, error)
        except EncodeError:
            self._log_failure("connect", peer.connection.id)
            self._reply(peer, packets.CONNECT_ERROR, namespace, {"message": "Refused"})

    async def _leave(self, member: Member, reason: str) -> None:
        try:
            await self._trigger_event("disconnect", member.namespace, member.sid, reason)
        except Exception:  # noqa: BLE001 - the border of a task
            self._log_failure("disconnect", member.sid)
        finally:
            await self._forget(member)

    async def _forget(self, member: Member) -> None:
        await self.manager.disconnect(member.sid, member.namespace, ignore_queue=True)
        member.gone()

    async def _run_event(self, member: Member, number: int | None, data: list[Any]) -> None:
        event = str(data[0])
        try:
            result = await self._trigger_event(event, member.namespace, member.sid, *data[1:])
            if result is self.not_handled or number is None:
                return
            answer = list(result) if isinstance(result, tuple) else [result]
            answer = [] if result is None else answer
            self._reply(member.peer, packets.ACK, member.namespace, answer, number)
        except Exception:  # noqa: BLE001 - the border of a task
            self._log_failure(event, member.sid)

    async def _run_callback(self, member: Member, number: int, data: list[Any]) -> None:
        try:
            await self.manager.trigger_callback(member.sid, number, data)
        except Exception:  # noqa: BLE001 - the border of a task
            self._log_failure("acknowledgement", member.sid)

    def _get_event_handler(
        self, event: str, namespace: str, args: tuple[Any, ...]
    ) -> tuple[Any, tuple[Any, ...]]:
        if event != "*":
            found: tuple[Any, tuple[Any, ...]] = super()._get_event_handler(event, namespace, args)
            return found
        # An event of that very name must not pass for the registration of a catch-all handler.
        handler = self.handlers.get(namespace, {}).get("*")
        if handler is not None:
            return handler, (event, *args)
        handler = self.handlers.get("*", {}).get("*")
        return handler, (event, namespace, *args)

    async def _trigger_event(self, event: str, namespace: str, *args: Any) -> Any:
        optional = _OPTIONAL.get(event, 0)
        handler, arguments = self._get_event_handler(event, namespace, args)
        if handler is not None:
            return await call(handler, arguments, optional)
        handler, arguments = self._get_namespace_handler(namespace, args)
        if handler is None:
            return self.not_handled
        own = type(handler).trigger_event is not socketio.AsyncNamespace.trigger_event
        if own:
            return await handler.trigger_event(event, *arguments)
        method = getattr(handler, f"on_{event}", None)
        if method is None:
            return self.not_handled
        return await call(method, arguments, optional)

    def _log_failure(self, event: str, sid: str) -> None:
        self.metrics.handler_errors += 1
        # Called where the exception was caught, and nowhere else.
        self.logger.exception(  # noqa: LOG004
            "handler of event %r of client %s failed", event, sid
        )
