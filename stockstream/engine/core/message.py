"""One message for many clients, encoded at most once for each wire form."""

import zlib
from base64 import b64encode
from struct import Struct
from typing import Final

_SHORT = Struct("!BB").pack
_MEDIUM = Struct("!BBH").pack
_LONG = Struct("!BBQ").pack

TEXT = 0x1
BINARY = 0x2

#: Window of the compressor (base 2 logarithm of its bytes), and how much memory it takes. A whole
#: window of 32 KB costs ten times as much for a message of ordinary size, and saves nothing.
WINDOW_BITS: Final = 12
_MEMORY_LEVEL: Final = 5
#: Characters or bytes below which compressing costs more than it saves.
_WORTH_DEFLATING: Final = 128
#: Marks a frame's payload as compressed (RFC 7692, 6).
_COMPRESSED: Final = 0x40


def server_frame(opcode: int, payload: bytes) -> bytes:
    """Return a whole unmasked WebSocket frame (RFC 6455, 5.2)."""
    size = len(payload)
    if size < 126:
        return _SHORT(0x80 | opcode, size) + payload
    if size < 65_536:
        return _MEDIUM(0x80 | opcode, 126, size) + payload
    return _LONG(0x80 | opcode, 127, size) + payload


class Message:
    """One Engine.IO message; immutable, and made to be shared by all its recipients.

    Args:
        data: Socket.IO packet text without the leading Engine.IO `4`, or a binary payload.
    """

    __slots__ = ("data", "deflated", "frame", "packet")

    data: str | bytes
    #: The complete server-to-client WebSocket frame; built on first use.
    frame: bytes
    #: The Engine.IO packet for a polling payload (`4…`, or `b` and base64); built on first use.
    packet: str
    #: The same message with a compressed frame, where that is smaller; built on first use.
    deflated: "Message"

    def __init__(self, data: str | bytes) -> None:
        self.data = data

    def __getattr__(self, name: str) -> object:
        # Reached only while the slot is empty: what was built once is a plain slot access.
        if name == "frame":
            self.frame = self._build_frame()
            return self.frame
        if name == "packet":
            self.packet = self._build_packet()
            return self.packet
        if name == "deflated":
            if len(self.data) < _WORTH_DEFLATING:
                # Not kept: a message that refers to itself would be left to the collector.
                return self
            self.deflated = _Deflated(self)
            return self.deflated
        raise AttributeError(name)

    def _build_frame(self) -> bytes:
        return server_frame(*self._payload())

    def _payload(self) -> tuple[int, bytes]:
        data = self.data
        if isinstance(data, str):
            # As Node does: a lone surrogate has no UTF-8, it is replaced.
            return TEXT, b"4" + data.encode("utf-8", "replace")
        return BINARY, bytes(data)

    def _build_packet(self) -> str:
        data = self.data
        if isinstance(data, str):
            return "4" + data
        return "b" + b64encode(data).decode("ascii")

    def __repr__(self) -> str:
        return f"Message({self.data!r})"


class _Deflated(Message):
    """A message for clients with permessage-deflate; needs nothing of the messages before it."""

    __slots__ = ()

    def __init__(self, message: Message) -> None:
        super().__init__(message.data)

    def __getattr__(self, name: str) -> object:
        return self if name == "deflated" else super().__getattr__(name)

    def _build_frame(self) -> bytes:
        opcode, payload = self._payload()
        compressor = zlib.compressobj(
            zlib.Z_DEFAULT_COMPRESSION, zlib.DEFLATED, -WINDOW_BITS, _MEMORY_LEVEL
        )
        # Without the last four bytes, which are the same in all messages (RFC 7692, 7.2.1).
        packed = (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]
        if len(packed) >= len(payload):
            return server_frame(opcode, payload)
        return server_frame(_COMPRESSED | opcode, packed)


class Raw(Message):
    """A message that leaves as it is, on a transport without frames such as an event stream."""

    __slots__ = ()

    def _build_frame(self) -> bytes:
        data = self.data
        return data.encode() if isinstance(data, str) else bytes(data)


def control(packet: str) -> Message:
    """Return an Engine.IO packet that is no message, such as a ping, in the shape of one."""
    message = Message(packet)
    message.packet = packet
    message.frame = server_frame(TEXT, packet.encode())
    return message
