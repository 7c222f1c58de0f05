"""Socket.IO 5 packets, read as strictly as Node reads them.

https://socket.io/docs/v4/socket-io-protocol/
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec
from socketio import packet as base

from stockstream.engine.errors import EncodeError, LimitViolation, PacketViolation
from stockstream.engine.limits import Limits
from stockstream.engine.sio import json as strict_json

CONNECT = 0
DISCONNECT = 1
EVENT = 2
ACK = 3
CONNECT_ERROR = 4
BINARY_EVENT = 5
BINARY_ACK = 6

#: Names that belong to the life of a connection; no client may send them as events.
RESERVED_EVENTS = frozenset(
    {
        "connect",
        "connect_error",
        "disconnect",
        "disconnecting",
        "newListener",
        "removeListener",
    }
)

# The largest whole number that JavaScript counts without gaps has 16 digits.
_ID_DIGITS = 16
_DIGITS = frozenset("0123456789")


class JSONPacket(base.Packet):
    """A packet as text and attachments; `limits` is set by the server on a class of its own."""

    json = strict_json
    limits: ClassVar[Limits] = Limits()

    def decode(self, encoded_packet: str | bytes) -> int:
        """Read a packet; returns the number of attachments that must follow.

        Raises:
            PacketViolation: the protocol forbids it.
            LimitViolation: it has too many attachments.
        """
        if not isinstance(encoded_packet, str):
            raise PacketViolation("binary data without a packet")
        head = encoded_packet[:1]
        if head not in {"0", "1", "2", "3", "4", "5", "6"} or not head:
            raise PacketViolation("unknown packet type")
        self.packet_type = kind = int(head)
        at, count = 1, 0
        if kind >= BINARY_EVENT:
            at, count = self._read_count(encoded_packet)
        at = self._read_namespace(encoded_packet, at)
        at = self._read_id(encoded_packet, at)
        self.data = self._read_data(encoded_packet, at)
        check_content(kind, self.id, self.data)
        return count

    def _read_count(self, text: str) -> tuple[int, int]:
        dash = text.find("-", 1, 12)
        digits = text[1:dash] if dash > 0 else ""
        if not digits or not _DIGITS.issuperset(digits):
            raise PacketViolation("bad number of attachments")
        count = int(digits)
        if not count:
            raise PacketViolation("binary packet without attachments")
        if count > self.limits.attachments:
            raise LimitViolation("attachments")
        return dash + 1, count

    def _read_namespace(self, text: str, at: int) -> int:
        self.namespace = None
        if text[at : at + 1] != "/":
            return at
        end = text.find(",", at)
        if end < 0:
            end = len(text)
        # Clients may hang a query on it that is not part of the name.
        self.namespace = text[at:end].partition("?")[0]
        return end + 1

    def _read_id(self, text: str, at: int) -> int:
        end = at
        while text[end : end + 1] in _DIGITS and end - at <= _ID_DIGITS:
            end += 1
        if end - at > _ID_DIGITS:
            raise PacketViolation("acknowledgement id is too long")
        if end > at:
            self.id = int(text[at:end])
        return end

    def _read_data(self, text: str, at: int) -> Any:
        if at >= len(text):
            return _NOTHING
        data = self.json.loads(text[at:] if at else text)
        # Brackets bound the depth from above; to count them is much cheaper than to walk.
        most = self.limits.nesting
        if self.json is not strict_json or text.count("[") + text.count("{") > most:
            strict_json.check_depth(data, most)
        return data

    def add_attachment(self, attachment: bytes | str) -> bool:
        """Take the next attachment; True if the packet is complete.

        Raises:
            PacketViolation: no attachment was expected, or a placeholder points nowhere.
            LimitViolation: they are too large together.
        """
        if isinstance(attachment, str):
            raise PacketViolation("text where an attachment must follow")
        self.attachments.append(attachment)
        if sum(map(len, self.attachments)) > self.limits.attachment_bytes:
            raise LimitViolation("attachment_bytes")
        if len(self.attachments) < self.attachment_count:
            return False
        self.data = put_back(self.data, self.attachments)
        return True

    def encode(self) -> Any:
        """Return the packet as text, or as a list of text and attachments."""
        try:
            return super().encode()
        except RecursionError as error:
            raise EncodeError("nested too deep") from error


class MsgpackPacket(base.Packet):
    """A packet as one binary message, as socket.io-msgpack-parser has it."""

    uses_binary_events = False
    json = strict_json
    limits: ClassVar[Limits] = Limits()

    def decode(self, encoded_packet: str | bytes) -> int:
        """Read a packet; returns 0: there never are attachments.

        Raises:
            PacketViolation: the protocol forbids it.
        """
        if isinstance(encoded_packet, str):
            raise PacketViolation("text on a binary connection")
        try:
            value = msgspec.msgpack.decode(encoded_packet, ext_hook=_extension)
        except (msgspec.DecodeError, ValueError, RecursionError, TypeError) as error:
            raise PacketViolation("malformed msgpack") from error
        strict_json.check_depth(value, self.limits.nesting)
        if not isinstance(value, dict):
            raise PacketViolation("packet is no object")
        kind, namespace, number = value.get("type"), value.get("nsp"), value.get("id")
        if type(kind) is not int or not CONNECT <= kind <= CONNECT_ERROR:
            raise PacketViolation("unknown packet type")
        if not isinstance(namespace, str):
            raise PacketViolation("bad namespace")
        if number is not None and (type(number) is not int or number < 0):
            raise PacketViolation("bad acknowledgement id")
        self.packet_type, self.namespace, self.id = kind, namespace, number
        data = value.get("data")
        self.data = _NOTHING if data is None else data
        check_content(kind, number, self.data)
        return 0

    def encode(self) -> bytes:
        """Return the packet as bytes.

        Raises:
            EncodeError: its data holds something that msgpack or a browser has no word for.
        """
        value = self._to_dict() | {"nsp": self.namespace or "/"}
        try:
            strict_json.check_depth(value, self.limits.nesting)
            return msgspec.msgpack.encode(value)
        except PacketViolation as error:
            raise EncodeError(error.reason) from error
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise EncodeError(str(error)) from error


class _Nothing:
    """Stands for absent data, where JSON's null is something else."""

    def __bool__(self) -> bool:
        return False


_NOTHING = _Nothing()


def _extension(code: int, data: memoryview) -> Any:
    # JavaScript's `undefined`, as notepack writes it.
    if code == 0 and len(data) == 1:
        return None
    return msgspec.msgpack.Ext(code, bytes(data))


def check_content(kind: int, number: int | None, data: Any) -> None:
    """Check that the data of a packet from a client fit its type.

    Raises:
        PacketViolation: they do not.
    """
    if kind == CONNECT:
        valid = data is _NOTHING or isinstance(data, dict)
    elif kind == DISCONNECT:
        valid = data is _NOTHING
    elif kind in {EVENT, BINARY_EVENT}:
        valid = isinstance(data, list) and bool(data) and _is_event_name(data[0])
    elif kind in {ACK, BINARY_ACK}:
        valid = isinstance(data, list) and number is not None
    else:
        # CONNECT_ERROR is for servers to send.
        valid = False
    if not valid:
        raise PacketViolation("data do not fit the packet type")


def _is_event_name(name: object) -> bool:
    if type(name) is int:
        return True
    return isinstance(name, str) and name not in RESERVED_EVENTS


def put_back(data: Any, attachments: list[bytes]) -> Any:
    """Return the data of a binary packet with its placeholders replaced.

    Raises:
        PacketViolation: a placeholder points nowhere.
    """
    if isinstance(data, list):
        return [put_back(each, attachments) for each in data]
    if isinstance(data, Mapping):
        if data.get("_placeholder") is True:
            number = data.get("num")
            if type(number) is not int or not 0 <= number < len(attachments):
                raise PacketViolation("illegal attachments")
            return attachments[number]
        return {key: put_back(value, attachments) for key, value in data.items()}
    return data


def content_of(packet: Any) -> Any:
    """Return the data of a packet, None where it has none."""
    return None if packet.data is _NOTHING else packet.data
