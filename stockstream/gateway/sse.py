"""The door of Server-Sent Events: the same events, envelopes and limits as over Socket.IO.

A stream has no session. Its ids are the marks that Socket.IO clients get, so that an update is
encoded once for all streams; a browser sends the last one with its next attempt, and the events
that it listens to stand in the address. See docs/adr/0008-server-sent-events.md.
"""

import asyncio
from collections.abc import Sequence
from random import Random
from typing import Final

import structlog
from aiohttp import hdrs, web

from stockstream.engine import AsyncServer, Connection, EventStreams, Raw
from stockstream.engine.errors import HandshakeRefused
from stockstream.engine.shell.event_stream import HEADERS
from stockstream.errors import RefusedError
from stockstream.gateway.client import Client
from stockstream.gateway.fanout import Fanout
from stockstream.gateway.http_identity import IDENTITY
from stockstream.gateway.recovery import Recovery
from stockstream.gateway.requests import Requests
from stockstream.gateway.responses import error_response
from stockstream.gateway.routes import Answer, Call, Route
from stockstream.gateway.sockets import SocketGateway
from stockstream.model.identity import Identity
from stockstream.ports import Clock
from stockstream.wire import names
from stockstream.wire.names import parse_channel
from stockstream.wire.packets import WireForm
from stockstream.wire.parameters import StreamParameters
from stockstream.wire.replies import Connected, Rejected, Subscribed, rejected
from stockstream.wire.requests import SubscribeRequest

log = structlog.get_logger(__name__)

#: Milliseconds after which a browser that lost its stream tries again: each has a time of its own,
#: so that they do not all come at once.
_RETRY: Final = (1_000, 4_000)
#: The same when the server shuts down, more by one for each client that a second lets in.
_LAST_RETRY: Final = (1_000, 5_000)
#: Longest mark that is looked at.
_LONGEST_MARK: Final = 128


class _Stream:
    """One stream: its client, and the task that gives it what it missed."""

    __slots__ = ("client", "resuming")

    def __init__(self, client: Client) -> None:
        self.client = client
        self.resuming: asyncio.Task[None] | None = None


class SseDoor:
    """Opens streams, and ends them."""

    def __init__(
        self,
        *,
        beside: SocketGateway,
        server: AsyncServer,
        heartbeat: float,
        requests: Requests,
        recovery: Recovery,
        fanout: Fanout,
        clock: Clock,
        random: Random,
    ) -> None:
        """Open nothing yet.

        Args:
            beside: has the other clients.
            server: theirs: connections count together, and its limits hold for streams too.
            heartbeat: seconds between two signs of life.
            requests: answers what clients ask for.
            recovery: lets them go on where they were.
            fanout: brings them what they want.
            clock: the time.
            random: when they are to come back.
        """
        self._beside = beside
        self._streams = EventStreams(
            beside=server.eio.hub,
            heartbeat=heartbeat,
            limits=server.limits,
            on_close=self._closed,
        )
        self._requests = requests
        self._recovery = recovery
        self._fanout = fanout
        self._clock = clock
        self._random = random

    def routes(self) -> list[Route]:
        """Return what there is to be asked."""
        return [
            Route(
                name="stream",
                path="/api/stream",
                handler=self._stream,
                summary="Live events as Server-Sent Events, until the client ends it.",
                description="First come `connected` and `subscribed`, then a snapshot of each "
                "symbol, then updates. The name of an event is that of Socket.IO, its data the "
                "same JSON. Ids say where to go on; `subscribed` says whether that could be done "
                "without a gap (`resumed`).",
                tag="streams",
                parameters=StreamParameters,
                headers={"Last-Event-ID": "Id of the last event of a stream of the same events."},
                answers={200: Answer("A stream of events.", media_type="text/event-stream")},
                errors=frozenset({503}),
            )
        ]

    async def shutdown(self) -> None:
        """End all streams; clients come back at times of their own."""
        await self._streams.shutdown(self._goodbye)

    async def _stream(self, call: Call[StreamParameters]) -> web.StreamResponse:
        request = call.request
        if request.method == hdrs.METH_HEAD:
            return web.Response(headers=HEADERS)
        wanted = call.parameters.request()
        mark = request.headers.get("Last-Event-ID", "")[:_LONGEST_MARK]
        identity = request[IDENTITY]
        try:
            return await self._streams.open(
                request,
                call.address,
                {},
                lambda connection: self._opened(connection, wanted, mark, identity),
            )
        except HandshakeRefused as refusal:
            return _full(refusal)

    def _opened(
        self, connection: Connection, wanted: SubscribeRequest, mark: str, identity: Identity
    ) -> None:
        client = Client(connection.id, connection, WireForm.STREAM, self._clock.time_ms(), identity)
        stream = connection.context = _Stream(client)
        self._beside.enter(client)
        log.debug("stream_opened", client=client.id, address=connection.remote_address)
        connection.send(Raw(f"retry: {self._random.randint(*_RETRY)}\n\n"))
        now = self._clock.time_ms()
        client.send(
            names.CONNECTED,
            Connected(
                client_id=client.id,
                server_time=now,
                available_events=names.available_events(client.identity),
            ),
        )
        if mark:
            stream.resuming = asyncio.create_task(self._resume(stream, wanted, mark))
        else:
            self._begin(client, wanted)

    def _closed(self, connection: Connection, reason: str) -> None:
        """Take the end of a stream, whoever ended it."""
        stream: _Stream = connection.context
        client = stream.client
        client.gone = True
        self._beside.leave(client)
        if stream.resuming is None:
            self._requests.forget(client)
        log.debug("stream_closed", client=client.id, reason=reason)

    def _begin(self, client: Client, wanted: SubscribeRequest, *, lost: bool = False) -> None:
        """Subscribe a client that begins with snapshots; ``lost``: it was to go on instead."""
        payload = {"events": wanted.events, "maxRate": wanted.max_rate}
        self._requests.subscribe(client, payload, resumed=False if lost else None)
        mark = self._fanout.marks.now()
        if mark:
            # An id without data: from here on it may go on, though nothing has changed yet.
            client.connection.send(Raw(f"id: {mark}\n\n"))

    async def _resume(self, stream: _Stream, wanted: SubscribeRequest, mark: str) -> None:
        try:
            await self._go_on(stream, wanted, mark)
        except Exception:
            # The border of the task: the client comes back, and begins anew if need be.
            log.exception("stream_not_resumed", client=stream.client.id)
            stream.client.connection.close("transport error")
        finally:
            stream.resuming = None
            if stream.client.gone:
                self._requests.forget(stream.client)

    async def _go_on(self, stream: _Stream, wanted: SubscribeRequest, mark: str) -> None:
        client = stream.client
        known, refused = _sorted_out(wanted.events, client.identity)
        client.floors = dict.fromkeys(known, 0)
        if wanted.max_rate is not None:
            client.rates = dict.fromkeys(known, wanted.max_rate)
        back = await self._recovery.go_on(client, mark)
        if back is not None and not client.gone:
            reply = Subscribed(events=known, rejected=refused or None, resumed=True)
            client.send(names.SUBSCRIBED, reply)
            await self._recovery.resume(back)
        elif back is None and client.connection.open:
            # What was begun for it has been undone.
            anew = Client(
                client.id, client.connection, client.form, client.connected_at, client.identity
            )
            stream.client = anew
            self._beside.enter(anew)
            self._begin(anew, wanted, lost=True)

    def _goodbye(self) -> Raw:
        first, last = _LAST_RETRY
        per_second = self._streams.limits.handshakes_per_second
        last += round(1_000 * len(self._streams.hub.sessions) / per_second)
        return Raw(f": the server is shutting down\nretry: {self._random.randint(first, last)}\n\n")


def _sorted_out(events: Sequence[str], identity: Identity) -> tuple[list[str], list[Rejected]]:
    known: dict[str, None] = {}
    refused: list[Rejected] = []
    for event in events:
        try:
            channel = parse_channel(event)
            names.permit(channel, identity)
            known[channel.name] = None
        except RefusedError as error:
            refused.append(rejected(event, error))
    return list(known), refused


def _full(refusal: HandshakeRefused) -> web.Response:
    code = "rate_limited" if refusal.status == 429 else "unavailable"
    response = error_response(refusal.status, "stream_error", code, refusal.reason)
    if refusal.retry_after is not None:
        response.headers[hdrs.RETRY_AFTER] = str(refusal.retry_after)
    return response
