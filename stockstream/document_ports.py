"""What documents need from the outside world; see ``ports.py``."""

from collections.abc import Sequence
from typing import Protocol

from stockstream.core.syncing import SyncRules
from stockstream.model.document import (
    Change,
    Conflict,
    DocumentFigures,
    DocumentHistory,
    DocumentKey,
    DocumentPage,
    DocumentPosition,
    Outcome,
)


class DocumentStore(Protocol):
    """The documents of all users, their histories, and which items have been applied.

    Nobody is told anything before it is durable: an answer of :meth:`apply` survives the end of
    the process at that moment, and of the machine as far as its disk keeps its word. Whoever is
    cancelled, or gets an error, does not know whether it happened; the same items may be sent
    again, as often as one likes.
    """

    @property
    def opened(self) -> bool:
        """Whether it has been used yet; the first use opens it."""
        ...

    async def apply(
        self, user: str, changes: Sequence[Change], rules: SyncRules
    ) -> Sequence[Outcome]:
        """Let the rules decide about changes, in order, each knowing what the one before it did.

        All of them are one transaction, and no other change of the user comes between: what the
        rules see is what holds when their decision is written. What an outcome says holds then.

        Raises:
            StoreUnavailableError: none or all of them happened.
        """
        ...

    async def changed_since(
        self, user: str, since: DocumentPosition | None, *, limit: int, kind: str | None = None
    ) -> DocumentPage:
        """Return documents that changed after a position, at most ``limit``.

        Args:
            user: whose.
            since: None: from the beginning.
            limit: most documents in a page.
            kind: type of the documents; None: any.

        No change that was answered before the call is ever skipped, whatever happens meanwhile.

        Raises:
            StoreUnavailableError: the store can't be reached.
        """
        ...

    async def history(self, user: str, key: DocumentKey, limit: int) -> DocumentHistory | None:
        """Return the newest versions of a document; None where the user has no such document.

        Raises:
            StoreUnavailableError: the store can't be reached.
        """
        ...

    async def conflicts(self, user: str, limit: int) -> Sequence[Conflict]:
        """Return conflicts that wait, the oldest first.

        Raises:
            StoreUnavailableError: the store can't be reached.
        """
        ...

    async def forget(self, before_ms: int) -> int:
        """Forget what nobody needs any more, some at a time; returns how much that was.

        Those are ids of items, conflicts that were decided, and tombstones, all older than that.
        A device that has been away for longer begins anew.

        Raises:
            StoreUnavailableError: some of it may have been forgotten.
        """
        ...

    async def figures(self) -> DocumentFigures:
        """Return what it holds.

        Raises:
            StoreUnavailableError: the store can't be reached.
        """
        ...

    async def ping(self) -> None:
        """Answer when the store can be used.

        Raises:
            StoreUnavailableError: it can't.
        """
        ...

    async def aclose(self) -> None:
        """Finish what was begun and let go of connections; calling it twice does no harm."""
        ...
