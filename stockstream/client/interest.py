"""Which events a client wants, which it has, and what it has seen of them; no I/O."""

from collections import Counter
from collections.abc import Iterable

from stockstream.model import Position, StockUpdate


class Interest:
    """Keeps what is wanted apart from what this connection's server knows of it."""

    def __init__(self) -> None:
        self._wanted: Counter[str] = Counter()
        self._held: set[str] = set()
        self._refused: set[str] = set()
        #: The last update seen of each stock event.
        self.last: dict[str, StockUpdate] = {}
        #: Updates that came twice, and were passed over.
        self.repeated = 0
        #: Numbers that were left out between two updates of a symbol: the server conflated them.
        self.skipped = 0

    def want(self, events: Iterable[str]) -> None:
        """Count somebody who wants events; one that was refused may be asked for again."""
        for event in events:
            self._wanted[event] += 1
            self._refused.discard(event)

    def release(self, events: Iterable[str]) -> None:
        """Count that somebody wants them no more."""
        for event in events:
            self._wanted[event] -= 1
            if not self._wanted[event]:
                del self._wanted[event]

    def is_wanted(self, event: str) -> bool:
        """Whether anybody wants it."""
        return event in self._wanted

    def missing(self) -> list[str]:
        """Return what has to be subscribed to."""
        return [e for e in self._wanted if e not in self._held and e not in self._refused]

    def surplus(self) -> list[str]:
        """Return what has to be unsubscribed from."""
        return [event for event in self._held if event not in self._wanted]

    def since(self, events: Iterable[str]) -> dict[str, Position]:
        """Return where to go on, for those that were seen before."""
        return {event: self.last[event].position for event in events if event in self.last}

    def hold(self, event: str) -> None:
        """Note that the server sends it."""
        self._held.add(event)

    def unhold(self, event: str) -> None:
        """Note that it does not after all: it has to be asked again."""
        self._held.discard(event)

    def refuse(self, event: str) -> None:
        """Note that the server won't; it is asked for again on the next connection."""
        self._held.discard(event)
        self._refused.add(event)

    def drop(self, events: Iterable[str]) -> None:
        """Note that the server is about to send them no more: what was seen is of no use then."""
        for event in events:
            self._held.discard(event)
            self.last.pop(event, None)

    def disconnected(self) -> None:
        """Note that the next server knows nothing of this client."""
        self._held.clear()
        self._refused.clear()
        for event in [event for event in self.last if event not in self._wanted]:
            del self.last[event]

    def is_news(self, event: str, update: StockUpdate) -> bool:
        """Whether an update was not seen before; it then counts as seen."""
        last = self.last.get(event)
        if last is not None and last.epoch == update.epoch:
            if update.seq <= last.seq:
                self.repeated += 1
                return False
            self.skipped += update.seq - last.seq - 1
        self.last[event] = update
        return True
