"""What each client listens to, within limits.

Everything costs the work of the one client that does it, whatever the number of the others. How
an event reaches its clients is the fan-out's business.
"""

from collections import Counter
from collections.abc import Hashable
from typing import Generic, TypeVar

from stockstream.errors import SubscriptionLimitError

C = TypeVar("C", bound=Hashable)


class Subscriptions(Generic[C]):
    """The events of each client and the number of clients of each event."""

    def __init__(self, *, max_clients: int, max_events: int) -> None:
        #: Most clients of one event, and most events of one client.
        self._max_clients = max_clients
        self._max_events = max_events
        self._clients: Counter[str] = Counter()
        self._events: dict[C, dict[str, None]] = {}

    def add(self, client: C, event: str) -> bool:
        """Subscribe ``client`` to ``event``; returns False where it was subscribed already.

        Raises:
            SubscriptionLimitError: one of the two limits is reached; nothing has changed.
        """
        events = self._events.get(client, {})
        if event in events:
            return False
        if len(events) >= self._max_events:
            raise SubscriptionLimitError(
                f"a client has at most {self._max_events} subscriptions", event=event
            )
        if self._clients[event] >= self._max_clients:
            raise SubscriptionLimitError(
                f"{event} has at most {self._max_clients} clients", event=event
            )
        self._events.setdefault(client, events)[event] = None
        self._clients[event] += 1
        return True

    def remove(self, client: C, event: str) -> bool:
        """End a subscription; returns False where there was none."""
        events = self._events.get(client)
        if events is None or event not in events:
            return False
        del events[event]
        if not events:
            del self._events[client]
        self._clients[event] -= 1
        if not self._clients[event]:
            del self._clients[event]
        return True

    def events_of(self, client: C) -> list[str]:
        """Return what a client is subscribed to, in the order of subscribing."""
        return list(self._events.get(client, ()))

    def counts(self) -> dict[str, int]:
        """Return how many clients each event has; those without any are left out."""
        return dict(self._clients)
