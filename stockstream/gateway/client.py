"""A client of the quote service, whatever it speaks."""

from typing import Any

import msgspec

from stockstream.engine import Connection, Message
from stockstream.wire.packets import WireForm, encode_event


class Client:
    """One connected Socket.IO client."""

    __slots__ = (
        "connected_at",
        "connection",
        "floors",
        "form",
        "gone",
        "id",
        "rates",
        "requests",
    )

    def __init__(self, sid: str, connection: Connection, form: WireForm, connected_at: int) -> None:
        #: Its Socket.IO session id.
        self.id = sid
        self.connection = connection
        #: How its packets are encoded.
        self.form = form
        #: In ms since the epoch.
        self.connected_at = connected_at
        #: By event, the offset up to which it was told everything when it subscribed; None while
        #: it is being given what it missed: then nobody can tell what it has.
        self.floors: dict[str, int | None] = {}
        #: Most updates a second of the events for which it asked for a pace of its own.
        self.rates: dict[str, float] = {}
        #: Requests of its that are still being answered.
        self.requests = 0
        #: Whether it has left: what is still being answered must subscribe it to nothing.
        self.gone = False

    def send(self, event: str, payload: msgspec.Struct, mark: str = "") -> Any:
        """Send an event of its own, in order with all that it gets; nothing replaces it.

        Args:
            event: its name.
            payload: its argument.
            mark: see :func:`stockstream.wire.packets.encode_event`.

        Returns:
            The payload as plain objects: what an acknowledgement of the same request carries.
        """
        self.connection.send(Message(encode_event(self.form, event, payload, mark)))
        return msgspec.to_builtins(payload)
