"""A client of the quote service, whatever it speaks."""

from typing import Any

import msgspec

from stockstream.engine import Connection, Message
from stockstream.wire.packets import WireForm, encode_event


class Client:
    """One connected Socket.IO client."""

    __slots__ = ("connected_at", "connection", "form", "gone", "id", "requests")

    def __init__(self, sid: str, connection: Connection, form: WireForm, connected_at: int) -> None:
        #: Its Socket.IO session id.
        self.id = sid
        self.connection = connection
        #: How its packets are encoded.
        self.form = form
        #: In ms since the epoch.
        self.connected_at = connected_at
        #: Requests of its that are still being answered.
        self.requests = 0
        #: Whether it has left: what is still being answered must subscribe it to nothing.
        self.gone = False

    def send(self, event: str, payload: msgspec.Struct) -> Any:
        """Send an event of its own, in order with all that it gets; nothing replaces it.

        Returns:
            The payload as plain objects: what an acknowledgement of the same request carries.
        """
        self.connection.send(Message(encode_event(self.form, event, payload)))
        return msgspec.to_builtins(payload)
