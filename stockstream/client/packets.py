"""The packets of one Socket.IO connection as text, without any connection.

Engine.IO 4 and Socket.IO 5 in the part that this contract uses: text frames of the default
namespace. The server sends no binary, and asks for no acknowledgement.
"""

import re
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import msgspec

PING: Final = "2"
PONG: Final = "3"
#: The client's goodbye.
DISCONNECT: Final = "41"

_PACKET = re.compile(r"4([0-4])(\d*)(.*)", re.DOTALL)
_json = msgspec.json.Encoder()


class ProtocolError(Exception):
    """What came is no packet that a server of this contract sends; its text says what it was."""


class Handshake(msgspec.Struct, frozen=True, rename="camel"):
    """The first packet: how the connection is going to be looked after."""

    #: Milliseconds between two pings of the server, and how long one may be late.
    ping_interval: int
    ping_timeout: int
    #: Bytes that one packet to the server may have.
    max_payload: int = 1_000_000


class Accepted(msgspec.Struct, frozen=True):
    """The server lets the client in."""

    #: The connection's id.
    sid: str = ""


class Reason(msgspec.Struct, frozen=True):
    """The machine's half of a refusal."""

    code: str = ""
    message: str = ""


class Refused(msgspec.Struct, frozen=True):
    """The server does not let the client in."""

    message: str = ""
    data: Reason | str | None = None

    @property
    def code(self) -> str:
        """Why, for a machine; empty where the server does not say."""
        return self.data.code if isinstance(self.data, Reason) else ""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened at the server."""

    name: str
    payload: Any


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server says to an event of the client."""

    number: int
    payload: Any


class Ended:
    """The server ends the connection."""


Packet = Accepted | Refused | Event | Answer | Ended

T = TypeVar("T")


def decode_handshake(text: str) -> Handshake:
    """Return the first packet of a connection.

    Raises:
        ProtocolError: it is something else.
    """
    if not text.startswith("0"):
        raise ProtocolError(f"no handshake: {text[:40]!r}")
    return _decode(text[1:], Handshake)


def decode_packet(text: str) -> Packet | None:
    """Return what a text frame after the handshake says; None where there is nothing to do.

    Raises:
        ProtocolError: it is no packet of the default namespace.
    """
    if text[:1] in (PONG, "6"):
        return None
    if text == "1":
        return Ended()
    match = _PACKET.fullmatch(text)
    if match is None:
        raise ProtocolError(f"no packet: {text[:40]!r}")
    kind, number, body = match.groups()
    if kind == "0":
        return _decode(body or "{}", Accepted)
    if kind == "1":
        return Ended()
    if kind == "4":
        return _refused(body)
    arguments = _decode(body, list[Any])
    if kind == "3" and number:
        return Answer(int(number), arguments[0] if arguments else None)
    if kind == "2" and arguments and isinstance(arguments[0], str):
        return Event(arguments[0], arguments[1] if len(arguments) > 1 else None)
    raise ProtocolError(f"no packet: {text[:40]!r}")


def encode_connect(auth: object) -> str:
    """Return the packet that asks to be let in."""
    return "40" if auth is None else "40" + _json.encode(auth).decode()


def encode_event(number: int, name: str, payload: object) -> str:
    """Return an event that asks for an answer with this number."""
    return f"42{number}{_json.encode((name, payload)).decode()}"


def _refused(body: str) -> Refused:
    # Old servers send a bare string.
    said = _decode(body or "{}", Refused | str)  # type: ignore[arg-type]
    return Refused(message=said) if isinstance(said, str) else said


def _decode(text: str, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, RecursionError):
        raise ProtocolError(f"not to be understood: {text[:40]!r}") from None
