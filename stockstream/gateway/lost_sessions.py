"""The sessions of clients that are gone and may come back, in the memory of this node."""

from collections import OrderedDict
from typing import Final, Protocol

import msgspec

from stockstream.gateway.client import Client
from stockstream.ports import Clock
from stockstream.wire.packets import WireForm

#: Clients that are gone and may come back, at most, and what they are subscribed to, all of them
#: together; the oldest give way.
KEPT: Final = 20_000
KEPT_SUBSCRIPTIONS: Final = 1_000_000


class LostSession(msgspec.Struct, frozen=True, kw_only=True):
    """What a client is given back."""

    id: str
    form: WireForm
    #: Whose it is: nobody else gets it.
    user: str
    #: In ms since the epoch.
    connected_at: int
    #: See :class:`stockstream.gateway.client.Client` for these three.
    floors: dict[str, int]
    rates: dict[str, float]
    histories: frozenset[str]


def session_of(client: Client) -> LostSession:
    """Return the session of a client as it is now."""
    return LostSession(
        id=client.id,
        form=client.form,
        user=client.identity.user,
        connected_at=client.connected_at,
        floors=dict(client.floors),
        rates=dict(client.rates),
        histories=client.histories,
    )


class LostSessions(Protocol):
    """Where sessions are kept; each is given back once, to its user and in its wire form."""

    @property
    def waiting(self) -> int:
        """Clients of this node that are gone and may come back."""
        ...

    def begin(self, client: Client) -> None:
        """Note a client that has connected, or come back."""
        ...

    def remember(self, client: Client) -> None:
        """Keep the session of a client whose connection broke."""
        ...

    def forget(self, client: Client) -> None:
        """Forget that of a client that has left for good."""
        ...

    async def take(self, sid: str, form: WireForm, user: str) -> LostSession | None:
        """Return a session, which nobody else is given then; None where there is none.

        Raises:
            StoreUnavailableError: the store of sessions can't be reached.
        """
        ...


class SessionsInMemory:
    """Implements :class:`LostSessions` for a node that is alone.

    Args:
        window: seconds that a client may stay away; 0: no session is given back.
        clock: the time.
    """

    def __init__(self, window: float, clock: Clock) -> None:
        self._window = window
        self._clock = clock
        #: With the monotonic time of its end; the one that is gone for the longest time first.
        self._lost: OrderedDict[str, tuple[float, LostSession]] = OrderedDict()
        self._subscriptions = 0

    @property
    def waiting(self) -> int:
        """Clients that may come back."""
        self._tidy()
        return len(self._lost)

    def begin(self, client: Client) -> None:
        """Do nothing: what matters is how it is when it has gone."""

    def remember(self, client: Client) -> None:
        """Keep the session of a client whose connection broke."""
        if not self._window:
            return
        self._remove(client.id)
        self._lost[client.id] = (self._clock.monotonic() + self._window, session_of(client))
        self._subscriptions += len(client.floors)
        self._tidy()

    def forget(self, client: Client) -> None:
        """Do nothing: only those are kept whose connection broke."""

    async def take(self, sid: str, form: WireForm, user: str) -> LostSession | None:
        """Return a session, which nobody else is given then."""
        until, session = self._lost.get(sid, (0.0, None))
        if session is None or session.user != user:
            # Its owner may still come back to it.
            return None
        self._remove(sid)
        return session if until >= self._clock.monotonic() and session.form is form else None

    def _tidy(self) -> None:
        now = self._clock.monotonic()
        while self._lost and (
            len(self._lost) > KEPT
            or self._subscriptions > KEPT_SUBSCRIPTIONS
            or next(iter(self._lost.values()))[0] < now
        ):
            self._remove(next(iter(self._lost)))

    def _remove(self, sid: str) -> None:
        found = self._lost.pop(sid, None)
        if found is not None:
            self._subscriptions -= len(found[1].floors)
