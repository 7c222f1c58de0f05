"""Compression of WebSocket messages, permessage-deflate (RFC 7692).

Neither side keeps anything from one message to the next: an outgoing message is compressed once
for all its recipients, and no client costs a compressor.
"""

import zlib
from collections.abc import Hashable, Iterable, Sequence
from typing import Final

from stockstream.engine.core.connection import Connection
from stockstream.engine.core.hub import Hub
from stockstream.engine.core.message import WINDOW_BITS, Message
from stockstream.engine.core.ports import WebSocketPort
from stockstream.engine.core.probe import Probe

_NAME: Final = "permessage-deflate"
#: Bytes that count as one more message when they come out of a compressed one: a few bytes on the
#: wire must not buy a lot of work.
_UNPACKED_BYTES: Final = 16_384
_AGREED: Final = f"{_NAME}; server_no_context_takeover; client_no_context_takeover"


def agree(headers: Iterable[str]) -> str | None:
    """Return the answer to what a client offers, None where there is nothing to agree on.

    Args:
        headers: Each `Sec-WebSocket-Extensions` of its request.
    """
    for header in headers:
        for offer in header.split(","):
            name, *parameters = (part.strip() for part in offer.split(";"))
            answer = _answer(parameters) if name.lower() == _NAME else None
            if answer is not None:
                return answer
    return None


def _answer(parameters: Sequence[str]) -> str | None:
    seen: dict[str, str] = {}
    for parameter in parameters:
        key, _, value = (part.strip() for part in parameter.partition("="))
        if key in seen or not _is_valid(key, value.strip('"')):
            return None
        seen[key] = value.strip('"')
    bits = seen.get("server_max_window_bits")
    if bits is None:
        return _AGREED
    # A smaller window than ours: another offer may do without.
    return f"{_AGREED}; server_max_window_bits={WINDOW_BITS}" if int(bits) >= WINDOW_BITS else None


def _is_valid(key: str, value: str) -> bool:
    if key in {"server_no_context_takeover", "client_no_context_takeover"}:
        return not value
    if key == "client_max_window_bits" and not value:
        return True
    return key in {"server_max_window_bits", "client_max_window_bits"} and value in _WINDOWS


_WINDOWS: Final = frozenset(str(bits) for bits in range(8, zlib.MAX_WBITS + 1))


class DeflatingConnection(Connection):
    """A client of a server that compresses.

    Args:
        hub: Of the session.
        sid: Its id.
        address: The client's.
        port: Its WebSocket, None while it polls.
        deflates: Whether compression was agreed on for that WebSocket.
    """

    __slots__ = ("_deflates",)

    def __init__(
        self,
        hub: Hub,
        sid: str,
        address: str,
        port: WebSocketPort | None,
        *,
        deflates: bool = False,
    ) -> None:
        self._deflates = deflates
        super().__init__(hub, sid, address, port)

    def send(self, message: Message) -> None:
        """See `Outlet.send`."""
        super().send(message.deflated if self._deflates else message)

    def offer(self, key: Hashable, message: Message) -> None:
        """See `Outlet.offer`."""
        super().offer(key, message.deflated if self._deflates else message)

    def offer_many(self, items: Sequence[tuple[Hashable, Message]]) -> None:
        """See `Outlet.offer_many`."""
        if self._deflates:
            items = [(key, message.deflated) for key, message in items]
        super().offer_many(items)

    def receive(self, packet: str | bytes) -> float:
        """See `Connection.receive`."""
        seconds = super().receive(packet)
        unpacked = len(packet) // _UNPACKED_BYTES if self._deflates else 0
        return self.pace(unpacked) if unpacked and self.open else seconds

    def _upgrade(self, probe: Probe) -> None:
        self._deflates = probe.deflates
        super()._upgrade(probe)
