"""A WebSocket that the tests hold by its socket: it can stop reading, and take little at a time."""

import asyncio
import os
import socket
from base64 import b64encode
from collections.abc import Callable
from typing import Self

#: Bytes that the kernel may keep for a narrow client, and the segments that it gets them in. The
#: server's own buffer follows from the size of the segments: about 30 kB in all.
_NARROW_BUFFER = 2_048
_NARROW_SEGMENT = 536

_TEXT, _BINARY, _CLOSE = 1, 2, 8

Message = str | bytes


class RawSocket(asyncio.Protocol):
    """One WebSocket, client side.

    Args:
        on_message: called with each message, in order.
    """

    def __init__(self, on_message: Callable[[Message], None]) -> None:
        self._on_message = on_message
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._head = b""
        self._answered = asyncio.Event()
        #: Set once the connection has ended.
        self.ended = asyncio.Event()
        #: Code of the server's close frame, None where there was none.
        self.close_code: int | None = None

    @classmethod
    async def open(
        cls,
        port: int,
        target: str,
        on_message: Callable[[Message], None],
        *,
        narrow: bool = False,
    ) -> Self:
        """Connect and shake hands.

        Args:
            port: of 127.0.0.1.
            target: path and query.
            on_message: see the class.
            narrow: whether the kernel shall buffer as little as it can.
        """
        sock = socket.socket()
        sock.setblocking(False)
        if narrow:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _NARROW_BUFFER)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, _NARROW_SEGMENT)
        loop = asyncio.get_running_loop()
        try:
            await loop.sock_connect(sock, ("127.0.0.1", port))
        except BaseException:
            sock.close()
            raise
        _, opened = await loop.create_connection(lambda: cls(on_message), sock=sock)
        await opened._shake_hands(target)
        return opened

    async def _shake_hands(self, target: str) -> None:
        lines = [
            f"GET {target} HTTP/1.1",
            "Host: test",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {b64encode(os.urandom(16)).decode()}",
        ]
        self.transport.write("\r\n".join([*lines, "", ""]).encode())
        try:
            await self._answered.wait()
        except BaseException:
            self.transport.abort()
            raise
        assert self._head.startswith(b"HTTP/1.1 101"), self._head

    @property
    def transport(self) -> asyncio.Transport:
        assert self._transport is not None
        return self._transport

    def send(self, message: Message) -> None:
        """Send a message; a mask of zeros is a mask."""
        opcode, data = (_TEXT, message.encode()) if isinstance(message, str) else (_BINARY, message)
        size = len(data)
        length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2)
        self.transport.write(bytes([0x80 | opcode]) + length + bytes(4) + data)

    def stop_reading(self) -> None:
        """Take nothing from the kernel any more."""
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def read_on(self) -> None:
        """Take what has come, and what comes."""
        if not self.transport.is_closing():
            self.transport.resume_reading()

    def cut(self) -> None:
        """Vanish without a word."""
        self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._answered.set()
        self.ended.set()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._head:
            head, end, rest = self._buffer.partition(b"\r\n\r\n")
            if not end:
                return
            self._head, self._buffer = bytes(head), rest
            self._answered.set()
        while (frame := self._next_frame()) is not None:
            self._take(*frame)

    def _next_frame(self) -> tuple[int, bytes] | None:
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        size, start = buffer[1], 2
        if size >= 126:
            start = 4 if size == 126 else 10
            if len(buffer) < start:
                return None
            size = int.from_bytes(buffer[2:start])
        end = start + size
        if len(buffer) < end:
            return None
        assert buffer[0] & 0xF0 == 0x80, f"a fragment or a compressed frame: {buffer[0]:#x}"
        frame = buffer[0] & 0x0F, bytes(buffer[start:end])
        del buffer[:end]
        return frame

    def _take(self, opcode: int, payload: bytes) -> None:
        if opcode == _CLOSE:
            self.close_code = int.from_bytes(payload[:2])
            self.transport.close()
        elif opcode in {_TEXT, _BINARY}:
            self._on_message(payload.decode() if opcode == _TEXT else payload)
