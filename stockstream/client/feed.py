"""Keeps the server's subscriptions as the program's streams want them, and hands out events."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import msgspec

from stockstream.client.connection import Connection
from stockstream.client.interest import Interest
from stockstream.client.packets import Event
from stockstream.client.refusals import raise_where_refused, refusal
from stockstream.client.streams import RAW, Kind, Stream, kind_of
from stockstream.errors import RefusedError, StockstreamError, UnknownEventError
from stockstream.model import StockUpdate
from stockstream.wire import names
from stockstream.wire.replies import ErrorReply, Rejected
from stockstream.wire.requests import MAX_NAMES


class _Envelope(msgspec.Struct, frozen=True):
    payload: Any


class _Subscribed(msgspec.Struct, frozen=True):
    rejected: Sequence[Rejected] = ()


class Feed:
    """Subscriptions over whatever connection there is.

    Args:
        on_refusal: told of each event that the server refuses to send.
        backoff: returns the seconds to wait after so many failures in a row.
    """

    def __init__(
        self,
        *,
        on_refusal: Callable[[ErrorReply], None],
        backoff: Callable[[int], float],
    ) -> None:
        self._on_refusal = on_refusal
        self._backoff = backoff
        self.interest = Interest()
        self._kinds: dict[str, Kind[Any]] = {}
        self._streams: dict[str, list[Stream[Any]]] = {}
        self._changed = asyncio.Event()
        self._ended: StockstreamError | None = None
        self._closed = False
        #: Events that were not what the contract says, and were passed over.
        self.not_understood = 0

    def want(self, events: Iterable[str]) -> None:
        """Have the server send events, whether or not a stream takes them."""
        for event in events:
            self._kinds[event] = _kind(event)
            self.interest.want([event])
        self._changed.set()

    def release(self, events: Iterable[str]) -> None:
        """Undo one :meth:`want` of each event."""
        self.interest.release(events)
        self._changed.set()

    def join(self, stream: Stream[Any]) -> None:
        """Let a stream have its events; what is known of them already comes first."""
        if self._closed:
            stream.inbox.close(self._ended)
            return
        self.want(stream.events)
        for event in stream.events:
            self._streams.setdefault(event, []).append(stream)
            last = self.interest.last.get(event)
            if last is not None:
                stream.take(event, msgspec.structs.replace(last, snapshot=True))

    def leave(self, stream: Stream[Any]) -> None:
        """Let a stream have nothing more."""
        if stream not in self._streams.get(stream.events[0], ()):
            return
        for event in stream.events:
            self._streams[event].remove(stream)
            if not self._streams[event]:
                del self._streams[event]
        self.release(stream.events)

    def close(self, error: StockstreamError | None) -> None:
        """End all streams, and those to come: quietly, or with an error."""
        self._closed = True
        self._ended = error
        for stream in self._all_streams():
            stream.inbox.close(error)

    def reopen(self) -> None:
        """Allow streams again."""
        self._closed = False
        self._ended = None

    def receive(self, event: Event) -> None:
        """Hand out an event of the server."""
        kind = self._kinds.get(event.name)
        if kind is None or kind is RAW or not self.interest.is_wanted(event.name):
            # Something else, or on its way while it was being unsubscribed.
            return
        try:
            value = msgspec.convert(msgspec.convert(event.payload, _Envelope).payload, kind.type)
        except msgspec.ValidationError:
            self.not_understood += 1
            return
        if isinstance(value, StockUpdate) and not self.interest.is_news(event.name, value):
            return
        for stream in self._streams.get(event.name, ()):
            stream.take(event.name, value)

    def is_raw(self, event: str) -> bool:
        """Whether it is wanted, and no stream knows what it carries."""
        return self._kinds.get(event) is RAW and self.interest.is_wanted(event)

    def note_sent(self, event: str) -> None:
        """Take note of an event that the server sends without having been asked for it."""
        if not self.interest.is_wanted(event):
            self.interest.hold(event)
            self._changed.set()

    async def keep(self, connection: Connection) -> None:
        """Subscribe and unsubscribe over a connection for as long as it lasts.

        Raises:
            LostError: it is lost.
        """
        self.interest.disconnected()
        failures = 0
        while True:
            self._changed.clear()
            try:
                await self._settle(connection)
                failures = 0
            except RefusedError:
                # The server has said so in an event of its own; it is asked again.
                failures += 1
                await asyncio.sleep(self._backoff(failures))
            else:
                await self._changed.wait()

    async def _settle(self, connection: Connection) -> None:
        for surplus in _chunks(self.interest.surplus()):
            self.interest.drop(surplus)
            await connection.call(names.UNSUBSCRIBE, {"events": surplus})
        for missing in _chunks(self.interest.missing()):
            await self._subscribe(connection, missing)

    async def _subscribe(self, connection: Connection, events: list[str]) -> None:
        since = self.interest.since(events)
        request = {"events": events, "since": since} if since else {"events": events}
        for event in events:
            # From now on its updates may come.
            self.interest.hold(event)
        answer = await connection.call(names.SUBSCRIBE, request)
        try:
            raise_where_refused(answer)
            rejected = msgspec.convert(answer, _Subscribed).rejected
        except RefusedError as error:
            self._refused_as_a_whole(events, error)
            return
        except msgspec.ValidationError:
            self.not_understood += 1
            return
        for each in rejected:
            symbol = _symbol(each.event)
            self._refuse(each.event, refusal(each.code, each.message, symbol, each.event))
            self._on_refusal(
                ErrorReply(
                    type=f"{names.SUBSCRIBE}_error",
                    code=each.code,
                    message=each.message,
                    symbol=symbol,
                    event=each.event,
                )
            )

    def _refused_as_a_whole(self, events: list[str], error: RefusedError) -> None:
        if error.retryable:
            for event in events:
                self.interest.unhold(event)
            raise error
        for event in events:
            self._refuse(event, error)

    def _refuse(self, event: str, error: RefusedError) -> None:
        self.interest.refuse(event)
        for stream in tuple(self._streams.get(event, ())):
            stream.refuse(event, error)

    def _all_streams(self) -> Iterator[Stream[Any]]:
        for streams in tuple(self._streams.values()):
            yield from streams


def _kind(event: str) -> Kind[Any]:
    try:
        return kind_of(names.parse_channel(event))
    except UnknownEventError:
        # Servers may have events that this version knows nothing of.
        return RAW


def _symbol(event: str) -> str | None:
    try:
        return names.parse_channel(event).symbol
    except RefusedError:
        return None


def _chunks(events: Sequence[str]) -> Iterator[list[str]]:
    for start in range(0, len(events), MAX_NAMES):
        yield list(events[start : start + MAX_NAMES])
