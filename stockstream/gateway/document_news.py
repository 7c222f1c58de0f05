"""Tells the devices of a user at once what another of them has changed."""

from collections import OrderedDict
from typing import Any, Final

import msgspec

from stockstream.engine import Message
from stockstream.gateway.client import Client
from stockstream.gateway.encoding import event_message
from stockstream.model.document import Document
from stockstream.ports import Clock
from stockstream.wire import names
from stockstream.wire.packets import WireForm
from stockstream.wire.replies import Envelope
from stockstream.wire.sync_replies import document_changed

#: Documents of which it is remembered what was told last.
_REMEMBERED: Final = 10_000
_NOBODY: Final[dict[str, Client]] = {}


class DocumentNews:
    """The clients of this node that want to hear of changes, by user.

    It is a hint: a client that was away, or reads slowly, catches up by its cursor.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._listeners: dict[str, dict[str, Client]] = {}
        self._told: OrderedDict[tuple[str, str, str], tuple[int, int]] = OrderedDict()
        #: Messages handed to clients.
        self.told = 0

    def join(self, client: Client) -> None:
        """Let a client hear of its user's documents from now on."""
        self._listeners.setdefault(client.identity.user, {})[client.id] = client

    def leave(self, client: Client) -> None:
        """Let it hear no more."""
        user = client.identity.user
        listeners = self._listeners.get(user, _NOBODY)
        if listeners.get(client.id) is client:
            del listeners[client.id]
            if not listeners:
                del self._listeners[user]

    def wanted(self, user: str) -> bool:
        """Return whether a client of the user listens here."""
        return user in self._listeners

    def tell(self, user: str, document: Document) -> None:
        """Tell the user's clients of a new version; waits for nothing."""
        if user in self._listeners:
            self.send(user, msgspec.to_builtins(document_changed(document)))

    def send(self, user: str, payload: Any) -> None:
        """Tell the user's clients what ``document_changed`` carries, unless they know better."""
        listeners = self._listeners.get(user, _NOBODY)
        if not self._is_newer(user, payload):
            return
        envelope = Envelope(
            type=names.DOCUMENT_CHANGED, payload=payload, timestamp=self._clock.time_ms()
        )
        # Of one document, one that does not read needs the latest version only.
        key = f"{names.DOCUMENT_CHANGED}:{payload['type']}:{payload['documentId']}"
        messages: dict[WireForm, Message] = {}
        for client in listeners.values():
            message = messages.get(client.form)
            if message is None:
                message = event_message(client.form, names.DOCUMENT_CHANGED, envelope)
                messages[client.form] = message
            client.connection.offer(key, message)
        self.told += len(listeners)

    def _is_newer(self, user: str, payload: Any) -> bool:
        """Return whether a version is no older than what was told: threads and nodes overtake."""
        place = user, payload["type"], payload["documentId"]
        version = payload["version"]
        # A database that was begun anew counts from 1 again, but not in time.
        told = version["timestamp"], version["version"]
        if told < self._told.get(place, told):
            return False
        self._told[place] = told
        self._told.move_to_end(place)
        if len(self._told) > _REMEMBERED:
            self._told.popitem(last=False)
        return True
