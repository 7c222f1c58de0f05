"""The engine that python-socketio's `AsyncServer` asks for, on aiohttp."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from aiohttp import web

from stockstream.engine.core.connection import Connection
from stockstream.engine.core.handshake import TRANSPORTS, Handshake
from stockstream.engine.core.hub import SERVER_DISCONNECT, Hub
from stockstream.engine.core.message import Message
from stockstream.engine.errors import ConfigurationError, SessionNotFoundError
from stockstream.engine.limits import Limits
from stockstream.engine.metrics import Metrics
from stockstream.engine.shell.address import Origins, TrustedProxies
from stockstream.engine.shell.requests import RequestServer
from stockstream.engine.shell.timer import SharedTimer

OnMessage = Callable[[Connection, str | bytes], None]
OnClose = Callable[[Connection, str], None]


class EngineServer(RequestServer):
    """Engine.IO 4 over aiohttp; takes the arguments of python-engineio's `AsyncServer`.

    Handlers (`on`) are plain functions and get the `Connection`:
    `connect(connection, environ)`, `message(connection, data)`, `disconnect(connection, reason)`.
    """

    async_mode = "aiohttp"

    def __init__(
        self,
        *,
        ping_interval: float | tuple[float, float] = 25.0,
        ping_timeout: float = 20.0,
        max_http_buffer_size: int = 1_000_000,
        allow_upgrades: bool = True,
        http_compression: bool = True,
        compression_threshold: int = 1024,
        cookie: str | dict[str, Any] | None = None,
        cors_allowed_origins: str | Sequence[str] | None = None,
        cors_credentials: bool | None = None,
        transports: str | Sequence[str] | None = None,
        limits: Limits | None = None,
        trusted_proxies: Sequence[str] = (),
        websocket_compression: bool = False,
        clock: Callable[[], float] | None = None,
        # Taken because python-socketio passes them or its users may: nothing depends on them.
        async_mode: str | None = None,
        async_handlers: bool = False,
        monitor_clients: bool | None = None,
        logger: object = None,
        json: object = None,
    ) -> None:
        if async_mode not in {None, "aiohttp"}:
            raise ConfigurationError("async_mode", async_mode, "aiohttp")
        interval = sum(ping_interval) if isinstance(ping_interval, tuple) else ping_interval
        names = [transports] if isinstance(transports, str) else transports
        self._handshake = Handshake(
            ping_interval=interval,
            ping_timeout=ping_timeout,
            max_payload=max_http_buffer_size,
            allow_upgrades=allow_upgrades,
            transports=TRANSPORTS if names is None else tuple(names),
        )
        self.limits = limits or Limits()
        self.metrics = Metrics()
        self._compression_threshold = compression_threshold if http_compression else None
        self._deflates = websocket_compression
        self._cookie = cookie
        self._proxies = TrustedProxies(trusted_proxies)
        self._origins = Origins(cors_allowed_origins, cors_credentials, self._proxies)
        self._timer = SharedTimer(self._tick, clock)
        #: Where it is served.
        self.paths: list[str] = []
        self._on_connect = None
        self._on_message: OnMessage | None = None
        self._on_close: OnClose | None = None
        self.hub = Hub(
            handshake=self._handshake,
            limits=self.limits,
            metrics=self.metrics,
            listener=self,
            clock=self._timer.now,
            arm=self._timer.arm,
        )

    # What python-socketio asks of its engine.

    def on(self, event: str, handler: Callable[..., None]) -> None:
        """Register the handler of `connect`, `message` or `disconnect`."""
        if event == "connect":
            self._on_connect = handler
        elif event == "message":
            self._on_message = handler
        elif event == "disconnect":
            self._on_close = handler
        else:
            raise ConfigurationError("event", event, "connect, message, disconnect")

    def attach(self, app: web.Application, engineio_path: str = "engine.io") -> None:
        """Serve under a path of an aiohttp application."""
        path = f"/{engineio_path.strip('/')}/"
        self.paths.append(path)
        # Any method: the protocol wants 400 where a router would answer 405.
        app.router.add_route("*", path, self.handle_request)

    async def send(self, sid: str, data: str | bytes) -> None:
        """Send a message to a client; nothing happens if it is gone."""
        connection = self.connection(sid)
        if connection is not None:
            connection.send(Message(data))

    async def send_packet(self, sid: str, pkt: Any) -> None:
        """Send an `engineio` MESSAGE packet to a client; nothing happens if it is gone."""
        await self.send(sid, pkt.data)

    def connection(self, sid: str | None) -> Connection | None:
        """Return the open connection with this Engine.IO id."""
        connection = self.hub.sessions.get(sid or "")
        return connection if connection is not None and connection.open else None

    def transport(self, sid: str) -> str:
        """Return the transport of a client: `polling` or `websocket`.

        Raises:
            SessionNotFoundError: it is gone.
        """
        connection = self.connection(sid)
        if connection is None:
            raise SessionNotFoundError(sid)
        return connection.transport

    async def disconnect(self, sid: str | None = None) -> None:
        """Close one client, or all."""
        chosen = list(self.hub.sessions.values()) if sid is None else [self.connection(sid)]
        for connection in chosen:
            if connection is not None:
                connection.close(SERVER_DISCONNECT)

    def start_background_task(
        self, target: Callable[..., Coroutine[Any, Any, Any]], *args: Any, **kwargs: Any
    ) -> asyncio.Task[Any]:
        """Run a coroutine function as a task; the caller owns the task."""
        return asyncio.get_running_loop().create_task(target(*args, **kwargs))

    async def sleep(self, seconds: float = 0) -> None:
        """Sleep."""
        await asyncio.sleep(seconds)

    def create_event(self) -> asyncio.Event:
        """Return an `asyncio.Event`."""
        return asyncio.Event()

    def create_queue(self, maxsize: int = 0) -> asyncio.Queue[Any]:
        """Return an `asyncio.Queue`."""
        return asyncio.Queue(maxsize)

    async def shutdown(self, *, reason: str = "server shutting down", spread: float = 0.0) -> None:
        """Take no more clients, close those that are here, wait until they have gone.

        Pending polls are answered, WebSockets get a close frame 1001. Takes at most
        `spread` and `Limits.close_seconds`; whoever has not gone by then is cut off.

        Args:
            reason: For disconnect handlers.
            spread: Seconds over which the clients are closed, so that they do not all come back
                to the other servers at once.
        """
        self.hub.accepting = False
        connections = [each for each in self.hub.sessions.values() if each.open]
        pause = spread / len(connections) if connections else 0.0
        for connection in connections:
            connection.end(reason, code=1001, linger=True)
            if pause:
                await asyncio.sleep(pause)
        await self._timer.wait_for(self._all_gone, self.limits.close_seconds)
        self.hub.cut_off()
        self._timer.stop()

    def _all_gone(self) -> bool:
        return not self.hub.sessions and not self.hub.closing_due

    # What the hub asks of its listener.

    def on_message(self, connection: Connection, data: str | bytes) -> None:
        """Pass a message on."""
        if self._on_message is not None:
            self._on_message(connection, data)

    def on_close(self, connection: Connection, reason: str) -> None:
        """Pass the end of a session on."""
        if self._on_close is not None:
            self._on_close(connection, reason)

    def _tick(self, now: float) -> float | None:
        return self.hub.tick(now)
