"""The Socket.IO servers of a node: one for each wire form, sharing rooms through Redis."""

from dataclasses import dataclass
from typing import Final

import socketio

from stockstream.engine import AsyncServer, Connection, Limits
from stockstream.gateway.recovery import Recovery
from stockstream.gateway.sockets import SocketGateway
from stockstream.wire.packets import WireForm

#: Where each form is served.
PATHS: Final = {WireForm.JSON: "socket.io", WireForm.MSGPACK: "socket.io-msgpack"}
_SERIALIZERS: Final = {WireForm.JSON: "default", WireForm.MSGPACK: "msgpack"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """How clients may connect."""

    #: Seconds between two heartbeats, and to answer one.
    ping_interval: float
    ping_timeout: float
    #: Largest message that a client may send, in bytes.
    max_payload_bytes: int
    #: Origins of pages that may connect; empty: the same origin only; `*`: any.
    cors_origins: tuple[str, ...]
    #: Networks whose forwarded headers are believed.
    trusted_proxies: tuple[str, ...]
    websocket_compression: bool
    #: Redis through which other processes emit to our clients; None: there are none.
    redis_url: str | None
    limits: Limits


def open_server(
    form: WireForm, settings: ServerSettings, gateway: SocketGateway, recovery: Recovery
) -> AsyncServer:
    """Return a server whose clients of that form the gateway serves, not yet listening."""
    door = _Door(form, gateway, recovery)
    origins = settings.cors_origins
    door.server = AsyncServer(
        client_manager=_manager(settings.redis_url),
        serializer=_SERIALIZERS[form],
        ping_interval=settings.ping_interval,
        ping_timeout=settings.ping_timeout,
        max_http_buffer_size=settings.max_payload_bytes,
        cors_allowed_origins="*" if "*" in origins else (list(origins) or None),
        trusted_proxies=settings.trusted_proxies,
        websocket_compression=settings.websocket_compression,
        limits=settings.limits,
        recovery=door,
        admit=gateway.sessions.admit,
    )
    gateway.attach(door.server, form)
    return door.server


class _Door:
    """Implements :class:`stockstream.engine.SessionRecovery` for the clients of one server."""

    server: AsyncServer

    def __init__(self, form: WireForm, gateway: SocketGateway, recovery: Recovery) -> None:
        self._form = form
        self._gateway = gateway
        self._recovery = recovery

    def open(self, sid: str) -> str:
        return self._recovery.pid_of(sid)

    async def recover(self, connection: Connection, pid: str, offset: str) -> str | None:
        return await self._gateway.recover(self.server, self._form, connection, pid, offset)


def _manager(redis_url: str | None) -> socketio.AsyncManager | None:
    # For emits of other programs; quotes never go this way.
    # Its own manager knows neither Redis Cluster nor our way to write the address of Sentinels.
    return socketio.AsyncRedisManager(redis_url) if redis_url and "+" not in redis_url else None
