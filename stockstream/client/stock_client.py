"""The client of a server, as a Python program uses it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from random import Random
from types import TracebackType
from typing import Any, Final, Self

import msgspec

from stockstream.client.feed import Feed
from stockstream.client.handlers import Handler, Handlers
from stockstream.client.http import HttpDoor
from stockstream.client.inbox import Overflow
from stockstream.client.link import Link
from stockstream.client.packets import Event
from stockstream.client.states import ConnectionState, StateChange
from stockstream.client.streams import ALERTS, BARS, METRICS, QUOTES, Kind, Stream
from stockstream.client.tokens import TokenSource
from stockstream.core.backoff import Backoff
from stockstream.errors import (
    InvalidPayloadError,
    NotConnectedError,
    StockstreamError,
    UnavailableError,
)
from stockstream.model import (
    Alert,
    PerformanceMetrics,
    StockUpdate,
    parse_symbol,
    parse_timeframe,
)
from stockstream.wire import names
from stockstream.wire.replies import BarUpdate, ErrorReply, StockData, StockDataBody

log = logging.getLogger(__name__)

#: Longest wait between two attempts to connect, in seconds (documented, section 3.1).
MAX_RECONNECT_INTERVAL: Final = 30.0
_SESSION_ERROR: Final = "session_error"


class StockClient:
    """Watches a server; an async context manager (documented, section 3.1).

    Entering it begins to connect and waits for nothing. A connection that is lost is made anew,
    with waits that double up to 30 s and are scattered; subscriptions go on where they were.

    Events, for :meth:`on`: ``connected``, ``disconnected`` and ``state_changed`` (each with a
    :class:`StateChange`), ``error`` (with an :class:`ErrorReply`), ``message`` (with every
    :class:`Event`), and the name of each event of :meth:`subscribe` (with its payload).

    Args:
        url: of the server.
        token: a token, or an async function that returns a fresh one each time; None where the
            server asks nobody who he is.
        reconnect_interval: longest first wait between two attempts, in seconds.
        max_reconnect_attempts: attempts in a row that may fail before the client gives up; None:
            any number.
        heartbeat_interval: seconds between two pings; a server that leaves one unanswered for
            half of that is taken for gone.
        queue_size: most values that a stream holds for a program that has not taken them.
        random: scatters the waits.
        sleep: replaced by tests.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        *,
        token: TokenSource | None = None,
        reconnect_interval: float = 1.0,
        max_reconnect_attempts: int | None = None,
        heartbeat_interval: float = 10.0,
        queue_size: int = 1_000,
        random: Random | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.url = url.rstrip("/")
        self._queue_size = queue_size
        self._handlers = Handlers()
        random = random or Random()
        backoff = Backoff(
            initial=min(reconnect_interval, MAX_RECONNECT_INTERVAL), maximum=MAX_RECONNECT_INTERVAL
        )
        self._feed = Feed(
            on_refusal=lambda refused: self._handlers.emit("error", refused),
            backoff=lambda failures: backoff.delay(failures, random),
        )
        self._link = Link(
            self.url,
            token=token,
            on_event=self._received,
            on_change=self._changed,
            keep=self._feed.keep,
            backoff=backoff,
            max_attempts=max_reconnect_attempts,
            heartbeat=heartbeat_interval,
            random=random,
            sleep=sleep,
        )
        self._http = HttpDoor(self.url, self._link.token)
        self._running: asyncio.Task[None] | None = None

    # --- the connection -----------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        self._start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.disconnect()

    async def connect(self) -> None:
        """Connect, where that is not done yet, and return once it is.

        Raises:
            RefusedError: the server refuses the token.
            NotConnectedError: ``max_reconnect_attempts`` in a row have failed.
        """
        self._start()
        await self._link.connection()

    async def disconnect(self) -> None:
        """Say goodbye; streams end, and requests fail. Calling it twice does no harm."""
        running, self._running = self._running, None
        if running is not None:
            self._link.close(running)
            with suppress(asyncio.CancelledError):
                await running
        await self._http.close()

    @property
    def state(self) -> ConnectionState:
        """What the connection is doing."""
        return self._link.state

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection now."""
        return self._link.state is ConnectionState.CONNECTED

    def on(self, event: str, handler: Handler) -> None:
        """Have a function called with each event of that name, in the event loop, in order."""
        self._handlers.on(event, handler)

    def off(self, event: str, handler: Handler) -> None:
        """Have it called no more."""
        self._handlers.off(event, handler)

    async def authenticate(self, token: TokenSource | None = None, *, within: float = 30.0) -> Any:
        """Hand in a fresh token without reconnecting; it is used from then on.

        A client that has ended because of its token connects with this one; its streams have ended
        as well. Not needed where the client's ``token`` is a function and its tokens are JWTs with
        ``exp``.

        Args:
            token: None: a fresh one of the client's own ``token``.
            within: seconds.

        Returns:
            What the server says: ``{"user": …, "roles": […], "expiresAt": …}``.

        Raises:
            RefusedError: the server does not take it; the one before stays.
            UnavailableError: there was no answer in time.
        """
        if token is not None and self._running is not None and self._running.done():
            self._link.use(token)
            self._start()
        return await self._link.authenticate(token, within)

    # --- what is watched ----------------------------------------------------------------------

    def updates(self, *symbols: str, overflow: str = Overflow.CONFLATE) -> Stream[StockUpdate]:
        """Return the price changes of symbols: first the current price of each, then every change.

        Each comes once and in order of ``seq``, over as many connections as it takes. Where more
        was missed than servers hold (1,000 updates a symbol), or the program is slower than the
        market for more than ``queue_size`` updates, it gets the latest of each symbol.

        Args:
            symbols: in either case.
            overflow: ``conflate``, or ``raise`` to be told instead.

        Raises:
            InvalidSymbolError: no venue has such a symbol.
        """
        events = [names.stock_update(parse_symbol(symbol)) for symbol in symbols]
        return self._stream(QUOTES, events, overflow)

    def bars(
        self, *symbols: str, timeframe: str = "1m", overflow: str = Overflow.CONFLATE
    ) -> Stream[BarUpdate]:
        """Return the bars of symbols: the forming one as it changes, and each finished one.

        Bars of a time without connection are not made up for: see :meth:`get_stock_data`.

        Raises:
            InvalidSymbolError: no venue has such a symbol.
            UnknownTimeframeError: there is none such.
        """
        frame = parse_timeframe(timeframe)
        events = [names.bar_update(parse_symbol(symbol), frame) for symbol in symbols]
        return self._stream(BARS, events, overflow)

    def metrics(self) -> Stream[PerformanceMetrics]:
        """Return the measurements of the node that the client is connected to."""
        return self._stream(METRICS, [names.PERFORMANCE_METRICS], Overflow.CONFLATE)

    def alerts(self) -> Stream[Alert]:
        """Return the alerts of the node that the client is connected to."""
        return self._stream(ALERTS, [names.PERFORMANCE_ALERT], Overflow.CONFLATE)

    async def get_stock_data(
        self, symbol: str, timeframe: str = "1d", limit: int = 100, *, within: float = 30.0
    ) -> StockDataBody:
        """Return bars and the current price of a symbol.

        Args:
            symbol: in either case.
            timeframe: of the bars: 1m 5m 15m 30m 1h 4h 1d 1w.
            limit: most bars, 1 to 1,000; the newest ones, in order of time.
            within: seconds that it may take, connecting included.

        Raises:
            RefusedError: the server refuses, with the code of the contract.
            UnavailableError: there was no answer in time.
            NotConnectedError: the client has given up connecting, or was closed.
        """
        request = {"symbol": parse_symbol(symbol), "timeframe": timeframe, "limit": limit}
        answer = await self._link.request(names.GET_STOCK_DATA, request, within)
        # The server has subscribed the client; what nobody wants is unsubscribed again.
        self._feed.note_sent(names.stock_update(parse_symbol(symbol)))
        try:
            return msgspec.convert(answer, StockData).data
        except msgspec.ValidationError as error:
            raise UnavailableError(f"the server's answer makes no sense: {error}") from None

    async def fetch(
        self,
        method: str,
        path: str,
        *,
        parameters: Mapping[str, str] | None = None,
        body: object = None,
    ) -> bytes:
        """Return the answer of one of the server's HTTP routes, asked with the client's token.

        Args:
            method: ``GET``, ``POST``.
            path: such as ``/api/quotes``.
            parameters: of the query.
            body: anything that JSON can say.

        Raises:
            RefusedError: the server refuses, with the code of the contract.
            UnavailableError: it can't be reached, or fails; nobody knows what it has done.
        """
        return await self._http.fetch(method, path, parameters=parameters, body=body)

    def subscribe(self, *events: str) -> None:
        """Have the server send events that there is no stream for; see :meth:`on`."""
        self._feed.want(events)

    def unsubscribe(self, *events: str) -> None:
        """Undo one :meth:`subscribe` of each event."""
        self._feed.release(events)

    # --- counters -----------------------------------------------------------------------------

    @property
    def connections(self) -> int:
        """Connections that were made so far."""
        return self._link.connections

    @property
    def repeated(self) -> int:
        """Updates that came twice; the program got them once."""
        return self._feed.interest.repeated

    @property
    def skipped(self) -> int:
        """Updates that the server conflated or no longer held."""
        return self._feed.interest.skipped

    @property
    def not_understood(self) -> int:
        """Events that were not what the contract says; the program did not get them."""
        return self._feed.not_understood

    # ------------------------------------------------------------------------------------------

    def _start(self) -> None:
        if self._running is None or self._running.done():
            self._feed.reopen()
            self._link.ended = None
            self._running = asyncio.create_task(self._run())

    async def _run(self) -> None:
        error: StockstreamError | None = None
        try:
            await self._link.run()
        except StockstreamError as ended:
            error = ended
        except Exception as crash:
            # The border of the task: streams must not wait for ever.
            log.exception("the client crashed")
            error = NotConnectedError(f"the client crashed: {crash!r}")
        finally:
            self._feed.close(error)

    def _stream(self, kind: Kind[Any], events: list[str], overflow: str) -> Stream[Any]:
        if not events:
            raise InvalidPayloadError("symbols: name at least one")
        return Stream(
            list(dict.fromkeys(events)),
            limit=self._queue_size,
            overflow=Overflow(overflow),
            key=kind.key,
            join=self._feed.join,
            leave=self._feed.leave,
        )

    def _received(self, event: Event) -> None:
        if event.name == names.ERROR:
            self._received_error(event.payload)
        else:
            self._feed.receive(event)
            if self._feed.is_raw(event.name):
                payload = event.payload
                if isinstance(payload, dict) and payload.get("type") == event.name:
                    payload = payload.get("payload")
                self._handlers.emit(event.name, payload)
        self._handlers.emit("message", event)

    def _received_error(self, payload: Any) -> None:
        try:
            error = msgspec.convert(payload, ErrorReply)
        except msgspec.ValidationError:
            self._feed.not_understood += 1
            return
        if error.type == _SESSION_ERROR:
            self._link.note_session_error(error.code)
        self._handlers.emit("error", error)

    def _changed(self, change: StateChange) -> None:
        self._handlers.emit("state_changed", change)
        if change.state is ConnectionState.CONNECTED:
            self._handlers.emit("connected", change)
        elif change.reason:
            self._handlers.emit("disconnected", change)
