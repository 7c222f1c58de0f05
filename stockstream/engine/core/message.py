"""One message for many clients, encoded at most once for each wire form."""

from base64 import b64encode
from struct import Struct

_SHORT = Struct("!BB").pack
_MEDIUM = Struct("!BBH").pack
_LONG = Struct("!BBQ").pack

TEXT = 0x1
BINARY = 0x2


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

    __slots__ = ("data", "frame", "packet")

    data: str | bytes
    #: The complete server-to-client WebSocket frame; built on first use.
    frame: bytes
    #: The Engine.IO packet for a polling payload (`4…`, or `b` and base64); built on first use.
    packet: str

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
        raise AttributeError(name)

    def _build_frame(self) -> bytes:
        data = self.data
        if isinstance(data, str):
            # As Node does: a lone surrogate has no UTF-8, it is replaced.
            return server_frame(TEXT, b"4" + data.encode("utf-8", "replace"))
        return server_frame(BINARY, bytes(data))

    def _build_packet(self) -> str:
        data = self.data
        if isinstance(data, str):
            return "4" + data
        return "b" + b64encode(data).decode("ascii")

    def __repr__(self) -> str:
        return f"Message({self.data!r})"


def control(packet: str) -> Message:
    """Return an Engine.IO packet that is no message, such as a ping, in the shape of one."""
    message = Message(packet)
    message.packet = packet
    message.frame = server_frame(TEXT, packet.encode())
    return message
