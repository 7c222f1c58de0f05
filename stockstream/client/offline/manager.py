"""What a user changes, kept until the server has it (documented, section 5.1)."""

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, Final, Self
from uuid import uuid4

from stockstream.client.handlers import Handler, Handlers
from stockstream.client.offline.book import Book
from stockstream.client.offline.follower import Follower
from stockstream.client.offline.items import OfflineDocument
from stockstream.client.offline.journal import Journal
from stockstream.client.offline.sender import ERROR, Pace, Sender
from stockstream.client.offline.server import SyncServer
from stockstream.client.offline.view import UserView
from stockstream.client.states import ConnectionState, StateChange
from stockstream.client.stock_client import MAX_RECONNECT_INTERVAL, StockClient
from stockstream.core.backoff import Backoff
from stockstream.errors import InvalidPayloadError, TooLargeError
from stockstream.model.document import DocumentKey
from stockstream.wire.canonical import canonical
from stockstream.wire.names import DOCUMENT_CHANGED
from stockstream.wire.sync import MAX_BODY, MAX_ITEMS, read_key

log = logging.getLogger(__name__)

_CHANGED: Final = "changed"
_ONLINE_STATUS_CHANGED: Final = "online_status_changed"


class OfflineDataManager(UserView):
    """A user's documents on this device; an async context manager.

    Every change is on the disk when its call returns, seen at once, and sent when there is a
    connection: changes of one document in order, each until the server has confirmed or refused
    it, each applied once. The end of the process at any moment loses none of it.

    Events, for :meth:`on`:

    - ``changed`` (an :class:`OfflineDocument`): a document is another one for the user now, by
      whomever;
    - ``sync_success`` (a :class:`SyncSuccess`): the server has a change;
    - ``sync_error`` (a :class:`SyncFailure`): it has not taken one. Where it refuses it, the user
      sees the document without it from now on;
    - ``error`` (a StockstreamError): something keeps all changes from being sent for now: a token
      that has ended, a server that does not answer, a full disk. They wait;
    - ``online_status_changed`` (a bool).

    Args:
        client: whose server and token are used; it has to be entered before.
        path: of the file, made where it is missing. It belongs to one user of one server, and to
            one manager at a time.
        sync_batch_size: most changes in one request, 1 to 100.
        max_retries: how often the server may put off one change ("try again later") until it has
            failed. Times without a connection, or without an answer, don't count.
        retry_delay: longest first wait before trying again, in seconds; it doubles up to 30.
        conflict_resolution: strategy of changes that don't name one; None: the server's setting.
        queue_size: changes that may wait, failed ones included; what is more is refused.
        poll_interval: seconds after which the server is asked what has changed, although it tells
            at once.
        random: scatters the waits.
        sleep: replaced by tests.
    """

    def __init__(
        self,
        client: StockClient,
        path: str | os.PathLike[str],
        *,
        sync_batch_size: int = 20,
        max_retries: int = 5,
        retry_delay: float = 1.0,
        conflict_resolution: str | None = None,
        queue_size: int = 10_000,
        poll_interval: float = 60.0,
        random: Random | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        if not 1 <= sync_batch_size <= MAX_ITEMS:
            raise InvalidPayloadError(f"sync_batch_size: must be 1 to {MAX_ITEMS}")
        self._client = client
        self._strategy = conflict_resolution
        self._handlers = Handlers()
        self._book = Book(Journal(Path(path)), queue_size=queue_size, on_change=self._changed)
        super().__init__(self._book.replica)
        self._rules = self._book.rules
        server = SyncServer(client)
        pace = Pace(
            batch_size=sync_batch_size,
            max_retries=max_retries,
            backoff=Backoff(
                initial=min(retry_delay, MAX_RECONNECT_INTERVAL), maximum=MAX_RECONNECT_INTERVAL
            ),
            random=random or Random(),
            sleep=sleep,
        )
        # What others changed is learned first: less is in conflict then.
        self._sender = Sender(
            self._book,
            server,
            pace=pace,
            ready=lambda: self._follower.is_current,
            doubt=self._begin_anew,
            emit=self._emit,
            clock=_now,
        )
        self._follower = Follower(
            self._book,
            server,
            pace=pace,
            on_current=self._sender.wake,
            on_error=lambda error: self._emit(ERROR, error),
            interval=poll_interval,
        )
        #: What is done while there is a connection, and what is being cancelled.
        self._tasks: set[asyncio.Task[None]] = set()
        self._was_online = False
        #: Set whenever something was settled.
        self._progress = asyncio.Event()

    async def __aenter__(self) -> Self:
        """Open the file and begin to send.

        Raises:
            QueueLockedError: somebody has it open.
            StoreUnavailableError: it can't be opened, or is no such file.
        """
        await self._book.open()
        await self._book.commit(lambda: [self._rules.forget(_now())])
        self._client.on("state_changed", self._state_changed)
        self._client.on(DOCUMENT_CHANGED, self._follower.hear)
        self._client.subscribe(DOCUMENT_CHANGED)
        self._was_online = False
        self._go_on()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._client.off("state_changed", self._state_changed)
        self._client.off(DOCUMENT_CHANGED, self._follower.hear)
        self._client.unsubscribe(DOCUMENT_CHANGED)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._book.close()

    def on(self, event: str, handler: Handler) -> None:
        """Have a function called with each event of that name, in order."""
        self._handlers.on(event, handler)

    def off(self, event: str, handler: Handler) -> None:
        """Have it called no more."""
        self._handlers.off(event, handler)

    # --- changing -----------------------------------------------------------------------------

    async def save(
        self,
        type: str,  # noqa: A002 - as it is called everywhere
        document_id: str,
        data: Mapping[str, Any],
        *,
        strategy: str | None = None,
    ) -> str:
        """Change a document, or make a new one; it is on the disk when this returns.

        Args:
            type: of the document: ``watchlist``, ``alert``, ``drawing``, ``note``, ``settings``, …
            document_id: which one; made up by the program.
            data: the whole document from now on: a JSON object of at most 64 KB. It counts as a
                change of what :meth:`get` returns at this moment.
            strategy: what decides where others have changed it too.

        Returns:
            The id of the change.

        Raises:
            InvalidPayloadError: a name or the data is none that a server takes.
            TooLargeError: the data is too large.
            QueueFullError: as many changes wait as may wait; nothing has changed.
            StoreUnavailableError: the disk does not take it; nothing has changed.
        """
        return await self._change(type, document_id, _body(data), strategy)

    async def add_to_offline_queue(
        self,
        data: Mapping[str, Any],
        type: str,  # noqa: A002 - the documented name
    ) -> str:
        """Make a new document, called as its change is (documented). See :meth:`save`."""
        return await self._change(type, None, _body(data), None)

    async def remove(
        self,
        type: str,  # noqa: A002 - as it is called everywhere
        document_id: str,
        *,
        strategy: str | None = None,
    ) -> str:
        """Delete a document; returns the id of the change. Raises as :meth:`save` does."""
        return await self._change(type, document_id, None, strategy)

    async def resolve(self, conflict_id: str, data: Mapping[str, Any] | None) -> str:
        """Decide a conflict; returns the id of the change. Raises as :meth:`save` does.

        Args:
            conflict_id: of one of :meth:`conflicts`.
            data: the document from now on; None: it is deleted.

        Raises:
            InvalidPayloadError: there is no such conflict.
        """
        conflict = self._replica.conflicts.get(conflict_id)
        if conflict is None:
            raise InvalidPayloadError("conflict_id: there is no such conflict")
        body = None if data is None else _body(data)
        return await self._change(conflict.type, conflict.document_id, body, None, conflict_id)

    async def remove_from_offline_queue(self, item_id: str) -> None:
        """Take a change back; one that is not there does no harm.

        One that is being sent may have arrived already, and stay.
        """
        await self._book.commit(lambda: [self._rules.remove(item_id)])
        self._sender.wake()
        self._progress.set()

    async def clear_offline_queue(self) -> None:
        """Take back every change that the server does not have yet, the failed ones included."""
        await self._book.commit(lambda: [self._rules.clear()])
        self._progress.set()

    async def retry_failed_syncs(self) -> None:
        """Send what has failed once more."""
        await self._book.commit(lambda: [self._rules.retry()])
        self._sender.wake()

    # --- being connected ----------------------------------------------------------------------

    @property
    def online(self) -> bool:
        """Whether there is a connection to the server."""
        return self._client.is_connected

    async def synced(self, within: float | None = None) -> bool:
        """Wait until the server has said something of every change.

        Args:
            within: seconds; None: as long as it takes.

        Returns:
            Whether it has everything; no: the time is over, or something has failed.
        """
        try:
            async with asyncio.timeout(within):
                while not self._replica.is_settled:
                    self._progress.clear()
                    await self._progress.wait()
        except TimeoutError:
            return False
        return not self._replica.items

    # ------------------------------------------------------------------------------------------

    async def _change(
        self,
        kind: str,
        document_id: str | None,
        body: str | None,
        strategy: str | None,
        resolves: str | None = None,
    ) -> str:
        item_id = uuid4().hex
        key = read_key(kind, document_id, item_id)
        # Now: others may change it before this one gets its turn.
        seen = self._rules.seen(key)
        await self._book.commit(
            lambda: [
                self._rules.change(
                    key,
                    body,
                    item_id=item_id,
                    timestamp=_now(),
                    seen=seen,
                    strategy=strategy or self._strategy,
                    resolves=resolves,
                )
            ]
        )
        self._sender.wake()
        return item_id

    def _changed(self, key: DocumentKey) -> None:
        document = self._replica.document(key)
        if document is None:
            document = OfflineDocument(
                type=key.type, id=key.id, data=None, version=None, pending=False
            )
        self._handlers.emit(_CHANGED, document)

    def _begin_anew(self) -> None:
        self._follower.begin_anew()

    def _emit(self, event: str, payload: Any) -> None:
        self._progress.set()
        self._handlers.emit(event, payload)

    def _state_changed(self, change: StateChange) -> None:
        online = change.state is ConnectionState.CONNECTED
        if online != self._was_online:
            self._go_on()
            self._handlers.emit(_ONLINE_STATUS_CHANGED, online)

    def _go_on(self) -> None:
        """Work while there is a connection."""
        self._was_online = self.online
        # Requests that hang, and waits after failures, end with the connection that they are of.
        for task in self._tasks:
            task.cancel()
        if self.online:
            self._follower.start_over()
            for work in (self._sender.run, self._follower.run):
                task = asyncio.create_task(_until_cancelled(work))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)


def _body(data: Mapping[str, Any]) -> str:
    """Return data as it is kept.

    Raises:
        InvalidPayloadError: it is no object, or JSON has no such values.
        TooLargeError: it is too large.
    """
    if not isinstance(data, Mapping):
        raise InvalidPayloadError("data: must be an object")
    body = canonical(dict(data))
    if (size := len(body.encode())) > MAX_BODY:
        raise TooLargeError(f"data: takes {size:,} bytes; at most {MAX_BODY:,} are taken")
    return body


def _now() -> int:
    return time.time_ns() // 1_000_000


async def _until_cancelled(work: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await work()
        except Exception:
            # The border of the task: what it was about is in the file, and begun again.
            log.exception("synchronizing failed")
            await asyncio.sleep(1)
