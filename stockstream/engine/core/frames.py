"""Reads the WebSocket frames of clients, strictly (RFC 6455), compressed ones too (RFC 7692)."""

import zlib

from stockstream.engine.errors import FrameViolation, LimitViolation

CONTINUATION = 0x0
TEXT = 0x1
BINARY = 0x2
CLOSE = 0x8
PING = 0x9
PONG = 0xA

_FIN = 0x80
_RESERVED = 0x70
# The reserved bit of a compressed message.
_COMPRESSED = 0x40
# What a sender leaves out at the end of a compressed message (RFC 7692, 7.2.2), and an empty last
# block: a message that was cut off is not at its end behind it.
_TAIL = b"\x00\x00\xff\xff"
_END = _TAIL + b"\x01\x00\x00\xff\xff"
# What is left over behind a message that ended with a last block of its own (7.2.3.4).
_OWN_END = b"\x00" + _END


def unmask(payload: bytes, mask: bytes) -> bytes:
    """Undo the masking of a client's payload (RFC 6455, 5.3)."""
    size = len(payload)
    # One long XOR in C is the fastest that pure Python has for any size.
    key = int.from_bytes((mask * (size // 4 + 1))[:size], "little")
    return (int.from_bytes(payload, "little") ^ key).to_bytes(size, "little")


def inflate(payload: bytes, most: int) -> bytes:
    """Return what a compressed message holds; never unpacks more than is allowed.

    Args:
        payload: Of the frames of one message.
        most: Bytes allowed.

    Raises:
        FrameViolation: it is not compressed data, or not all of it.
        LimitViolation: it holds more.
    """
    decompressor = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        data = decompressor.decompress(payload + _END, most + 1)
    except zlib.error:
        raise FrameViolation("malformed compression", 1007) from None
    if len(data) > most:
        raise LimitViolation("max_http_buffer_size")
    if not decompressor.eof or decompressor.unused_data not in {b"", _OWN_END}:
        raise FrameViolation("compressed data is incomplete", 1007)
    return data


class FrameReader:
    """A pull parser: feed it bytes, take whole messages and control frames.

    Holds at most one message of the allowed size and one chunk as fed.

    Args:
        most: Bytes allowed in one message; checked against the announced length before any of
            it is buffered, and while it is unpacked.
        deflates: Whether messages may be compressed.
    """

    __slots__ = ("_allowed", "_at", "_data", "_most", "_opcode", "_parts")

    def __init__(self, most: int, *, deflates: bool = False) -> None:
        self._most = most
        # Reserved bits that may be set.
        self._allowed = _COMPRESSED if deflates else 0
        self._data: bytes | bytearray = b""
        self._at = 0
        # First byte, without FIN, of the message whose fragments are being collected; 0 between
        # messages.
        self._opcode = 0
        self._parts = bytearray()

    def feed(self, data: bytes) -> None:
        """Take what arrived."""
        rest = self._data
        if self._at == len(rest):
            self._data = data
        elif isinstance(rest, bytearray):
            del rest[: self._at]
            rest += data
        else:
            self._data = bytearray(rest[self._at :])
            self._data += data
        self._at = 0

    def next(self) -> tuple[int, str | bytes] | None:
        """Return the next message or control frame as (opcode, payload), None if none is whole.

        Text comes as str, everything else as bytes.

        Raises:
            FrameViolation: the client must be closed with the error's code.
            LimitViolation: the message is larger than allowed.
        """
        while True:
            frame = self._next_frame()
            if frame is None:
                return None
            first, payload = frame
            opcode = first & 0x0F
            if opcode >= CLOSE:
                return opcode, payload
            if opcode and first & _FIN:
                return self._whole(first & ~_FIN, payload)
            if opcode:
                self._opcode = first
                self._parts = bytearray(payload)
                continue
            self._parts += payload
            if first & _FIN:
                opcode, parts = self._opcode, bytes(self._parts)
                self._opcode, self._parts = 0, bytearray()
                return self._whole(opcode, parts)

    def _next_frame(self) -> tuple[int, bytes] | None:
        data, at = self._data, self._at
        have = len(data) - at
        if have < 2:
            if not have:
                # A used-up chunk is let go at once: an idle client holds no buffer.
                self._data, self._at = b"", 0
            return None
        first, second = data[at], data[at + 1]
        size = second & 0x7F
        self._check_head(first, second, size)
        start = at + 6
        if size == 126:
            if have < 4:
                return None
            size = int.from_bytes(data[at + 2 : at + 4], "big")
            start += 2
        elif size == 127:
            if have < 10:
                return None
            size = int.from_bytes(data[at + 2 : at + 10], "big")
            start += 8
        if size > self._most - len(self._parts):
            raise LimitViolation("max_http_buffer_size")
        end = start + size
        if len(data) < end:
            return None
        self._at = end
        return first, unmask(bytes(data[start:end]), bytes(data[start - 4 : start]))

    def _check_head(self, first: int, second: int, size: int) -> None:
        opcode = first & 0x0F
        if first & _RESERVED and (
            first & _RESERVED != self._allowed or opcode not in {TEXT, BINARY}
        ):
            raise FrameViolation("reserved bits are set")
        if not second & 0x80:
            raise FrameViolation("a client's frame must be masked")
        if opcode >= CLOSE:
            if opcode > PONG or not first & _FIN or size > 125:
                raise FrameViolation("bad control frame")
        elif opcode > BINARY:
            raise FrameViolation("unknown opcode")
        elif (opcode == CONTINUATION) != (self._opcode != 0):
            raise FrameViolation("fragments out of order")

    def _whole(self, opcode: int, payload: bytes) -> tuple[int, str | bytes]:
        if opcode & _COMPRESSED:
            payload = inflate(payload, self._most)
        return _typed(opcode & 0x0F, payload)


def _typed(opcode: int, payload: bytes) -> tuple[int, str | bytes]:
    if opcode == BINARY:
        return opcode, payload
    try:
        return opcode, payload.decode("utf-8")
    except UnicodeDecodeError:
        raise FrameViolation("text is not UTF-8", 1007) from None


def read_close(payload: bytes) -> int:
    """Return the code of a client's close frame, 1005 where it gives none (RFC 6455, 7.1.5).

    Raises:
        FrameViolation: the payload is malformed.
    """
    if not payload:
        return 1005
    code = int.from_bytes(payload[:2], "big")
    allowed = 3000 <= code <= 4999 or (1000 <= code <= 1014 and code not in {1004, 1005, 1006})
    if len(payload) < 2 or not allowed:
        raise FrameViolation("bad close code")
    try:
        payload[2:].decode("utf-8")
    except UnicodeDecodeError:
        raise FrameViolation("close reason is not UTF-8", 1007) from None
    return code
