"""Sends what waits in the queue, as long as there is something and somebody to send it to."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from msgspec.structs import replace

from stockstream.client.offline.book import Book
from stockstream.client.offline.items import ItemState, OfflineItem, SyncFailure, SyncSuccess
from stockstream.client.offline.replica import Delta
from stockstream.client.offline.server import SyncServer
from stockstream.client.refusals import refusal
from stockstream.core.backoff import Backoff
from stockstream.errors import (
    InvalidPayloadError,
    OtherRefusalError,
    RateLimitedError,
    RefusedError,
    StoreUnavailableError,
    TooLargeError,
)
from stockstream.model.document import SyncStatus
from stockstream.wire.sync_replies import SyncResult

Emit = Callable[[str, Any], None]

SYNC_SUCCESS: Final = "sync_success"
SYNC_ERROR: Final = "sync_error"
#: What is not about single changes.
ERROR: Final = "error"
#: Of a request as a whole, what is about the changes in it. Anything else (a token that has ended,
#: a proxy that knows no such route) says nothing of them.
_ABOUT_CHANGES: Final = (InvalidPayloadError, TooLargeError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How much is sent at once, and how often again."""

    batch_size: int
    #: How often the server may put off one item.
    max_retries: int
    backoff: Backoff
    random: Random
    sleep: Callable[[float], Awaitable[None]]

    async def pause(self, failures: int) -> None:
        """Wait after so many failures in a row."""
        await self.sleep(self.backoff.delay(failures, self.random))


class Sender:
    """One request at a time; of each document its oldest change.

    Args:
        book: what there is to send.
        server: who is sent it.
        pace: how much, how often.
        ready: says whether there is a point in trying.
        doubt: called where the server does not know what changes were made on; must not raise.
        emit: told what became of each item.
        clock: ms since the epoch.
    """

    def __init__(
        self,
        book: Book,
        server: SyncServer,
        *,
        pace: Pace,
        ready: Callable[[], bool],
        doubt: Callable[[], None],
        emit: Emit,
        clock: Callable[[], int],
    ) -> None:
        self._book = book
        self._server = server
        self._pace = pace
        self._ready = ready
        self._doubt = doubt
        self._emit = emit
        self._clock = clock
        self._wake = asyncio.Event()
        #: Of each batch; smaller for a while where the server says that it is too much at once.
        self._batch_size = pace.batch_size

    def wake(self) -> None:
        """Look again: there is something new, or a connection."""
        self._wake.set()

    async def run(self) -> None:
        """Send until cancelled."""
        failures = 0
        while True:
            self._wake.clear()
            if not self._ready() or (done := await self._send_some()) is None:
                await self._wake.wait()
            elif done:
                failures = 0
            else:
                failures += 1
                await self._pace.pause(failures)

    async def _send_some(self) -> bool | None:
        """Return whether it went well; None: there was nothing to send."""
        replica, rules = self._book.replica, self._book.rules
        async with self._book.lock:
            batch = replica.batch(self._batch_size)
            # Only here: for who reads the file after a crash they wait as before.
            replica.apply(rules.sending(batch, self._clock()))
        if not batch:
            return None
        try:
            return await self._send(batch)
        except StoreUnavailableError as error:
            # It is sent again, and the server says the same again.
            self._emit(ERROR, error)
            return False
        finally:
            replica.apply(rules.put_back(batch, tried=False))

    async def _send(self, batch: Sequence[OfflineItem]) -> bool:
        try:
            results = await self._server.sync(batch)
        except RefusedError as error:
            if isinstance(error, RateLimitedError):
                self._batch_size = max(self._batch_size // 2, 1)
            if not isinstance(error, _ABOUT_CHANGES):
                self._emit(ERROR, error)
                return False
            if len(batch) > 1:
                # One of them may be all that is wrong.
                return all([await self._send([item]) for item in batch])
            await self._refuse(batch[0], error)
            return True
        self._batch_size = min(self._batch_size * 2, self._pace.batch_size)
        return await self._settle(batch, results)

    async def _refuse(self, item: OfflineItem, error: RefusedError) -> None:
        await self._book.commit(
            lambda: [self._book.rules.refuse(item.id, error.code, error.message)],
            lambda: self._tell_failure(item, error),
        )

    async def _settle(self, batch: Sequence[OfflineItem], results: Sequence[SyncResult]) -> bool:
        pairs = list(zip(batch, results, strict=True))
        put_off = [(item, error) for item, result in pairs if (error := _not_now(result))]
        later = {item.id for item, _ in put_off}
        settled = [(item, result) for item, result in pairs if item.id not in later]
        taken: list[tuple[OfflineItem, SyncResult]] = []

        def settle() -> list[Delta]:
            # They are of different documents: none depends on another one.
            deltas = [self._book.rules.settle(result) for _, result in settled]
            # What an answer that came late has settled already is told once.
            pairs = zip(settled, deltas, strict=True)
            taken.extend(pair for pair, delta in pairs if delta != Delta())
            return deltas

        await self._book.commit(settle, lambda: self._tell_all(taken))
        for item, error in put_off:
            await self._put_off(item, error)
        if any(_is_about_its_base(error) for _, error in put_off):
            self._doubt()
        return not put_off

    async def _put_off(self, item: OfflineItem, error: RefusedError) -> None:
        rules = self._book.rules
        code = getattr(error, "given", error.code)
        again = item.retry_count < self._pace.max_retries
        await self._book.commit(
            lambda: [
                rules.put_back([item], tried=True)
                if again
                else rules.give_up([item], code, error.message)
            ],
            lambda: self._tell_failure(item, error),
        )

    def _tell_all(self, settled: Sequence[tuple[OfflineItem, SyncResult]]) -> None:
        for item, result in settled:
            self._tell(item, result)

    def _tell(self, item: OfflineItem, result: SyncResult) -> None:
        if result.conflict:
            failed = replace(item, state=ItemState.FAILED, code="conflict")
            error = OtherRefusalError("both sides changed it: decide with resolve()", "conflict")
            self._emit(SYNC_ERROR, SyncFailure(item=failed, error=error, conflict=result.conflict))
        elif result.status is SyncStatus.REFUSED or not result.version:
            self._tell_failure(item, _error(result))
        else:
            self._emit(
                SYNC_SUCCESS,
                SyncSuccess(
                    item=replace(item, state=ItemState.SYNCED),
                    status=result.status,
                    version=result.version,
                    unmerged=result.unmerged or (),
                ),
            )

    def _tell_failure(self, item: OfflineItem, error: RefusedError) -> None:
        now = self._book.replica.items.get(item.id, item)
        self._emit(SYNC_ERROR, SyncFailure(item=now, error=error))


def _error(result: SyncResult) -> RefusedError:
    if result.error:
        return refusal(result.error.code, result.error.message, None, None)
    return refusal("refused", "the server refuses", None, None)


def _not_now(result: SyncResult) -> RefusedError | None:
    """Return why a result says nothing yet, None where it does."""
    if result.status is not SyncStatus.REFUSED:
        return None
    error = _error(result)
    return error if error.retryable or _is_about_its_base(error) else None


def _is_about_its_base(error: RefusedError) -> bool:
    """Whether a server has lost the version that a change was made on, a restored one perhaps."""
    return isinstance(error, InvalidPayloadError) and error.message.startswith("baseVersion: ")
