"""Keeps up with what the user's other devices change."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from stockstream.client.offline.book import Book
from stockstream.client.offline.sender import Pace
from stockstream.client.offline.server import SyncServer
from stockstream.errors import (
    InvalidPayloadError,
    RefusedError,
    StockstreamError,
    StoreUnavailableError,
)
from stockstream.wire.sync_replies import DocumentChanged, DocumentReply

#: News that wait at most; what is more is caught up with.
_MAX_NEWS: Final = 1_000


class Follower:
    """Takes in what is told at once, and asks what was missed, as long as it runs.

    Args:
        book: what is known.
        server: who is asked.
        pace: the waits after a failure.
        on_current: called when everything was caught up with; must not raise.
        on_error: told what kept it from catching up; must not raise.
        interval: seconds after which it is asked anyway: what is told may be lost on its way.
    """

    def __init__(
        self,
        book: Book,
        server: SyncServer,
        *,
        pace: Pace,
        on_current: Callable[[], None],
        on_error: Callable[[StockstreamError], None],
        interval: float,
    ) -> None:
        self._book = book
        self._server = server
        self._pace = pace
        self._on_current = on_current
        self._on_error = on_error
        self._interval = interval
        self._news: deque[DocumentChanged] = deque()
        self._due = True
        self._anew = False
        self._wake = asyncio.Event()
        #: Whether everything was caught up with since the connection was made.
        self.is_current = False
        #: News that were not what the contract says, and were passed over.
        self.not_understood = 0

    def hear(self, payload: Any) -> None:
        """Take in a ``document_changed``, a moment later."""
        try:
            news = msgspec.convert(payload, DocumentChanged)
        except msgspec.ValidationError:
            self.not_understood += 1
            return
        conflicts = self._book.replica.conflicts.values()
        if any((c.type, c.document_id) == (news.type, news.document_id) for c in conflicts):
            # Another device has decided it, perhaps.
            self._due = True
        if len(self._news) >= _MAX_NEWS:
            self._news.clear()
            self._due = True
        self._news.append(news)
        self._wake.set()

    def start_over(self) -> None:
        """Ask what was missed: the connection is another one."""
        self.is_current = False
        self._due = True
        self._wake.set()

    def begin_anew(self) -> None:
        """Read everything again: the server has lost what is known of it."""
        self._anew = True
        self.start_over()

    async def run(self) -> None:
        """Follow until cancelled."""
        failures = 0
        while True:
            self._wake.clear()
            try:
                await self._follow()
                failures = 0
            except (RefusedError, StoreUnavailableError) as error:
                failures += 1
                self._on_error(error)
                await self._pace.pause(failures)
                continue
            try:
                async with asyncio.timeout(self._interval):
                    await self._wake.wait()
            except TimeoutError:
                self._due = True

    async def _follow(self) -> None:
        if self._due:
            await self._catch_up()
        if self._news:
            news = list(self._news)
            self._news.clear()
            try:
                await self._book.commit(lambda: [self._book.rules.learn(news)])
            except StoreUnavailableError:
                self._due = True
                raise

    async def _catch_up(self) -> None:
        self._due = False
        try:
            # What happened while everything was read anew comes in a second round.
            while await self._read_pages():
                pass
            before = frozenset(self._book.replica.conflicts)
            conflicts = await self._server.conflicts()
            await self._book.commit(lambda: [self._book.rules.conflicts_are(conflicts, before)])
        except BaseException:
            self._due = True
            raise
        # Where the connection was lost meanwhile, there is another round.
        if not self._due:
            self.is_current = True
            self._on_current()

    async def _read_pages(self) -> bool:
        """Read what was missed; returns whether it was necessary to begin anew."""
        replica = self._book.replica
        cursor = None if self._anew else replica.cursor
        gathered: list[DocumentReply] | None = [] if self._anew else None
        while True:
            try:
                page = await self._server.changed_since(cursor)
            except InvalidPayloadError:
                if cursor is None:
                    raise
                # It was another user's, or another server's.
                cursor, gathered = None, []
                continue
            if page.reset:
                gathered = []
            documents, cursor = page.documents, page.cursor
            if gathered is not None:
                gathered += documents
            else:
                await self._learn(documents, cursor)
            if not page.more:
                break
        if gathered is None:
            return False
        everything, end = gathered, cursor
        await self._book.commit(lambda: [self._book.rules.relearn(everything, cursor=end)])
        self._anew = False
        return True

    async def _learn(self, documents: Sequence[DocumentReply], cursor: str) -> None:
        replica = self._book.replica
        if documents or cursor != replica.cursor:
            await self._book.commit(lambda: [self._book.rules.learn(documents, cursor=cursor)])
