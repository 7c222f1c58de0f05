"""What the Socket.IO layer knows about one connection."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from stockstream.engine.core.connection import Connection
from stockstream.engine.core.message import Message
from stockstream.engine.shell.environ import Environ

#: What a client asked for and what waits for its turn: a coroutine function and its arguments.
Job = tuple[Callable[..., Coroutine[Any, Any, None]], tuple[Any, ...]]

# States of a membership.
CONNECTING = 0
CONNECTED = 1
LEAVING = 2


class Member:
    """A client in one namespace.

    Attributes:
        sid: Socket.IO id; what handlers call the client.
        namespace: Its namespace.
        peer: Its connection.
        rooms: Rooms that it is in besides its own, None for none.
        early: What its connect handler sent to it, which has to wait for the answer to its CONNECT;
            None while there is nothing.
        state: CONNECTING until its connect handler has let it in, LEAVING while its disconnect
            handler runs.
    """

    __slots__ = ("_gone", "early", "namespace", "peer", "rooms", "sid", "state")

    def __init__(self, sid: str, namespace: str, peer: "Peer") -> None:
        self.sid = sid
        self.namespace = namespace
        self.peer = peer
        self.rooms: set[Any] | None = None
        self.early: list[Message] | None = None
        self.state = CONNECTING
        # Made for the first who waits.
        self._gone: asyncio.Event | None = None

    def gone(self) -> None:
        """Tell those who wait that the server has forgotten the client."""
        if self._gone is not None:
            self._gone.set()

    async def wait_gone(self) -> None:
        """Wait until the server has forgotten a client that is leaving."""
        if self._gone is None:
            self._gone = asyncio.Event()
        await self._gone.wait()


class Peer:
    """One connection, as the Socket.IO layer sees it; `Connection.context`.

    Attributes:
        connection: It.
        environ: What connect handlers get.
        members: By namespace; without those that are leaving.
        left: Namespaces that the server took it out of: packets for them may be on their way.
        session: By namespace, what handlers keep about the client; None while there is nothing.
        admitted: What `AsyncServer`'s `admit` returned for it, None before.
        entering: Namespaces whose CONNECT is being decided; None for none.
        partial: A packet whose attachments are still coming in.
        jobs: What waits for its turn, None while nothing does.
        workers: Tasks that are at it.
        starting: Whether one of these has not run yet.
    """

    __slots__ = (
        "admitted",
        "connection",
        "entering",
        "environ",
        "jobs",
        "left",
        "members",
        "partial",
        "session",
        "starting",
        "workers",
    )

    def __init__(self, connection: Connection, environ: Environ) -> None:
        self.connection = connection
        self.environ: Environ | None = environ
        self.members: dict[str, Member] = {}
        self.left: set[str] | None = None
        self.session: dict[str, Any] | None = None
        self.admitted: Any = None
        self.entering: set[str] | None = None
        self.partial: Any = None
        self.jobs: deque[Job] | None = None
        self.workers = 0
        self.starting = False
