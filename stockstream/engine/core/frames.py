"""Reads the WebSocket frames of clients, strictly (RFC 6455)."""

from stockstream.engine.errors import FrameViolation, LimitViolation

CONTINUATION = 0x0
TEXT = 0x1
BINARY = 0x2
CLOSE = 0x8
PING = 0x9
PONG = 0xA

_FIN = 0x80
_RESERVED = 0x70


def unmask(payload: bytes, mask: bytes) -> bytes:
    """Undo the masking of a client's payload (RFC 6455, 5.3)."""
    size = len(payload)
    # One long XOR in C is the fastest that pure Python has for any size.
    key = int.from_bytes((mask * (size // 4 + 1))[:size], "little")
    return (int.from_bytes(payload, "little") ^ key).to_bytes(size, "little")


class FrameReader:
    """A pull parser: feed it bytes, take whole messages and control frames.

    Holds at most one message of the allowed size and one chunk as fed.

    Args:
        most: Bytes allowed in one message; checked against the announced length before any of
            it is buffered.
    """

    __slots__ = ("_at", "_data", "_most", "_opcode", "_parts")

    def __init__(self, most: int) -> None:
        self._most = most
        self._data: bytes | bytearray = b""
        self._at = 0
        # Of the message whose fragments are being collected; 0 between messages.
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
                return _whole(opcode, payload)
            if opcode:
                self._opcode = opcode
                self._parts = bytearray(payload)
                continue
            self._parts += payload
            if first & _FIN:
                opcode, parts = self._opcode, bytes(self._parts)
                self._opcode, self._parts = 0, bytearray()
                return _whole(opcode, parts)

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
        if first & _RESERVED:
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


def _whole(opcode: int, payload: bytes) -> tuple[int, str | bytes]:
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
