"""The Socket.IO servers of a node: one for each wire form, sharing rooms through Redis."""

from dataclasses import dataclass
from typing import Final

from stockstream.engine import AsyncServer, Connection, Limits
from stockstream.gateway.recovery import Recovery
from stockstream.gateway.shared_rooms import SharedRooms
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
    limits: Limits


def open_server(
    form: WireForm,
    settings: ServerSettings,
    gateway: SocketGateway,
    recovery: Recovery,
    rooms: SharedRooms | None,
) -> AsyncServer:
    """Return a server whose clients of that form the gateway serves, not yet listening.

    Args:
        form: how its packets are encoded.
        settings: how clients may connect.
        gateway: serves them.
        recovery: gives them their sessions back.
        rooms: the way to the servers of other nodes, and of other programs; None: there are none.
    """
    door = _Door(form, gateway, recovery)
    origins = settings.cors_origins
    door.server = AsyncServer(
        client_manager=rooms.manager() if rooms else None,
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
