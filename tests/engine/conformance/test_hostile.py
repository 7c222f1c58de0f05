"""Clients that mean harm, or are broken in ways that look like it."""

import asyncio
import contextlib

import pytest

from tests.support.target_fixtures import engine_only
from tests.support.wire_client import (
    PATIENCE,
    POLLING,
    ClosedByServer,
    Endpoint,
    Exchange,
    lifecycle_until,
)


@pytest.mark.parametrize(
    "packet",
    [
        '42["connect",{"REMOTE_ADDR":"10.0.0.1"},{"token":"forged"}]',
        '421["connect",{},{}]',
        '42["disconnect","forged"]',
        '421["disconnect","forged"]',
        '451-["connect",{"_placeholder":true,"num":0}]',
    ],
)
async def test_lifecycle_handlers_cannot_be_called_by_a_client(
    ordinary: Endpoint, packet: str
) -> None:
    async with ordinary.connected() as observer, ordinary.connected() as socket:
        await socket.send(packet, b"\x01")
        assert await socket.until_closed() == []
        seen = await lifecycle_until(observer, socket.sid, "disconnect")
    assert seen == ["connect", "disconnect"]


async def test_nan_and_infinity_are_not_sent_out(ordinary: Endpoint) -> None:
    async with ordinary.connected() as socket:
        await socket.send('42["emitNan"]', '42["echo","end"]')
        received = []
        while '42["echo","end"]' not in received:
            received.append(await socket.receive_text())
    assert not any("NaN" in packet or "Infinity" in packet for packet in received)


async def test_post_over_the_limit_is_answered_413_before_it_is_read(ordinary: Endpoint) -> None:
    session = await ordinary.polling()
    async with ordinary.exchange() as exchange:
        head = ordinary.head("POST", session.query, {"Content-Length": str(50_000_000)})
        await exchange.send(head + b"4" + b"x" * 1_000_001)
        assert (await exchange.response()).status == 413


async def test_chunked_post_over_the_limit_is_answered_413(ordinary: Endpoint) -> None:
    session = await ordinary.polling()
    async with ordinary.exchange() as exchange:
        await exchange.send(ordinary.head("POST", session.query, {"Transfer-Encoding": "chunked"}))
        for _ in range(11):
            await exchange.send(b"186a0\r\n" + b"x" * 100_000 + b"\r\n")
        assert (await exchange.response()).status == 413


@pytest.mark.parametrize("sent", [b"", b"42[", b"4" * 50])
async def test_body_that_does_not_come_is_not_waited_for(deadlines: Endpoint, sent: bytes) -> None:
    session = await deadlines.connected_polling()
    async with deadlines.exchange() as exchange:
        await exchange.send(deadlines.head("POST", session.query, {"Content-Length": "100"}) + sent)
        await exchange.ended()


async def test_body_that_trickles_is_not_waited_for(deadlines: Endpoint) -> None:
    session = await deadlines.connected_polling()
    async with deadlines.exchange() as exchange:
        head = deadlines.head("POST", session.query, {"Content-Length": "100000"})
        await exchange.send(head)
        await _trickle(exchange)


async def test_chunked_body_that_does_not_end_is_not_waited_for(deadlines: Endpoint) -> None:
    session = await deadlines.connected_polling()
    async with deadlines.exchange() as exchange:
        head = deadlines.head("POST", session.query, {"Transfer-Encoding": "chunked"})
        await exchange.send(head + b"3\r\n42[\r\n")
        await exchange.ended()


@pytest.mark.parametrize("sent", [b"", b"GET /socket.io/", b"GET / HTTP/1.1\r\nHost: test\r\nX"])
async def test_headers_that_do_not_come_are_not_waited_for(
    deadlines: Endpoint, sent: bytes
) -> None:
    async with deadlines.exchange() as exchange:
        await exchange.send(sent)
        await exchange.ended()


async def test_headers_that_trickle_are_not_waited_for(deadlines: Endpoint) -> None:
    async with deadlines.exchange() as exchange:
        await exchange.send(b"GET /socket.io/ HTTP/1.1\r\nX-Slow: ")
        await _trickle(exchange)


@pytest.mark.parametrize(
    "head",
    [
        b"GET /socket.io/?%b HTTP/9.9\r\nHost: test\r\n\r\n",
        b"GET /socket.io/?%b HTTP/1.1\r\nHost test\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03%b\r\n\r\n",
        b"GET /socket.io/?%b HTTP/1.1\r\nHost: test\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
        b"POST /socket.io/?%b HTTP/1.1\r\nHost: test\r\nContent-Length: -1\r\n\r\n",
        b"POST /socket.io/?%b HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0",
        b"GET /socket.io/?EIO=4&transport=polling&sid=%%ff%%fe%b HTTP/1.1\r\nHost: test\r\n\r\n",
    ],
)
async def test_broken_http_is_refused(ordinary: Endpoint, head: bytes) -> None:
    async with ordinary.exchange() as exchange:
        await exchange.send(head % POLLING.encode())
        try:
            assert 400 <= (await exchange.response()).status < 500
        except ClosedByServer:
            # No answer is one, too.
            return


@engine_only("the reference buffers for a reader that does not read as long as it has memory")
async def test_reader_that_does_not_read_is_disconnected(ordinary: Endpoint) -> None:
    async with ordinary.connected() as observer, ordinary.connected() as socket:
        await socket.send('42["burst",1000,100000]')
        seen = await lifecycle_until(observer, socket.sid, "disconnect")
    assert seen == ["connect", "disconnect"]


@engine_only("the reference buffers for a client that does not poll as long as it has memory")
async def test_client_that_does_not_poll_is_disconnected(ordinary: Endpoint) -> None:
    session = await ordinary.connected_polling()
    await session.send('42["burst",1000,100000]')
    async with asyncio.timeout(PATIENCE):
        while not await session.is_closed():
            pass


@engine_only("the reference limits the number of attachments but not their bytes")
async def test_attachments_have_a_limit_in_bytes(ordinary: Endpoint) -> None:
    holders = ",".join(f'{{"_placeholder":true,"num":{n}}}' for n in range(10))
    async with ordinary.connected() as socket:
        await socket.send(f'4510-["noReturn",{holders}]')
        # The connection may end while these are on their way.
        with contextlib.suppress(ConnectionError):
            await socket.send(*[bytes(999_999)] * 9)
        assert await socket.until_closed() == []


async def _trickle(exchange: Exchange) -> None:
    """Send a byte every 50 ms until the server ends the connection."""
    end = asyncio.create_task(exchange.ended())
    while not end.done():
        with contextlib.suppress(ConnectionError):
            await exchange.send(b"x")
        await asyncio.wait([end], timeout=0.05)
    await end
