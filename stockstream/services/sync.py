"""Documents of users, kept the same on all their devices (documented, sections 5 and 6)."""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

import structlog

from stockstream.core.conflict_resolution import ConflictResolutionEngine
from stockstream.core.hybrid_clock import HybridClock
from stockstream.core.latency import LatencyHistogram
from stockstream.core.syncing import Quota, SyncRules
from stockstream.document_ports import DocumentStore
from stockstream.errors import (
    RateLimitedError,
    RefusedError,
    StoreUnavailableError,
    UnavailableError,
)
from stockstream.model.document import (
    Change,
    Conflict,
    Document,
    DocumentFigures,
    DocumentHistory,
    DocumentKey,
    DocumentPage,
    Outcome,
    Refusal,
    SyncStatus,
)
from stockstream.ports import Clock
from stockstream.wire.sync import cursor_of, read_change, read_cursor

log = structlog.get_logger(__name__)

#: Requests of one user that may be under way at once.
_AT_ONCE: Final = 32
#: Conflicts that are told at once.
_CONFLICTS: Final = 1_000
#: Seconds between two rounds of forgetting, and between two looks at what the store holds.
_UPKEEP_INTERVAL: Final = 600.0
_LOOK_INTERVAL: Final = 10.0
_DAY_MS: Final = 86_400_000

T = TypeVar("T")
#: Takes what other devices of a user are to hear; must not wait for anything.
Tell = Callable[[str, Document], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncSettings:
    """How documents are kept."""

    #: Strategy of items that name none.
    strategy: str = "merge"
    #: The same by type of document.
    strategies: Mapping[str, str] = field(default_factory=dict)
    quota: Quota = field(default_factory=Quota)
    #: Days after which ids of items, decided conflicts and tombstones are forgotten.
    retention_days: float = 90.0


class SyncService:
    """Applies what devices send, and tells what has changed."""

    def __init__(
        self, store: DocumentStore, *, settings: SyncSettings, clock: Clock, tell: Tell
    ) -> None:
        """Begin with the documented strategies.

        Args:
            store: where documents are.
            settings: how they are kept.
            clock: the time.
            tell: called once for each new version, after it is durable.
        """
        self._store = store
        self._settings = settings
        self._clock = clock
        self._tell = tell
        self._stamps = HybridClock()
        self._under_way: Counter[str] = Counter()
        #: Resolves conflicts; strategies of one's own are added to it by name.
        self.engine = ConflictResolutionEngine()
        self._rules = SyncRules(self.engine, settings.quota)
        #: Items by what became of them.
        self.results: Counter[str] = Counter()
        #: Requests that the store did not answer.
        self.failures = 0
        #: From an item's receipt to its being durable, in ms, once a request.
        self.latency = LatencyHistogram()
        #: What the store held when it was looked at last.
        self.figures = DocumentFigures()
        #: Records that are forgotten.
        self.forgotten = 0

    async def sync(self, user: str, items: Sequence[object]) -> list[Outcome | Refusal]:
        """Apply items in order; each is answered for itself.

        Returns:
            For each item what became of it, once that is durable; or why it is not even one.

        Raises:
            UnavailableError: the store does not answer. Nothing is acknowledged: the same items
                may be sent again.
            RateLimitedError: too many requests of this user are under way.
        """
        answers: list[Outcome | Refusal] = []
        changes: list[Change] = []
        for item in items:
            try:
                changes.append(self._read(user, item))
            except RefusedError as error:
                answers.append(Refusal(code=error.code, message=str(error)))
            else:
                # Its outcome takes this place.
                answers.append(_PENDING)
        outcomes = iter(await self._apply(user, changes) if changes else ())
        answers = [next(outcomes) if each is _PENDING else each for each in answers]
        self.results.update(
            each.status if isinstance(each, Outcome) else SyncStatus.REFUSED for each in answers
        )
        return answers

    async def changed_since(
        self, user: str, cursor: str | None, *, limit: int, kind: str | None
    ) -> tuple[DocumentPage, str]:
        """Return a page of what has changed since a cursor, and the cursor that follows.

        Raises:
            InvalidPayloadError: the cursor was not given to this user for this type.
            UnavailableError: the store does not answer.
        """
        since = None if cursor is None else read_cursor(cursor, user, kind)
        page = await self._ask(
            user, lambda: self._store.changed_since(user, since, limit=limit, kind=kind)
        )
        return page, cursor_of(page.position, user, kind)

    async def conflicts(self, user: str) -> Sequence[Conflict]:
        """Return what waits for the user.

        Raises:
            UnavailableError: the store does not answer.
        """
        return await self._ask(user, lambda: self._store.conflicts(user, _CONFLICTS))

    async def history(self, user: str, key: DocumentKey, limit: int) -> DocumentHistory | None:
        """Return the versions of a document; None where the user has no such document.

        Raises:
            UnavailableError: the store does not answer.
        """
        return await self._ask(user, lambda: self._store.history(user, key, limit))

    async def run(self) -> None:
        """Forget what nobody needs any more, and look at what is held, until cancelled."""
        next_upkeep = 0.0
        while True:
            await self._clock.sleep(_LOOK_INTERVAL)
            if not self._store.opened:
                # Whoever uses it first opens it; who never does needs no place to write to.
                continue
            try:
                self.figures = await self._store.figures()
                if self._clock.monotonic() >= next_upkeep:
                    await self._forget()
                    next_upkeep = self._clock.monotonic() + _UPKEEP_INTERVAL
            except StoreUnavailableError as error:
                log.debug("documents_not_looked_at", error=str(error))

    async def _forget(self) -> None:
        before = self._clock.time_ms() - int(self._settings.retention_days * _DAY_MS)
        while gone := await self._store.forget(before):
            self.forgotten += gone

    def _read(self, user: str, item: object) -> Change:
        return read_change(
            item,
            author=user,
            strategy=lambda kind: self._settings.strategies.get(kind, self._settings.strategy),
            stamp=self._stamps.stamp(self._clock.time_ms()),
        )

    async def _apply(self, user: str, changes: Sequence[Change]) -> Sequence[Outcome]:
        received = self._clock.monotonic()
        outcomes = await self._ask(user, lambda: self._store.apply(user, changes, self._rules))
        self.latency.record((self._clock.monotonic() - received) * 1000)
        for outcome in outcomes:
            if outcome.document is not None:
                # Another node's clock may be ahead: what follows comes after it.
                self._stamps.observe(outcome.document.stamp)
                if outcome.changed:
                    self._tell(user, outcome.document)
        return outcomes

    async def _ask(self, user: str, question: Callable[[], Awaitable[T]]) -> T:
        if self._under_way[user] >= _AT_ONCE:
            raise RateLimitedError(f"at most {_AT_ONCE} requests for documents at once")
        self._under_way[user] += 1
        try:
            return await question()
        except StoreUnavailableError as error:
            self.failures += 1
            log.warning("documents_unavailable", error=str(error))
            raise UnavailableError("documents can't be read or stored right now") from error
        finally:
            self._under_way[user] -= 1
            if not self._under_way[user]:
                del self._under_way[user]


_PENDING: Final = Refusal(code="", message="")
