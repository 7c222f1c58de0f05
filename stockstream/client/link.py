"""A connection that is made anew whenever it is lost."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from random import Random
from typing import Any, Final

import aiohttp

from stockstream.client import tokens
from stockstream.client.connection import Connection, LostError, connected
from stockstream.client.packets import Event
from stockstream.client.refusals import raise_where_refused, refusal
from stockstream.client.states import ConnectionState, StateChange
from stockstream.client.tokens import TokenSource
from stockstream.core.backoff import Backoff
from stockstream.errors import (
    NotConnectedError,
    RateLimitedError,
    StockstreamError,
    UnavailableError,
)

#: Requests that may wait for a connection or an answer at once.
MAX_REQUESTS: Final = 100
AUTHENTICATE: Final = "authenticate"
#: Codes after which the same token won't do better.
_FINAL: Final = frozenset({"unauthorized", "token_expired", "forbidden"})
# Seconds before its end at which a token is replaced, and the share of its life where that is less.
_RENEW_AHEAD: Final = 30.0
_RENEW_SHARE: Final = 0.2


class Link:
    """Connects, reconnects, and answers requests over whichever connection there is.

    Args:
        url: of the server.
        token: what the server is told on each connecting.
        on_event: called with each event, in order; must not raise.
        on_change: called with each change of state; must not raise.
        keep: runs while a connection lasts.
        backoff: waits between attempts.
        max_attempts: attempts in a row that may fail; None: any number.
        heartbeat: seconds between two pings; see :func:`stockstream.client.connection.connected`.
        random: scatters the waits.
        sleep: replaced by tests.
    """

    def __init__(
        self,
        url: str,
        *,
        token: TokenSource | None,
        on_event: Callable[[Event], None],
        on_change: Callable[[StateChange], None],
        keep: Callable[[Connection], Coroutine[Any, Any, None]],
        backoff: Backoff,
        max_attempts: int | None,
        heartbeat: float,
        random: Random,
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._url = url
        self._token = token
        self._on_event = on_event
        self._on_change = on_change
        self._keep = keep
        self._backoff = backoff
        self._max_attempts = max_attempts
        self._heartbeat = heartbeat
        self._random = random
        self._sleep = sleep
        self._connection: Connection | None = None
        self._change = asyncio.Event()
        self._waiting = 0
        self._session_error = ""
        #: The token that was fetched last.
        self._newest: str | None = None
        self.state = ConnectionState.DISCONNECTED
        #: Why there is and will be no connection; None while there is or may be one.
        self.ended: StockstreamError | None = None
        #: Connections that were made.
        self.connections = 0
        self._closing = False

    def close(self, running: asyncio.Task[None]) -> None:
        """Have :meth:`run` end, which is running in that task.

        To cancel the task is not enough: before Python 3.13 a task group forgets that it was
        cancelled where one of its own tasks fails at that moment.
        """
        self._closing = True
        running.cancel()

    async def run(self) -> None:
        """Connect and reconnect until cancelled.

        Raises:
            RefusedError: the server refuses the token, and there is no other one.
            NotConnectedError: ``max_attempts`` in a row have failed.
        """
        failures = 0
        self.ended = None
        self._closing = False
        self._enter(StateChange(state=ConnectionState.CONNECTING))
        try:
            while True:
                before = self.connections
                lost = await self._connect()
                if self._closing:
                    raise asyncio.CancelledError
                failures = 1 if self.connections > before else failures + 1
                self.ended = self._reason_to_end(lost, failures)
                if self.ended is not None:
                    raise self.ended
                delay = self._backoff.delay(failures, self._random)
                self._enter(
                    StateChange(
                        state=ConnectionState.RECONNECTING, reason=str(lost), retry_in=delay
                    )
                )
                await self._sleep(delay)
                self._enter(StateChange(state=ConnectionState.RECONNECTING))
        finally:
            self.ended = self.ended or NotConnectedError("the client was closed")
            self._enter(StateChange(state=ConnectionState.DISCONNECTED, reason=str(self.ended)))

    async def connection(self) -> Connection:
        """Return the connection, waiting for one.

        Raises:
            StockstreamError: there is none, and there won't be.
        """
        while self._connection is None:
            if self.ended is not None:
                raise self.ended
            await self._change.wait()
        return self._connection

    async def request(self, event: str, payload: object, within: float) -> Any:
        """Return the answer to an event; it is asked again where the connection breaks.

        Every request of the contract may be made twice without harm.

        Raises:
            RefusedError: the server refuses.
            UnavailableError: there was no answer within so many seconds.
            NotConnectedError: the client has given up connecting.
        """
        if self._waiting >= MAX_REQUESTS:
            raise RateLimitedError(f"at most {MAX_REQUESTS} requests at once", event=event)
        self._waiting += 1
        try:
            async with asyncio.timeout(within):
                answer = await self._answer(event, payload)
        except TimeoutError:
            raise UnavailableError(f"no answer within {within:g} s", event=event) from None
        finally:
            self._waiting -= 1
        raise_where_refused(answer)
        return answer

    async def _answer(self, event: str, payload: object) -> Any:
        while True:
            connection = await self.connection()
            try:
                return await connection.call(event, payload)
            except LostError:
                # Its end is noticed by who reads from it, a moment later.
                while self._connection is connection and connection.lost:
                    await self._change.wait()

    async def authenticate(self, token: TokenSource | None, within: float) -> Any:
        """Hand in a token now, without reconnecting; it is used from then on.

        Raises:
            RefusedError: the server does not take it; the one before stays.
        """
        source = self._token if token is None else token
        fresh = await tokens.fetch(source)
        answer = await self.request(AUTHENTICATE, {"token": fresh}, within)
        self._token, self._newest = source, fresh
        return answer

    def use(self, token: TokenSource) -> None:
        """Have the next connection made with another token."""
        self._token, self._newest = token, None

    async def token(self, refused: str | None = None) -> str | None:
        """Return the token for a request of another kind.

        Args:
            refused: one that the server does not take any more; None: any will do.
        """
        if self._newest is None or self._newest == refused:
            self._newest = await tokens.fetch(self._token)
        return self._newest

    def note_session_error(self, code: str) -> None:
        """Take note of why the server is about to disconnect."""
        self._session_error = code

    async def _connect(self) -> LostError:
        """Connect, and return why there is no connection any more."""
        self._session_error = ""
        try:
            token = await self._fetch_token()
            async with (
                aiohttp.ClientSession() as session,
                connected(
                    session,
                    self._url,
                    auth=None if token is None else {"token": token},
                    on_event=self._on_event,
                    heartbeat=self._heartbeat,
                ) as connection,
            ):
                return await self._serve(connection, token)
        except LostError as error:
            return error

    async def _serve(self, connection: Connection, token: str | None) -> LostError:
        self.connections += 1
        self._connection = connection
        self._enter(StateChange(state=ConnectionState.CONNECTED))
        lost = LostError("connection lost")
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(connection.run())
                tasks.create_task(self._keep(connection))
                if callable(self._token) and token is not None:
                    tasks.create_task(self._renew(connection, token))
        except* LostError as errors:
            lost = next(error for error in errors.exceptions if isinstance(error, LostError))
        finally:
            self._connection = None
        return lost

    async def _renew(self, connection: Connection, token: str) -> None:
        while (end := tokens.expires_at(token)) is not None:
            left = end - time.time()
            await asyncio.sleep(max(left - min(_RENEW_AHEAD, left * _RENEW_SHARE), 1.0))
            token = await self._fetch_token() or ""
            await connection.call(AUTHENTICATE, {"token": token})

    async def _fetch_token(self) -> str | None:
        try:
            self._newest = await tokens.fetch(self._token)
            return self._newest
        except Exception as error:
            # The border to the program's own code; an attempt that failed, as others do.
            raise LostError(f"no token: {error}") from error

    def _reason_to_end(self, lost: LostError, failures: int) -> StockstreamError | None:
        code = lost.code or self._session_error
        if code in _FINAL and not callable(self._token):
            return refusal(code, str(lost), None, None)
        if self._max_attempts is not None and failures > self._max_attempts:
            return NotConnectedError(str(lost))
        return None

    def _enter(self, change: StateChange) -> None:
        self.state = change.state
        self._on_change(change)
        self._change.set()
        self._change = asyncio.Event()
