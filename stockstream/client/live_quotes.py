"""The updates of some symbols over a connection that is made anew whenever it is lost."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from random import Random
from typing import Any, Final, NoReturn

import aiohttp
import msgspec
import socketio

from stockstream.core.backoff import Backoff
from stockstream.model import StockUpdate, Symbol
from stockstream.wire.names import ERROR, SUBSCRIBE, stock_update
from stockstream.wire.replies import ErrorReply, Rejected

#: How long to wait before connecting again.
BACKOFF: Final = Backoff(initial=1, maximum=30)
# Seconds for all of connecting, for the answer to a subscription, and for a goodbye.
_CONNECT_TIMEOUT: Final = 15.0
_ANSWER_TIMEOUT: Final = 10.0
_GOODBYE_TIMEOUT: Final = 1.0


class LinkState(Enum):
    """What the connection is doing."""

    CONNECTING = "connecting"
    LIVE = "live"
    #: Lost or refused; it will be tried again.
    WAITING = "waiting"


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkChange:
    """The connection is in another state than before."""

    state: LinkState
    #: Why it was lost; only while waiting.
    reason: str = ""
    #: Seconds until the next attempt; only while waiting.
    retry_in: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Something that the server won't do."""

    #: The symbol that it was about, None where it was about something else.
    symbol: Symbol | None
    code: str
    message: str


LiveEvent = StockUpdate | LinkChange | Refusal


class _LinkError(Exception):
    """The connection is of no use; its text says why."""


class _Answer(msgspec.Struct, frozen=True):
    rejected: Sequence[Rejected] = ()


class _Envelope(msgspec.Struct, frozen=True):
    payload: StockUpdate


class LiveQuotes:
    """Follows symbols until cancelled: connects, subscribes, and after any loss does so again.

    Args:
        url: of the server, such as ``http://127.0.0.1:8000``.
        symbols: in canonical form.
        on_event: called with everything that happens, in order; must not raise. Updates of a
            symbol come in order, none twice; after each connecting a snapshot comes first.
        random: scatters the waits between attempts.
        sleep: replaced by tests.
    """

    def __init__(
        self,
        url: str,
        symbols: Sequence[Symbol],
        on_event: Callable[[LiveEvent], None],
        *,
        random: Random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._url = url
        self._symbols = {stock_update(symbol): symbol for symbol in symbols}
        self._on_event = on_event
        self._random = random
        self._sleep = sleep
        self._failures = 0
        self._last: dict[Symbol, StockUpdate] = {}
        #: Messages that were not what the contract says, and were passed over.
        self.not_understood = 0

    async def run(self) -> NoReturn:
        """Connect and reconnect; ends by being cancelled, and then says goodbye to the server."""
        while True:
            self._on_event(LinkChange(state=LinkState.CONNECTING))
            try:
                await self._follow()
            except _LinkError as error:
                reason = str(error)
            self._failures += 1
            delay = BACKOFF.delay(self._failures, self._random)
            self._on_event(LinkChange(state=LinkState.WAITING, reason=reason, retry_in=delay))
            await self._sleep(delay)

    async def _follow(self) -> NoReturn:
        lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        async with aiohttp.ClientSession() as session:
            client = self._client(session, lost)
            try:
                await self._connect(client)
                await self._subscribe(client, lost)
                self._failures = 0
                self._on_event(LinkChange(state=LinkState.LIVE))
                raise _LinkError(await lost)
            finally:
                await _part(client)

    def _client(self, session: aiohttp.ClientSession, lost: asyncio.Future[str]) -> Any:
        def on_disconnect(reason: str = "connection lost") -> None:
            if not lost.done():
                lost.set_result(str(reason))

        client = socketio.AsyncClient(
            # Its own reconnecting knows nothing of subscriptions, and gives up when the server
            # says goodbye, which is what a server does that is about to be restarted.
            reconnection=False,
            handle_sigint=False,
            http_session=session,
            websocket_extra_options={"timeout": aiohttp.ClientWSTimeout(ws_close=_GOODBYE_TIMEOUT)},
        )
        client.on("*", self._receive)
        client.on("disconnect", on_disconnect)
        return client

    async def _connect(self, client: Any) -> None:
        refusals: list[str] = []
        client.on("connect_error", lambda data=None: refusals.append(_reason(data)))
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT):
                await client.connect(self._url, wait_timeout=_ANSWER_TIMEOUT)
        except TimeoutError:
            raise _LinkError("the server does not answer") from None
        except Exception as error:
            # Whatever listens there may answer anything, and the library raises accordingly.
            raise _LinkError(next(filter(None, refusals), str(error))) from error

    async def _subscribe(self, client: Any, lost: asyncio.Future[str]) -> None:
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def on_answer(data: Any = None, *_: Any) -> None:
            if not answer.done():
                answer.set_result(data)

        try:
            await client.emit(SUBSCRIBE, {"events": list(self._symbols)}, callback=on_answer)
        except socketio.exceptions.SocketIOError as error:
            raise _LinkError("connection lost") from error
        await asyncio.wait(
            (answer, lost), timeout=_ANSWER_TIMEOUT, return_when=asyncio.FIRST_COMPLETED
        )
        if lost.done():
            raise _LinkError(lost.result())
        if not answer.done():
            raise _LinkError("the server does not answer")
        self._receive_answer(answer.result())

    def _receive_answer(self, data: Any) -> None:
        if isinstance(data, Mapping) and "code" in data:
            self._receive_error(data)
            return
        answer = self._decode(data, _Answer)
        for refused in answer.rejected if answer else ():
            symbol = self._symbols.get(refused.event)
            self._on_event(Refusal(symbol=symbol, code=refused.code, message=refused.message))

    def _receive(self, event: str, data: Any = None, *_: Any) -> None:
        if event == ERROR:
            self._receive_error(data)
        elif event in self._symbols:
            envelope = self._decode(data, _Envelope)
            if envelope is not None:
                self._receive_update(envelope.payload)

    def _receive_update(self, update: StockUpdate) -> None:
        last = self._last.get(update.symbol)
        if last is not None and last.epoch == update.epoch:
            # A snapshot may repeat what is known: it says that this is still the state.
            newest = last.seq - 1 if update.snapshot else last.seq
            if update.seq <= newest:
                return
        self._last[update.symbol] = update
        self._on_event(update)

    def _receive_error(self, data: Any) -> None:
        error = self._decode(data, ErrorReply)
        if error is None:
            return
        symbols = self._symbols.values()
        symbol = next((symbol for symbol in symbols if symbol == error.symbol), None)
        symbol = symbol or self._symbols.get(error.event or "")
        self._on_event(Refusal(symbol=symbol, code=error.code, message=error.message))

    def _decode(self, data: Any, kind: type[Any]) -> Any:
        try:
            return msgspec.convert(data, kind)
        except msgspec.ValidationError:
            self.not_understood += 1
            return None


def _reason(data: Any) -> str:
    """Return what a ``connect_error`` says, in one line for a person."""
    text = data.get("message", "") if isinstance(data, Mapping) else data
    # aiohttp adds its TLS settings and the same address once more.
    return str(text or "").partition(" ssl:")[0]


async def _part(client: Any) -> None:
    """Say goodbye where there is a connection; cut it off where there is no answer."""
    engine = client.eio
    try:
        async with asyncio.timeout(2 * _GOODBYE_TIMEOUT):
            # An attempt that was cut short has no reader yet whose end could be waited for.
            await engine.disconnect(abort=engine.read_loop_task is None)
    except TimeoutError:
        # The session is closed next, and with it the connection that does not answer.
        return
