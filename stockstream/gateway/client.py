"""A client of the quote service, whatever it speaks."""

import asyncio
from typing import Any

import msgspec

from stockstream.engine import Connection
from stockstream.gateway.encoding import event_message
from stockstream.model.identity import Identity
from stockstream.wire.packets import WireForm


class Client:
    """One connected client: of Socket.IO, or of a stream of events."""

    __slots__ = (
        "connected_at",
        "connection",
        "floors",
        "form",
        "gone",
        "histories",
        "id",
        "identity",
        "rates",
        "requests",
        "resuming",
    )

    def __init__(
        self,
        sid: str,
        connection: Connection,
        form: WireForm,
        connected_at: int,
        identity: Identity,
    ) -> None:
        #: Of its session: Socket.IO's, or that of its stream.
        self.id = sid
        self.connection = connection
        #: How its packets are encoded.
        self.form = form
        #: In ms since the epoch.
        self.connected_at = connected_at
        #: Who it is; the same user for as long as it is connected, with roles that may change.
        self.identity = identity
        #: By event that it is subscribed to: once it has got a mark above this offset, it has got
        #: what the subscription began with; and of all updates of the event, those up to here.
        self.floors: dict[str, int] = {}
        #: Events that began with what was missed since a position, instead of a snapshot.
        self.histories: frozenset[str] = frozenset()
        #: Most updates a second of the events for which it asked for a pace of its own.
        self.rates: dict[str, float] = {}
        #: Requests of its that are still being answered.
        self.requests = 0
        #: Whether it has left: what is still being answered must subscribe it to nothing.
        self.gone = False
        #: Set once it has what it missed; None for a client that has not come back.
        self.resuming: asyncio.Event | None = None

    def has_resumed(self) -> None:
        """Let what it has asked for meanwhile be answered: it has what it missed."""
        if self.resuming is not None:
            self.resuming.set()
            self.resuming = None

    def send(self, event: str, payload: msgspec.Struct, mark: str = "") -> Any:
        """Send an event of its own, in order with all that it gets; nothing replaces it.

        Args:
            event: its name.
            payload: its argument.
            mark: see :func:`stockstream.wire.packets.encode_event`.

        Returns:
            The payload as plain objects: what an acknowledgement of the same request carries.
        """
        self.connection.send(event_message(self.form, event, payload, mark))
        return msgspec.to_builtins(payload)
