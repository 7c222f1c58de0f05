"""The Socket.IO door (documented, section 3.2): clients, their events, statistics."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from inspect import iscoroutine
from typing import Any, Final

import structlog

from stockstream.core.latency import LatencyHistogram
from stockstream.core.subscriptions import Subscriptions
from stockstream.engine import AsyncServer, Connection
from stockstream.errors import RefusedError, UnavailableError, UnknownEventError
from stockstream.gateway.client import Client
from stockstream.gateway.fanout import Fanout
from stockstream.gateway.recovery import Recovery, Return
from stockstream.gateway.requests import Requests
from stockstream.gateway.sessions import Sessions
from stockstream.gateway.sync import SyncDoor
from stockstream.ports import Clock
from stockstream.services.contract import Streaming
from stockstream.wire import names
from stockstream.wire.packets import WireForm
from stockstream.wire.replies import Connected, error_reply

log = structlog.get_logger(__name__)

Answer = Callable[[Client, object], Any | Coroutine[Any, Any, Any]]
#: Reasons after which a client does not come back to its session: one of the two ended it.
_GOODBYES: Final = frozenset(
    {AsyncServer.reason.CLIENT_DISCONNECT, AsyncServer.reason.SERVER_DISCONNECT}
)
#: Longest part of an unknown event's name that is repeated to the client.
_SHOWN: Final = 64


class SocketGateway:
    """Every Socket.IO client of this node, on however many servers (one for each wire form)."""

    def __init__(
        self,
        *,
        requests: Requests,
        subscriptions: Subscriptions[Client],
        streaming: Streaming,
        fanout: Fanout,
        recovery: Recovery,
        sessions: Sessions,
        sync: SyncDoor,
        clock: Clock,
    ) -> None:
        self._requests = requests
        self._subscriptions = subscriptions
        self._streaming = streaming
        self._fanout = fanout
        self._answers: dict[str, Answer] = {
            names.SUBSCRIBE: requests.subscribe,
            names.UNSUBSCRIBE: requests.unsubscribe,
            names.GET_STOCK_DATA: requests.get_stock_data,
            names.SYNC: sync.sync,
            names.SYNC_SINCE: sync.sync_since,
            names.AUTHENTICATE: sessions.authenticate,
        }
        #: Remembers those who lost their connection.
        self.recovery = recovery
        #: Lets clients in, for as long as their tokens are good.
        self.sessions = sessions
        #: Clients that have been given their sessions back and are about to be told so.
        self._returning: dict[Connection, Return] = {}
        self._resuming: set[asyncio.Task[None]] = set()
        self._clock = clock
        self._clients: dict[str, Client] = {}
        self._servers: list[AsyncServer] = []
        self._faults = 0
        #: Events received from clients.
        self.messages_in = 0
        #: Requests that were refused, by code.
        self.refused: dict[str, int] = {}

    async def recover(
        self, server: AsyncServer, form: WireForm, connection: Connection, pid: str, mark: str
    ) -> str | None:
        """Give a client its session back; see :class:`stockstream.engine.SessionRecovery`."""
        sid = self.recovery.sid_of(pid)
        if sid is None:
            self.recovery.refused += 1
            return None
        identity = self.sessions.identity_of(server, connection)
        known = self._clients.get(sid)
        if known is not None and known.identity.user != identity.user:
            # Somebody else's, who is still here.
            self.recovery.refused += 1
            return None
        # It may come back before this end has noticed that the old connection is broken.
        await server.drop(sid)
        back = await self.recovery.recover(sid, connection, form, mark, identity)
        if back is None:
            return None
        self._returning[connection] = back
        return sid

    def attach(self, server: AsyncServer, form: WireForm) -> None:
        """Serve the clients of a server, which all use one wire form."""
        self._servers.append(server)

        async def connect(sid: str, *_: object) -> None:
            self._connected(server, form, sid)

        server.on("connect", connect)
        server.on("disconnect", self._disconnected)
        for event, answer in self._answers.items():
            server.on(event, self._handler(event, answer))
        server.on("*", self._unknown)

    # --- clients that do not speak Socket.IO --------------------------------------------------

    def enter(self, client: Client) -> None:
        """Count a client among those of this node, until it leaves."""
        self._clients[client.id] = client

        async def end() -> None:
            client.connection.close(AsyncServer.reason.SERVER_DISCONNECT)

        self.sessions.begin(client, end)

    def leave(self, client: Client) -> None:
        """Count it no more."""
        self._clients.pop(client.id, None)
        self.sessions.forget(client)

    # --- documented statistics ----------------------------------------------------------------

    def get_connected_clients_count(self) -> int:
        """Return the number of clients connected to this node."""
        return len(self._clients)

    def get_subscription_stats(self) -> dict[str, int]:
        """Return the number of this node's clients for each event that has any."""
        return self._subscriptions.counts()

    def get_client_info(self, client_id: str) -> dict[str, Any] | None:
        """Return what is known of a client of this node; None where there is no such client."""
        client = self._clients.get(client_id)
        if client is None:
            return None
        connection = client.connection
        return {
            "clientId": client.id,
            "connectedAt": client.connected_at,
            "connectionDuration": self._clock.time_ms() - client.connected_at,
            "subscriptions": self._subscriptions.events_of(client),
            "transport": connection.transport,
            "remoteAddress": connection.remote_address,
            "messagesOut": connection.messages_out,
            "bytesOut": connection.bytes_out,
            "conflated": connection.conflated,
            "dropped": connection.dropped,
        }

    # --- what the monitor reads ---------------------------------------------------------------

    @property
    def connection_count(self) -> int:
        """Clients connected now."""
        return len(self._clients)

    @property
    def messages_out(self) -> int:
        """Events written to clients, one for each recipient; replies are not among them."""
        return self._fanout.messages

    @property
    def errors(self) -> int:
        """What failed and was not the client's fault: requests, and the provider."""
        return self._faults + self._streaming.producer.errors

    @property
    def latency(self) -> LatencyHistogram:
        """From the receipt of a quote to its being written, in ms."""
        return self._fanout.latency

    # --- events of clients --------------------------------------------------------------------

    def _connected(self, server: AsyncServer, form: WireForm, sid: str) -> None:
        connection = server.connection(sid)
        if connection is None:
            return
        back = self._returning.pop(connection, None)
        if back and back.client.id != sid:
            # Somebody has that session by now.
            self._requests.forget(back.client)
            back = None
        if back:
            client = back.client
        else:
            identity = self.sessions.identity_of(server, connection)
            client = Client(sid, connection, form, self._clock.time_ms(), identity)
            self.recovery.lost.begin(client)
        self._clients[sid] = client
        self.sessions.begin(client, partial(server.disconnect, sid, ignore_queue=True))
        log.debug("client_connected", client=sid, address=connection.remote_address)
        # The acceptance itself has to leave first: it does when this handler returns.
        asyncio.get_running_loop().call_soon(self._welcome, client, back)

    def _welcome(self, client: Client, back: Return | None) -> None:
        payload = Connected(
            client_id=client.id,
            server_time=self._clock.time_ms(),
            available_events=names.available_events(client.identity),
        )
        if back is None:
            client.send(names.CONNECTED, payload, self._fanout.marks.now())
            return
        # Without a mark: it must go on from where it was until it has what it missed.
        client.send(names.CONNECTED, payload)
        task = asyncio.create_task(self.recovery.resume(back))
        self._resuming.add(task)
        task.add_done_callback(self._resuming.discard)

    async def _disconnected(self, sid: str, reason: str) -> None:
        client = self._clients.pop(sid, None)
        if client is not None:
            self.sessions.forget(client)
            if reason in _GOODBYES:
                self.recovery.lost.forget(client)
            else:
                self.recovery.lost.remember(client)
            self._requests.forget(client)
            log.debug("client_disconnected", client=sid, reason=reason)

    def _handler(self, event: str, answer: Answer) -> Callable[..., Awaitable[Any]]:
        async def handle(sid: str, payload: object = None, *_: object) -> Any:
            client = self._clients.get(sid)
            if client is None:
                return None
            self.messages_in += 1
            if client.resuming is not None:
                # What it asks for now comes after what it missed: marks never go back.
                await client.resuming.wait()
                if client.gone:
                    return None
            # For good: a task works for one client only.
            structlog.contextvars.bind_contextvars(client=sid)
            return await self._answer(client, event, answer, payload)

        return handle

    async def _answer(self, client: Client, event: str, answer: Answer, payload: object) -> Any:
        try:
            with _in_one_write(client.connection):
                reply = answer(client, payload)
            return await reply if iscoroutine(reply) else reply
        except RefusedError as error:
            self._faults += isinstance(error, UnavailableError)
            return self._refuse(client, event, error)
        except Exception:
            # The border of the request: who asked must not wait for an answer for ever.
            self._faults += 1
            log.exception("request_failed", request=event)
            return self._refuse(client, event, UnavailableError("this request failed"))

    async def _unknown(self, event: str, sid: str, *_: object) -> Any:
        client = self._clients.get(sid)
        if client is None:
            return None
        self.messages_in += 1
        shown = event[:_SHOWN]
        return self._refuse(client, shown, UnknownEventError(f"there is no event {shown!r}"))

    def _refuse(self, client: Client, event: str, error: RefusedError) -> Any:
        self.refused[error.code] = self.refused.get(error.code, 0) + 1
        log.debug("request_refused", client=client.id, request=event, code=error.code)
        return client.send(names.ERROR, error_reply(event, error))


@contextmanager
def _in_one_write(connection: Connection) -> Iterator[None]:
    """Let what is sent in the block leave together: a reply and the snapshots behind it."""
    corked = connection.cork()
    try:
        yield
    finally:
        if corked:
            connection.uncork()
