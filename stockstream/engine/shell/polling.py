"""Long-polling: GET takes what waits for the client, POST brings what it sends."""

import asyncio

from aiohttp import web
from aiohttp.web_protocol import RequestPayloadError

from stockstream.engine.core.connection import Connection
from stockstream.engine.core.handshake import BAD_REQUEST
from stockstream.engine.core.hub import TRANSPORT_ERROR, Hub
from stockstream.engine.core.packets import split_payload, unwrap
from stockstream.engine.errors import (
    HandshakeRefused,
    LimitViolation,
    PacketViolation,
    ProtocolViolation,
)


async def answer_poll(request: web.BaseRequest, connection: Connection) -> bytes:
    """Return the payload for a GET, as soon as there is one.

    A poll whose client has gone takes nothing with it: the session ends instead. So it does
    when the handler is cancelled.

    Raises:
        HandshakeRefused: another poll is pending; the session is closed.
    """
    ready = asyncio.get_running_loop().create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    try:
        if not connection.begin_poll(wake):
            await ready
    except ProtocolViolation as violation:
        connection.violate(violation)
        raise HandshakeRefused(400, *BAD_REQUEST) from violation
    except asyncio.CancelledError:
        connection.lose_poll()
        raise
    if request.transport is None or request.transport.is_closing():
        connection.lose_poll()
        return b""
    return connection.answer_poll()


class _Gate:
    """Holds a POST back while handlers lag behind; an `InboundPort`."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()

    def pause_reading(self) -> None:
        """Close the gate."""
        self._open.clear()

    def resume_reading(self) -> None:
        """Open the gate."""
        self._open.set()

    async def passed(self, delay: float) -> None:
        """Wait until the gate is open, and for the delay before that."""
        if delay:
            await asyncio.sleep(delay)
        await self._open.wait()


async def take_post(request: web.BaseRequest, connection: Connection, hub: Hub) -> None:
    """Take all packets of a POST, in order.

    The answer waits until they are taken: a client that sends faster than its handlers work is
    held back by it.

    Raises:
        HandshakeRefused: nothing or only a part was taken; the session is closed.
    """
    gate = _Gate()
    try:
        connection.begin_post(gate)
        if request.headers.get("Content-Type", "").startswith("application/octet-stream"):
            raise PacketViolation("payloads are text")
        packets = split_payload(await _body(request, hub), hub.limits.packets_per_payload)
        for packet in packets:
            delay = connection.receive(unwrap(packet))
            if delay or connection.held:
                await gate.passed(delay)
    except ProtocolViolation as violation:
        connection.violate(violation)
        status = 413 if violation.code == LimitViolation.code else 400
        raise HandshakeRefused(status, *BAD_REQUEST) from violation
    except (RequestPayloadError, ConnectionError) as lost:
        # Part of what the client sent never arrived.
        connection.end(TRANSPORT_ERROR)
        raise HandshakeRefused(400, *BAD_REQUEST) from lost
    except TimeoutError as late:
        hub.metrics.slow_bodies += 1
        connection.end(TRANSPORT_ERROR)
        raise HandshakeRefused(408, *BAD_REQUEST) from late
    finally:
        connection.end_post(gate)


async def _body(request: web.BaseRequest, hub: Hub) -> bytes:
    most = hub.handshake.max_payload
    # Refused before any of it is read; a client that announces nothing is counted.
    if (request.content_length or 0) > most:
        raise LimitViolation("max_http_buffer_size")
    body = bytearray()
    async with asyncio.timeout(hub.limits.body_seconds):
        while chunk := await request.content.readany():
            body += chunk
            if len(body) > most:
                raise LimitViolation("max_http_buffer_size")
    return bytes(body)
