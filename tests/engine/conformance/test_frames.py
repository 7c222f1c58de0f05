"""The WebSocket protocol below the packets (RFC 6455), byte by byte."""

import asyncio
import base64
import contextlib
import struct
from collections.abc import AsyncIterator

import pytest

from tests.support.wire_client import WEBSOCKET, Endpoint, Exchange

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA

#: Masking with zeros changes nothing: payloads stay readable here.
NO_MASK = bytes(4)


def frame(opcode: int, payload: bytes, *, final: bool = True, reserved: int = 0) -> bytes:
    """Return one masked client frame; `reserved` are the three RSV bits as a number."""
    first = (0x80 if final else 0) | reserved << 4 | opcode
    if len(payload) < 126:
        length = bytes([0x80 | len(payload)])
    elif len(payload) < 65_536:
        length = bytes([0x80 | 126]) + struct.pack("!H", len(payload))
    else:
        length = bytes([0x80 | 127]) + struct.pack("!Q", len(payload))
    return bytes([first]) + length + NO_MASK + payload


class Frames:
    """A WebSocket whose bytes are all made by hand."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    async def send(self, data: bytes) -> None:
        await self._exchange.send(data)

    async def receive(self) -> tuple[int, bytes]:
        """Opcode and payload of the next frame, which servers must not mask or fragment."""
        first, second = await self._exchange.exactly(2)
        assert first & 0xF0 == 0x80
        length = second
        if length == 126:
            (length,) = struct.unpack("!H", await self._exchange.exactly(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", await self._exchange.exactly(8))
        return first & 0x0F, await self._exchange.exactly(length)

    async def until_closed(self) -> None:
        """Wait for the end; a close frame before it is answered, as browsers do."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            opcode, payload = await self.receive()
            while opcode != CLOSE:
                opcode, payload = await self.receive()
            await self.send(frame(CLOSE, payload))
        await self._exchange.ended()


@contextlib.asynccontextmanager
async def connected(endpoint: Endpoint) -> AsyncIterator[Frames]:
    """Open a WebSocket session by hand and connect it to the main namespace."""
    headers = {
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(bytes(16)).decode(),
    }
    async with endpoint.exchange() as exchange:
        head = endpoint.head("GET", WEBSOCKET, headers)
        await exchange.send(head.replace(b"Connection: close", b"Connection: Upgrade"))
        status, _ = await exchange.response_head()
        assert status == 101
        frames = Frames(exchange)
        assert (await frames.receive())[1][:1] == b"0"
        await frames.send(frame(TEXT, b"40"))
        assert (await frames.receive())[1][:3] == b"40{"
        yield frames


ECHO = b'42["echo","split"]'


async def test_frame_that_arrives_byte_by_byte_is_one_packet(ordinary: Endpoint) -> None:
    async with connected(ordinary) as socket:
        for byte in frame(TEXT, ECHO):
            await socket.send(bytes([byte]))
        assert await socket.receive() == (TEXT, ECHO)


async def test_frames_that_arrive_in_one_segment_are_many_packets(ordinary: Endpoint) -> None:
    async with connected(ordinary) as socket:
        await socket.send(frame(TEXT, ECHO) * 30)
        for _ in range(30):
            assert await socket.receive() == (TEXT, ECHO)


async def test_fragmented_message_is_one_packet(ordinary: Endpoint) -> None:
    async with connected(ordinary) as socket:
        await socket.send(frame(TEXT, ECHO[:5], final=False))
        await socket.send(frame(CONTINUATION, ECHO[5:9], final=False))
        await socket.send(frame(CONTINUATION, ECHO[9:]))
        assert await socket.receive() == (TEXT, ECHO)


async def test_ping_frame_between_fragments_is_answered(ordinary: Endpoint) -> None:
    async with connected(ordinary) as socket:
        await socket.send(frame(TEXT, ECHO[:5], final=False))
        await socket.send(frame(PING, b"now"))
        assert await socket.receive() == (PONG, b"now")
        await socket.send(frame(CONTINUATION, ECHO[5:]))
        assert await socket.receive() == (TEXT, ECHO)


async def test_pong_frame_is_ignored(ordinary: Endpoint) -> None:
    async with connected(ordinary) as socket:
        await socket.send(frame(PONG, b"unasked") + frame(TEXT, ECHO))
        assert await socket.receive() == (TEXT, ECHO)


async def test_close_frame_is_answered_with_its_code(ordinary: Endpoint) -> None:
    async with connected(ordinary) as socket:
        await socket.send(frame(CLOSE, struct.pack("!H", 1000)))
        opcode, payload = await socket.receive()
        assert (opcode, payload[:2]) == (CLOSE, struct.pack("!H", 1000))
        await socket.until_closed()


@pytest.mark.parametrize("size", [125, 126, 65_535, 65_536, 300_000])
async def test_every_length_encoding_is_read_and_written(ordinary: Endpoint, size: int) -> None:
    packet = b'42["echo","' + b"x" * (size - 13) + b'"]'
    assert len(packet) == size
    async with connected(ordinary) as socket:
        await socket.send(frame(TEXT, packet))
        assert await socket.receive() == (TEXT, packet)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x81\x02" + b"40", id="not masked"),
        pytest.param(frame(TEXT, ECHO, reserved=4), id="compressed though not agreed"),
        pytest.param(frame(TEXT, ECHO, reserved=1), id="reserved bit"),
        pytest.param(frame(0x3, ECHO), id="unknown data opcode"),
        pytest.param(frame(0xB, b""), id="unknown control opcode"),
        pytest.param(frame(CONTINUATION, ECHO), id="continuation of nothing"),
        pytest.param(frame(TEXT, b"4", final=False) + frame(TEXT, ECHO), id="message in a message"),
        pytest.param(frame(PING, b"x" * 126), id="control frame too long"),
        pytest.param(frame(PING, b"x", final=False), id="control frame in fragments"),
        pytest.param(frame(TEXT, b'42["echo","\xff"]'), id="text that is not UTF-8"),
        pytest.param(b"\x81\xff" + b"\xff" * 8, id="length of 16 exabytes"),
        pytest.param(b"\x81\xff" + struct.pack("!Q", 1 << 40), id="length of a terabyte"),
        pytest.param(frame(CLOSE, b"\x03"), id="close code cut off"),
        pytest.param(frame(TEXT, b"4" + b"x" * 600_000, final=False) * 2, id="fragments too long"),
    ],
)
async def test_broken_frame_ends_the_connection(ordinary: Endpoint, data: bytes) -> None:
    async with connected(ordinary) as socket:
        await socket.send(data)
        await socket.until_closed()
