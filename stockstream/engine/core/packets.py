"""Engine.IO packets and polling payloads: reading what clients send."""

from base64 import b64decode
from binascii import Error as Base64Error

from stockstream.engine.core.message import control
from stockstream.engine.errors import LimitViolation, PacketViolation

OPEN = "0"
CLOSE = "1"
PING = "2"
PONG = "3"
MESSAGE = "4"
UPGRADE = "5"
NOOP = "6"

#: Between the packets of a payload.
SEPARATOR = "\x1e"

PING_MESSAGE = control(PING)
PROBE_ANSWER = control(PONG + "probe")


def split_payload(body: bytes, most: int) -> list[str]:
    """Return the packets of a polling POST, still encoded, in order.

    Args:
        body: The whole body.
        most: Packets allowed.

    Raises:
        LimitViolation: there are more packets.
        PacketViolation: the body is not UTF-8.
    """
    # Counted before anything is split, so that a hostile body costs nothing.
    if body.count(b"\x1e") >= most:
        raise LimitViolation("packets_per_payload")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise PacketViolation("payload is not UTF-8") from None
    return text.split(SEPARATOR)


def unwrap(packet: str) -> str | bytes:
    """Return a packet of a payload as a WebSocket would have brought it.

    Raises:
        PacketViolation: the base64 of a binary packet is wrong.
    """
    if not packet.startswith("b"):
        return packet
    try:
        return b64decode(packet[1:], validate=True)
    except (Base64Error, ValueError):
        raise PacketViolation("binary packet is not base64") from None
