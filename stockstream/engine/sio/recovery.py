"""Connection state recovery: what an application implements to give sessions back.

See https://socket.io/docs/v4/connection-state-recovery. A JavaScript client (4.6 or newer)
remembers the private id that it got when it connected, and of each event the last argument where
that is a string; when its connection broke it sends both with its next CONNECT.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from stockstream.engine.core.connection import Connection
from stockstream.engine.shell.environ import Environ

#: Decides from a connection, its environ and the payload of its CONNECT whether it may enter.
Admit = Callable[[Connection, Environ | None, Any], Awaitable[Any]]


class SessionRecovery(Protocol):
    """Gives sessions back to clients of the default namespace that have lost their connection."""

    def open(self, sid: str) -> str:
        """Return the private id of a new session; empty: it is not to be recovered."""
        ...

    async def recover(self, connection: Connection, pid: str, offset: str) -> str | None:
        """Return the id of the session to go on with, or None where it can't be given back.

        Called before the client is told that it is connected, and before its connect handler;
        what the client missed must be sent only after both. An earlier connection of the same
        session must have left before this returns (`AsyncServer.drop`). Where it raises, or
        gives an id that is still in use, the client gets a new session.

        Args:
            connection: the client's new connection.
            pid: the private id that it was given.
            offset: the last argument of the last event that had one.
        """
        ...


def claim(auth: Any) -> tuple[str, str] | None:
    """Return the private id and the offset that a CONNECT asks to go on with."""
    if not isinstance(auth, dict):
        return None
    pid, offset = auth.get("pid"), auth.get("offset")
    return (pid, offset) if isinstance(pid, str) and isinstance(offset, str) else None
