"""A handshake's head means the same to the engine as to aiohttp, or the engine leaves it alone."""

import asyncio
from collections.abc import Iterator

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParser
from hypothesis import given
from hypothesis import strategies as st
from multidict import MultiMapping

from stockstream.engine.shell.head import HandshakeHead, read_head

LINES = [
    "Host: test",
    "Upgrade: websocket",
    "Connection: keep-alive, Upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEA==",
]
names = st.sampled_from(
    ["X", "cookie", "Origin", "X-Forwarded-For", "HOST", "Upgrade", "Content-Length", "Expect"]
) | st.text(alphabet=st.characters(max_codepoint=0x17F), max_size=5)
values = st.text(alphabet=st.characters(max_codepoint=0x17F), max_size=8) | st.sampled_from(
    ["websocket", "h2c", "0", "a=b; c=d", "  blank\t ", "100-continue"]
)
targets = st.text(alphabet="/?&=%#+ aé\x7fE41sidtransport", max_size=20).map("/socket.io/".__add__)


def read(wire: bytes) -> HandshakeHead | None:
    return read_head(wire.removesuffix(b"\r\n\r\n"), "192.0.2.1", "http")


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """What aiohttp's parser wants to have."""
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def _folded(headers: MultiMapping[str]) -> list[tuple[str, str]]:
    return [(name.lower(), value) for name, value in headers.items()]


@given(data=st.data(), more=st.lists(st.tuples(names, values), max_size=3), target=targets)
def test_what_is_read_here_is_what_aiohttp_would_have_read(
    loop: asyncio.AbstractEventLoop, data: st.DataObject, more: list[tuple[str, str]], target: str
) -> None:
    lines = data.draw(st.permutations([*LINES, *(f"{name}:{value}" for name, value in more)]))
    wire = "\r\n".join([f"GET {target} HTTP/1.1", *lines, "", ""]).encode()
    head = read(wire)
    if head is None:
        return
    parser = HttpRequestParser(BaseProtocol(loop), loop, 65_536, max_line_size=8_190)
    try:
        [(message, _)], upgraded, rest = parser.feed_data(wire)
    except HttpProcessingError as error:
        raise AssertionError(f"aiohttp refuses it: {error}") from error
    assert upgraded
    assert not rest
    assert _folded(head.headers) == _folded(message.headers)
    assert dict(head.query) == {key: message.url.query[key] for key in message.url.query}


@given(start=st.binary(max_size=60), at=st.integers(0, 200))
def test_no_bytes_make_it_fail(start: bytes, at: int) -> None:
    wire = "\r\n".join(["GET /socket.io/?EIO=4 HTTP/1.1", *LINES]).encode()
    for each in (start, wire[:at] + start + wire[at:]):
        head = read(each)
        assert head is None or b"\r\n\r\n" not in head.lines
