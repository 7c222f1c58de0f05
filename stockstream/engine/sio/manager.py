"""Who is in which room; sends to many at the price of one encoding and one write each."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import socketio

from stockstream.engine.core.connection import Connection
from stockstream.engine.core.message import Message
from stockstream.engine.errors import SessionNotFoundError
from stockstream.engine.sio.packets import EVENT
from stockstream.engine.sio.peer import CONNECTED, CONNECTING, LEAVING, Member


class Manager(socketio.AsyncManager):
    """python-socketio's client manager, where nothing a client does costs more with more clients.

    Clients connect and leave in time that depends on their own rooms only, and a client's own
    room costs nothing. An emit starts no task.

    For several servers, combine it with a manager of python-socketio, or give `AsyncServer` one
    of those: it does so itself (see `adopt`).
    """

    def set_server(self, server: Any) -> None:
        """Belong to a server."""
        super().set_server(server)
        self._members: dict[str, dict[str, Member]] = {}

    async def aclose(self) -> None:
        """End what python-socketio's managers leave running: the listener, its connections."""
        listener: asyncio.Task[None] | None = getattr(self, "thread", None)
        if listener is not None:
            listener.cancel()
            await asyncio.gather(listener, return_exceptions=True)
        for name in ("pubsub", "redis"):
            connection = getattr(self, name, None)
            if connection is not None and hasattr(connection, "aclose"):
                await connection.aclose()

    # Reading.

    def member(self, sid: str, namespace: str) -> Member | None:
        """Return a client, None if it is not here."""
        return self._members.get(namespace, _NOBODY).get(sid)

    def connection(self, sid: str, namespace: str) -> Connection | None:
        """Return the connection of a client, None if it is not here."""
        member = self.member(sid, namespace)
        return None if member is None else member.peer.connection

    def get_namespaces(self) -> Iterable[str]:
        """Return the namespaces that have clients."""
        return list(self._members)

    def get_participants(self, namespace: str, room: Any) -> Iterator[tuple[str, str]]:
        """Yield (sid, Engine.IO id) of the clients in a room; a list is many rooms, None all."""
        for member in self.recipients(namespace, room):
            yield member.sid, member.peer.connection.id

    def recipients(self, namespace: str, room: Any) -> list[Member]:
        """Return the clients in a room, in a list of rooms, or (None) all connected ones."""
        members = self._members.get(namespace)
        if members is None:
            return []
        if room is None:
            return [each for each in members.values() if each.state != CONNECTING]
        if isinstance(room, list | tuple):
            found: dict[str, Member] = {}
            for each in room:
                found.update((member.sid, member) for member in self._in_room(namespace, each))
            return list(found.values())
        return self._in_room(namespace, room)

    def _in_room(self, namespace: str, room: Any) -> list[Member]:
        own = self.member(room, namespace) if isinstance(room, str) else None
        if own is not None:
            return [own]
        return list(self.rooms.get(namespace, _NOBODY).get(room, _NOBODY).values())

    def is_connected(self, sid: str, namespace: str) -> bool:
        """Whether a client was let in and has not begun to leave."""
        member = self.member(sid, namespace)
        return member is not None and member.state == CONNECTED

    def is_pre_connected(self, sid: str, namespace: str) -> bool:
        """Whether a client waits for its connect handler."""
        member = self.member(sid, namespace)
        return member is not None and member.state == CONNECTING

    def sid_from_eio_sid(self, eio_sid: str, namespace: str) -> str | None:
        """Return the id of a connection in a namespace."""
        connection = self.server.eio.connection(eio_sid)
        member = None if connection is None else connection.context.members.get(namespace)
        return None if member is None else member.sid

    def eio_sid_from_sid(self, sid: str, namespace: str) -> str | None:
        """Return the Engine.IO id of a client."""
        connection = self.connection(sid, namespace)
        return None if connection is None else connection.id

    def is_sid_room(self, namespace: str, room: Any) -> bool:
        """Whether a room is a client's own."""
        return isinstance(room, str) and self.member(room, namespace) is not None

    def get_rooms(self, sid: str, namespace: str) -> list[Any]:
        """Return the rooms of a client, its own first."""
        member = self.member(sid, namespace)
        return [] if member is None else [sid, *(member.rooms or ())]

    # Coming and going.

    def add(self, member: Member) -> None:
        """Take a client in that waits for its connect handler."""
        member.peer.members[member.namespace] = member
        self._members.setdefault(member.namespace, {})[member.sid] = member

    def pre_disconnect(self, sid: str, namespace: str) -> str | None:
        """Mark a client as leaving; returns its Engine.IO id."""
        member = self.member(sid, namespace)
        if member is None:
            return None
        leave(member)
        eio_sid: str = member.peer.connection.id
        return eio_sid

    def basic_disconnect(self, sid: str, namespace: str, **_kwargs: Any) -> None:
        """Forget a client, its rooms and its callbacks."""
        member = self.member(sid, namespace)
        self.callbacks.pop(sid, None)
        if member is None:
            return
        for room in list(member.rooms or ()):
            self.basic_leave_room(sid, namespace, room)
        leave(member)
        members = self._members[namespace]
        del members[sid]
        if not members:
            del self._members[namespace]

    def basic_enter_room(
        self, sid: str, namespace: str, room: Any, eio_sid: str | None = None
    ) -> None:
        """Put a client into a room.

        Raises:
            SessionNotFoundError: the client is not here.
            ValueError: the room is another client's own.
        """
        member = self.member(sid, namespace)
        if member is None:
            raise SessionNotFoundError(sid)
        if room == sid:
            return
        if self.is_sid_room(namespace, room):
            raise ValueError("cannot enter a sid room")
        if member.rooms is None:
            member.rooms = set()
        member.rooms.add(room)
        self.rooms.setdefault(namespace, {}).setdefault(room, {})[sid] = member

    def basic_leave_room(self, sid: str, namespace: str, room: Any) -> None:
        """Take a client out of a room, if it is in there."""
        rooms = self.rooms.get(namespace)
        participants = None if rooms is None else rooms.get(room)
        member = None if participants is None else participants.pop(sid, None)
        if member is None:
            return
        member.rooms.discard(room)
        if not participants:
            del rooms[room]
            if not rooms:
                del self.rooms[namespace]

    def basic_close_room(self, room: Any, namespace: str) -> None:
        """Take all clients out of a room.

        Raises:
            ValueError: the room is a client's own.
        """
        if self.is_sid_room(namespace, room):
            raise ValueError("cannot close a sid room")
        for sid in list(self.rooms.get(namespace, _NOBODY).get(room, _NOBODY)):
            self.basic_leave_room(sid, namespace, room)

    # Sending.

    async def emit(  # noqa: PLR0917 - python-socketio's signature
        self,
        event: str,
        data: Any,
        namespace: str,
        room: Any = None,
        skip_sid: Any = None,
        callback: Callable[..., Any] | None = None,
        to: Any = None,
        **_kwargs: Any,
    ) -> None:
        """Send an event to a client, a room, some rooms, or all.

        Returns when it is on its way to each; never waits for a client.

        Raises:
            EncodeError: the data cannot be sent; nobody was sent anything.
        """
        if self.server is None:
            return
        recipients = self.recipients(namespace or "/", to or room)
        if skip_sid:
            skipped = set(skip_sid) if isinstance(skip_sid, list | tuple) else {skip_sid}
            recipients = [each for each in recipients if each.sid not in skipped]
        if not recipients:
            return
        content = [event, *_arguments(data)]
        if callback is None:
            messages = self.server.encode(EVENT, namespace, content)
            for member in recipients:
                self._deliver(member, messages)
            return
        for member in recipients:
            number = self._generate_ack_id(member.sid, callback)
            messages = self.server.encode(EVENT, namespace, content, number)
            self._deliver(member, messages)

    def _deliver(self, member: Member, messages: list[Message]) -> None:
        if member.state != CONNECTING:
            send_all(member.peer.connection, messages)
            return
        # The protocol wants the answer to CONNECT before anything else.
        if member.early is None:
            member.early = []
        member.early += messages
        server = self.server
        if server is not None and len(member.early) > server.limits.queued_events:
            member.peer.connection.overflow()

    def _generate_ack_id(self, sid: str, callback: Callable[..., Any]) -> int:
        number: int = super()._generate_ack_id(sid, callback)
        waiting = self.callbacks[sid]
        # The dict also holds the counter.
        server = self.server
        if server is not None and len(waiting) - 1 > server.limits.pending_acknowledgements:
            oldest = next(key for key in waiting if key != 0)
            del waiting[oldest]
            server.metrics.forgotten_acknowledgements += 1
        return number

    async def trigger_callback(self, sid: str, id: int, data: list[Any]) -> None:  # noqa: A002
        """Call back whoever waits for an acknowledgement; one that nobody waits for is counted."""
        waiting = self.callbacks.get(sid)
        # 0 is the counter, no acknowledgement.
        if not id or waiting is None or id not in waiting:
            if self.server is not None:
                self.server.metrics.unknown_acknowledgements += 1
            return
        await super().trigger_callback(sid, id, data)


def leave(member: Member) -> None:
    """Mark a client as leaving: it may connect to the same namespace anew."""
    member.state = LEAVING
    members = member.peer.members
    if members.get(member.namespace) is member:
        del members[member.namespace]


def send_all(connection: Connection, messages: list[Message]) -> None:
    """Send the parts of one packet, with nothing in between."""
    for message in messages:
        connection.send(message)


def adopt(manager: Any) -> Manager:
    """Make any asyncio manager of python-socketio a `Manager`, keeping its way to other servers.

    Its class becomes one that derives from both; a `Manager` is returned as it is.
    """
    if not isinstance(manager, Manager):
        kind = type(manager)
        manager.__class__ = (
            Manager if kind is socketio.AsyncManager else type(kind.__name__, (kind, Manager), {})
        )
    adopted: Manager = manager
    return adopted


def _arguments(data: Any) -> list[Any]:
    if isinstance(data, tuple):
        return list(data)
    return [] if data is None else [data]


_NOBODY: dict[Any, Any] = {}
