"""Socket.IO packets as a client reads and writes them, in both wire forms."""

import json
from base64 import b64decode, b64encode
from typing import Any, NamedTuple

import msgpack

from stockstream.wire.packets import WireForm

_CONNECT, _DISCONNECT, _EVENT, _ACK = 0, 1, 2, 3

#: What one packet is over WebSocket: text begins with Engine.IO's `4`, a binary one stands alone.
Frame = str | bytes


class Packet(NamedTuple):
    """What came from the server."""

    #: Name of the event, "ack" for an acknowledgement, "connect" for the server's welcome.
    name: str
    #: Its payload.
    body: Any
    #: Number of the request that is acknowledged.
    number: int | None = None


def connect(form: WireForm) -> Frame:
    """Return what opens the default namespace."""
    return "40" if form is WireForm.JSON else _pack(_CONNECT)


def disconnect(form: WireForm) -> Frame:
    """Return what leaves it."""
    return "41" if form is WireForm.JSON else _pack(_DISCONNECT)


def request(form: WireForm, number: int, name: str, body: object) -> Frame:
    """Return an event that wants an acknowledgement."""
    if form is WireForm.JSON:
        return f"42{number}{json.dumps([name, body])}"
    return _pack(_EVENT, data=[name, body], id=number)


def read(frame: Frame) -> Packet:
    """Return what a packet says."""
    kind, data, number = _read_text(frame) if isinstance(frame, str) else _read_binary(frame)
    if kind == _EVENT:
        # Behind the payload may stand a mark, for clients that recover their sessions.
        name, body, *_ = data
        return Packet(name, body)
    if kind == _ACK:
        (body,) = data
        return Packet("ack", body, number)
    assert kind == _CONNECT, frame
    return Packet("connect", data)


def for_polling(frame: Frame) -> str:
    """Return a packet as a part of a polling payload."""
    return frame if isinstance(frame, str) else "b" + b64encode(frame).decode()


def from_polling(packet: str) -> Frame:
    """Return a part of a polling payload as WebSocket would have brought it."""
    return b64decode(packet[1:]) if packet.startswith("b") else packet


def _pack(kind: int, **fields: object) -> bytes:
    packed = msgpack.packb({"type": kind, "nsp": "/", **fields})
    assert isinstance(packed, bytes)
    return packed


def _read_text(frame: str) -> tuple[int, Any, int | None]:
    rest = frame[2:]
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    data = rest[len(digits) :]
    return int(frame[1]), json.loads(data) if data else None, int(digits) if digits else None


def _read_binary(frame: bytes) -> tuple[int, Any, int | None]:
    packet = msgpack.unpackb(frame)
    assert packet["nsp"] == "/", packet
    return packet["type"], packet.get("data"), packet.get("id")
