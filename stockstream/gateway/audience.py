"""Who gets an event, and in which way each of them does."""

import sys
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from stockstream.core.pace import Pace
from stockstream.engine import Connection, Message
from stockstream.model import Position, StockUpdate
from stockstream.wire.packets import WireForm

#: Floor of an event of which a client was told nothing yet: it is above every offset.
UNTOLD: Final = sys.maxsize


class Audience:
    """The connections that listen to one event; each is in exactly one of the four ways."""

    __slots__ = ("catching_up", "direct", "paced", "waiting")

    def __init__(self) -> None:
        #: Get each update at once: all of them share one frame of their wire form.
        self.direct: dict[WireForm, set[Connection]] = {}
        #: Asked for a pace of their own.
        self.paced: dict[WireForm, dict[Connection, Pace[Message]]] = {}
        #: Have seen nothing yet: the next thing that they get is a snapshot.
        self.waiting: dict[Connection, Member] = {}
        #: Are being given what they missed; what happens meanwhile is held back for them.
        self.catching_up: dict[Connection, CatchUp] = {}

    def add(self, member: "Member") -> None:
        """Let a connection have live updates from now on."""
        if member.rate is None:
            self.direct.setdefault(member.form, set()).add(member.connection)
        else:
            self.paced.setdefault(member.form, {})[member.connection] = Pace(member.rate)

    def discard(self, connection: Connection) -> None:
        """Let a connection have nothing any more."""
        self.waiting.pop(connection, None)
        self.catching_up.pop(connection, None)
        for direct in self.direct.values():
            direct.discard(connection)
        for paced in self.paced.values():
            pace = paced.pop(connection, None)
            if pace is not None:
                pace.cancel()

    def settle(self) -> Iterator["Member"]:
        """Yield those that waited; from now on they have live updates."""
        members = list(self.waiting.values())
        self.waiting.clear()
        for member in members:
            self.add(member)
            yield member

    def __bool__(self) -> bool:
        return bool(
            self.waiting
            or self.catching_up
            or any(self.direct.values())
            or any(self.paced.values())
        )


class Member:
    """A connection as a listener of one event."""

    __slots__ = ("connection", "floors", "form", "rate")

    def __init__(
        self,
        connection: Connection,
        form: WireForm,
        rate: float | None,
        floors: dict[str, int] | None = None,
    ) -> None:
        self.connection = connection
        #: Those of its client, to be kept up; see :class:`stockstream.gateway.client.Client`.
        self.floors = {} if floors is None else floors
        #: How its packets are encoded.
        self.form = form
        #: Most updates a second that it wants; None: all of them.
        self.rate = rate


class CatchUp:
    """A connection that is being given what it missed of one or more events."""

    __slots__ = ("connection", "form", "fresh", "held", "members", "overflowed")

    #: Updates held back at most.
    LIMIT = 1_000

    def __init__(self, members: Mapping[str, Member]) -> None:
        #: By event; all of one connection.
        self.members = members
        first = next(iter(members.values()))
        self.connection = first.connection
        self.form = first.form
        #: Events of which it may not have seen a snapshot: the next update of each is one.
        self.fresh: set[str] = set()
        #: What was published meanwhile, in order.
        self.held: list[StockUpdate] = []
        self.overflowed = False

    def start(self) -> None:
        """Begin now: what was held back so far will be read with the rest."""
        self.held.clear()
        self.overflowed = False

    def hold(self, update: StockUpdate) -> None:
        """Keep an update until the earlier ones are sent."""
        if len(self.held) < self.LIMIT:
            self.held.append(update)
        else:
            self.overflowed = True

    def begun(self, event: str, update: StockUpdate) -> StockUpdate:
        """Return an update as the connection is to get it: the first one of all is a snapshot."""
        if event not in self.fresh:
            return update
        self.fresh.discard(event)
        self.members[event].floors[event] = update.offset - 1
        return msgspec.structs.replace(update, snapshot=True)

    def following(self, position: Position) -> list[StockUpdate] | None:
        """Return those held back that come after a position, or None where there is a gap."""
        updates: list[StockUpdate] = []
        for update in self.held:
            if update.epoch != position.epoch or update.seq > position.seq + 1:
                return None
            if update.seq == position.seq + 1:
                position = update.position
                updates.append(update)
        return updates
