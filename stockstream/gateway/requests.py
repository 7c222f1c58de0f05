"""What clients ask for (documented, section 3.2), from the decoded payload to the reply."""

import asyncio
from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Any, Final

import structlog

from stockstream.core.subscriptions import Subscriptions
from stockstream.engine import Connection
from stockstream.errors import (
    InvalidSymbolError,
    PermanentProviderError,
    RateLimitedError,
    RefusedError,
    StoreUnavailableError,
    SubscriptionLimitError,
)
from stockstream.gateway.audience import UNTOLD, CatchUp, Member
from stockstream.gateway.client import Client
from stockstream.gateway.document_news import DocumentNews
from stockstream.gateway.fanout import Fanout
from stockstream.model import Position, StockUpdate, Symbol, parse_symbol, parse_timeframe
from stockstream.ports import Clock
from stockstream.services.bar_updates import BarUpdates
from stockstream.services.bars import BarService
from stockstream.services.contract import Streaming
from stockstream.wire import names
from stockstream.wire.names import Channel, parse_channel
from stockstream.wire.replies import (
    Rejected,
    StockData,
    StockDataBody,
    Subscribed,
    Unsubscribed,
    rejected,
)
from stockstream.wire.requests import (
    StockDataRequest,
    SubscribeRequest,
    UnsubscribeRequest,
    decode_request,
)

#: Requests of one client that may be under way at once.
MAX_REQUESTS: Final = 16
#: Seconds that `get_stock_data` waits for the first price of a symbol.
_QUOTE_TIMEOUT: Final = 3.0
#: Missed updates sent to a client in one go, the bytes that may wait for it before the next go,
#: and the seconds between two looks at them.
CHUNK: Final = 100
_ROOM: Final = 100_000
_ROOM_CHECK: Final = 0.05

#: Names whose meaning is remembered. Thousands of clients ask for the same ones, and what they
#: then hold is one string instead of thousands.
_NAMES_REMEMBERED: Final = 10_000

log = structlog.get_logger(__name__)

#: A symbol whose updates are held back for a client, and what it has seen of it.
_Returning = tuple[Symbol, CatchUp, Position]

_channel = lru_cache(_NAMES_REMEMBERED)(parse_channel)


class Requests:
    """Answers the requests of all clients; each costs the work of that client alone."""

    def __init__(
        self,
        *,
        subscriptions: Subscriptions[Client],
        streaming: Streaming,
        bars: BarService,
        bar_updates: BarUpdates,
        fanout: Fanout,
        news: DocumentNews,
        clock: Clock,
    ) -> None:
        self._subscriptions = subscriptions
        self._streaming = streaming
        self._bars = bars
        self._bar_updates = bar_updates
        self._fanout = fanout
        self._news = news
        self._clock = clock
        self._catching_up: set[asyncio.Task[None]] = set()

    def subscribe(self, client: Client, payload: object, *, resumed: bool | None = None) -> Any:
        """Subscribe to events; replies `subscribed`, then a snapshot of each, then live updates.

        It does not wait for anything: between the reply and the snapshot no update can slip in.

        Args:
            client: who asks.
            payload: what for.
            resumed: what the reply says about going on from where the client was.

        Raises:
            RefusedError: the payload as a whole is wrong. Single events are refused in the reply.
        """
        request = decode_request(SubscribeRequest, payload)
        since = _positions(request)
        if since and client.requests >= MAX_REQUESTS:
            raise RateLimitedError(f"at most {MAX_REQUESTS} requests at once")
        accepted, refused = self._accept(client, request.events)
        reply = client.send(
            names.SUBSCRIBED,
            Subscribed(
                events=[c.name for c in accepted], rejected=refused or None, resumed=resumed
            ),
        )
        # One for all its events.
        member = Member(client.connection, client.form, request.max_rate, client.floors)
        returning: list[_Returning] = []
        for channel in accepted:
            self._note(client, channel.name, request.max_rate)
            seen = since.get(channel.name)
            if seen is None or channel.symbol is None or not _is_quote(channel):
                self._join(client, channel, member)
            else:
                catch_up = self._hold(client, channel.name, member)
                returning.append((channel.symbol, catch_up, seen))
        if returning:
            self._start_catching_up(client, returning)
        return reply

    def unsubscribe(self, client: Client, payload: object) -> Any:
        """End subscriptions; replies `unsubscribed`. No update of theirs comes after it.

        Raises:
            RefusedError: the payload as a whole is wrong. Single names are refused in the reply.
        """
        request = decode_request(UnsubscribeRequest, payload)
        left: list[str] = []
        refused: list[Rejected] = []
        for event in request.events:
            try:
                channel = _channel(event)
            except RefusedError as error:
                refused.append(rejected(event, error))
            else:
                self._leave(client, channel)
                left.append(channel.name)
        return client.send(names.UNSUBSCRIBED, Unsubscribed(events=left, rejected=refused or None))

    async def get_stock_data(self, client: Client, payload: object) -> Any:
        """Send bars and the latest quote, then subscribe the client to the symbol's updates.

        Raises:
            RefusedError: nothing was sent, and the client is subscribed to no more than before.
        """
        request = decode_request(StockDataRequest, payload)
        symbol = parse_symbol(request.symbol)
        try:
            return await self._stock_data(client, symbol, request)
        except PermanentProviderError as error:
            raise InvalidSymbolError(f"there are no prices of {symbol}", symbol=symbol) from error
        except RefusedError as error:
            error.symbol = error.symbol or symbol
            raise

    async def _stock_data(self, client: Client, symbol: Symbol, request: StockDataRequest) -> Any:
        timeframe = parse_timeframe(request.timeframe)
        if client.requests >= MAX_REQUESTS:
            raise RateLimitedError(f"at most {MAX_REQUESTS} requests at once")
        # From now on the symbol is wanted: its first price is on the way while bars are read.
        self._streaming.acquire(symbol)
        client.requests += 1
        try:
            waiting = asyncio.create_task(self._streaming.current(symbol, _QUOTE_TIMEOUT))
            try:
                bars = await self._bars.bars(symbol, timeframe, request.limit)
                quote = await waiting
            finally:
                waiting.cancel()
            if client.gone:
                return None
            now = self._clock.time_ms()
            body = StockDataBody(
                symbol=symbol, timeframe=timeframe, data=bars, quote=quote, last_updated=now
            )
            reply = StockData(symbol=symbol, timeframe=timeframe, data=body, timestamp=now)
            answered = client.send(names.STOCK_DATA, reply)
            event = names.stock_update(symbol)
            # At the pace that it asked for before, if it did.
            self.subscribe(client, {"events": [event], "maxRate": client.rates.get(event)})
            return answered
        finally:
            client.requests -= 1
            self._streaming.release(symbol)

    def forget(self, client: Client) -> None:
        """End everything that a client was subscribed to: it is gone."""
        client.gone = True
        for event in self._subscriptions.events_of(client):
            self._leave(client, _channel(event))

    def restrict(self, client: Client) -> None:
        """End the subscriptions that a client may no longer have, and tell it which."""
        events = self._subscriptions.events_of(client)
        ended = [event for event in events if not client.identity.may(_channel(event).role)]
        for event in ended:
            self._leave(client, _channel(event))
        if ended:
            client.send(names.UNSUBSCRIBED, Unsubscribed(events=ended))

    def restore(self, client: Client) -> dict[str, Member]:
        """Subscribe a client that has come back to what it was subscribed to.

        Returns:
            By event, the listeners of quotes that get all of them: they can be told what they
            missed. The client gets nothing yet, not even of the others: see :meth:`join_rest`.

        Raises:
            SubscriptionLimitError: there is no room for it any more.
        """
        members: dict[str, Member] = {}
        member = Member(client.connection, client.form, None, client.floors)
        for event in client.floors:
            channel = _channel(event)
            self._want(client, channel)
            if _is_quote(channel) and event not in client.rates:
                members[event] = member
        return members

    def join_rest(self, client: Client, fresh: Collection[str]) -> None:
        """Let a client that has come back have what it was not told of.

        Those are bars and measurements, quotes at its own pace, and ``fresh``: quotes of which it
        may not have seen the snapshot.
        """
        for event in client.floors:
            channel = _channel(event)
            rate = client.rates.get(event)
            if event in fresh or rate is not None or not _is_quote(channel):
                member = Member(client.connection, client.form, rate, client.floors)
                self._join(client, channel, member)

    async def aclose(self) -> None:
        """Give up what is still being read for returning clients."""
        tasks = list(self._catching_up)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _accept(
        self, client: Client, events: Sequence[str]
    ) -> tuple[list[Channel], list[Rejected]]:
        accepted: dict[str, Channel] = {}
        refused: list[Rejected] = []
        for event in events:
            try:
                channel = _channel(event)
                names.permit(channel, client.identity)
                self._want(client, channel)
            except RefusedError as error:
                refused.append(rejected(event, error))
            else:
                accepted[channel.name] = channel
        return list(accepted.values()), refused

    def _note(self, client: Client, event: str, rate: float | None) -> None:
        """Note what matters should the client come back: how it is about to be told what."""
        client.floors[event] = UNTOLD
        client.histories -= {event}
        if rate is None:
            client.rates.pop(event, None)
        else:
            client.rates[event] = rate

    def _join(self, client: Client, channel: Channel, member: Member) -> None:
        if channel.name == names.DOCUMENT_CHANGED:
            # Of its own user's only.
            self._news.join(client)
        elif channel.symbol is None or not _is_quote(channel):
            self._fanout.join(channel.name, member)
        else:
            self._fanout.join_waiting(channel.name, member)
            self._settle(channel.symbol)

    def _hold(self, client: Client, event: str, member: Member) -> CatchUp:
        # From here on nothing is missed: what is published is held back until the rest is sent.
        client.histories |= {event}
        return self._fanout.hold(event, member)

    def _start_catching_up(self, client: Client, returning: Sequence[_Returning]) -> None:
        # One task for all of them: a crowd that comes back must not ask the store for everything
        # at once.
        client.requests += 1
        task = asyncio.create_task(self._catch_up_all(client, returning))
        self._catching_up.add(task)
        task.add_done_callback(self._catching_up.discard)

    async def _catch_up_all(self, client: Client, returning: Sequence[_Returning]) -> None:
        try:
            store_answers = True
            for symbol, catch_up, since in returning:
                missed: Sequence[StockUpdate] | None = None
                # It may have left, or begun anew, while the others were read.
                if store_answers and self._fanout.is_held(names.stock_update(symbol), catch_up):
                    try:
                        missed = await self._streaming.missed(symbol, since)
                    except StoreUnavailableError as error:
                        # Who waits for it once for each symbol would wait for minutes.
                        store_answers = False
                        log.warning("missed_updates_not_read", symbol=symbol, error=str(error))
                    except Exception:
                        # The border of the task: whoever waits must not wait for ever.
                        store_answers = False
                        log.exception("missed_updates_not_read", symbol=symbol)
                await self._catch_up(client, symbol, catch_up, missed, since)
        finally:
            client.requests -= 1

    async def _catch_up(
        self,
        client: Client,
        symbol: Symbol,
        catch_up: CatchUp,
        missed: Sequence[StockUpdate] | None,
        since: Position,
    ) -> None:
        event = names.stock_update(symbol)
        position: Position | None = since
        for start in range(0, len(missed or ()), CHUNK):
            chunk = (missed or ())[start : start + CHUNK]
            await self.room(catch_up.connection)
            if not self._fanout.send_missed(event, catch_up, chunk):
                return
            position = chunk[-1].position
        position = None if missed is None else position
        if self._fanout.resume(event, catch_up, position):
            client.histories -= {event}
            self._settle(symbol)

    async def room(self, connection: Connection) -> None:
        """Wait until a client has read most of what it was sent.

        The engine ends one that never does.
        """
        while connection.open and connection.unread_bytes > _ROOM:
            await self._clock.sleep(_ROOM_CHECK)

    def _settle(self, symbol: Symbol) -> None:
        snapshot = self._streaming.snapshot(symbol)
        if snapshot is not None:
            self._fanout.begin(snapshot)

    def _leave(self, client: Client, channel: Channel) -> None:
        client.floors.pop(channel.name, None)
        client.rates.pop(channel.name, None)
        client.histories -= {channel.name}
        if self._subscriptions.remove(client, channel.name):
            if channel.name == names.DOCUMENT_CHANGED:
                self._news.leave(client)
            else:
                self._fanout.leave(channel.name, client.connection)
            self._release(channel)

    def _want(self, client: Client, channel: Channel) -> None:
        if not self._subscriptions.add(client, channel.name):
            return
        try:
            self._acquire(channel)
        except SubscriptionLimitError:
            self._subscriptions.remove(client, channel.name)
            raise

    def _acquire(self, channel: Channel) -> None:
        if channel.symbol is not None:
            self._streaming.acquire(channel.symbol)
            if channel.timeframe is not None:
                self._bar_updates.acquire(channel.symbol, channel.timeframe)

    def _release(self, channel: Channel) -> None:
        if channel.symbol is not None:
            self._streaming.release(channel.symbol)
            if channel.timeframe is not None:
                self._bar_updates.release(channel.symbol, channel.timeframe)


def _positions(request: SubscribeRequest) -> dict[str, Position]:
    """Return what the client has seen, by canonical names."""
    positions: dict[str, Position] = {}
    events = set(request.events)
    for event, seen in request.since.items():
        try:
            positions[_channel(event).name] = seen
        except RefusedError:
            # Where it is to be subscribed to as well, that is refused in the reply.
            if event not in events:
                raise
    return positions


def _is_quote(channel: Channel) -> bool:
    return channel.symbol is not None and channel.timeframe is None
