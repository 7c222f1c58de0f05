"""The replica and its file, changed together."""

import asyncio
from collections.abc import Callable
from typing import Any

from stockstream.client.offline.journal import Journal
from stockstream.client.offline.replica import Delta, Replica
from stockstream.client.offline.rules import Rules
from stockstream.model.document import DocumentKey


class Book:
    """Every change is on the disk before anybody sees it.

    Args:
        journal: the file.
        queue_size: changes that may wait.
        on_change: told of each document that is another one for the user now; must not raise.
    """

    def __init__(
        self, journal: Journal, *, queue_size: int, on_change: Callable[[DocumentKey], None]
    ) -> None:
        #: What holds now.
        self.replica = Replica()
        #: What may happen to it.
        self.rules = Rules(self.replica, max_items=queue_size)
        self._journal = journal
        self._on_change = on_change
        #: Who holds it keeps everything as it is.
        self.lock = asyncio.Lock()
        self._commits: set[asyncio.Task[Any]] = set()

    async def open(self) -> None:
        """Read the file.

        Raises:
            QueueLockedError: somebody has it open.
            StoreUnavailableError: it can't be read.
        """
        self.replica.apply(await self._journal.open())

    async def close(self) -> None:
        """Finish what is being written, and let go of the file."""
        await asyncio.gather(*self._commits, return_exceptions=True)
        await self._journal.close()

    async def commit(
        self, make: Callable[[], list[Delta]], then: Callable[[], None] | None = None
    ) -> None:
        """Make changes, write them, show them.

        Whoever is cancelled here finds them made nevertheless, and told of.

        Args:
            make: called when nobody else changes anything; what it raises is raised here.
            then: called once they are seen, where there were any; must not raise.

        Raises:
            StoreUnavailableError: nothing has changed.
        """
        task = asyncio.create_task(self._commit(make, then))
        self._commits.add(task)
        task.add_done_callback(self._commits.discard)
        await asyncio.shield(task)

    async def _commit(
        self, make: Callable[[], list[Delta]], then: Callable[[], None] | None
    ) -> None:
        async with self.lock:
            deltas = [delta for delta in make() if delta != Delta()]
            if not deltas:
                return
            await self._journal.write(deltas)
            touched = {key for delta in deltas for key in self.replica.touched(delta)}
            before = {key: self.replica.body(key) for key in touched}
            for delta in deltas:
                self.replica.apply(delta)
            for key, body in before.items():
                if self.replica.body(key) != body:
                    self._on_change(key)
            if then is not None:
                then()
