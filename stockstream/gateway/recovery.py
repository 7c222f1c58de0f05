"""Socket.IO's connection state recovery: who comes back goes on as if it had never been away.

A JavaScript client (4.6 or newer) does its part by itself: it remembers the private id (`pid`) of
its session and the mark of the last event that it got, and sends both when it connects again.
See https://socket.io/docs/v4/connection-state-recovery.

The mark belongs to the update and not to the client, so a frame is still encoded once for all: it
says where the update stands in the one order of all symbols. What a client was subscribed to and
what stands before it, the client has.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from hmac import compare_digest
from typing import Final

import structlog

from stockstream.engine import Connection
from stockstream.errors import RefusedError, StoreUnavailableError
from stockstream.gateway.audience import UNTOLD, CatchUp
from stockstream.gateway.client import Client
from stockstream.gateway.fanout import Fanout
from stockstream.gateway.requests import CHUNK, Requests
from stockstream.model import StockUpdate
from stockstream.model.identity import Identity
from stockstream.ports import Clock
from stockstream.services.streaming import StreamingService
from stockstream.wire.names import parse_channel
from stockstream.wire.packets import WireForm

log = structlog.get_logger(__name__)

#: Floor of an event whose beginning the client has got: it is below every offset.
_TOLD: Final = -1

#: Clients that are gone and may come back, at most, and what they are subscribed to, all of them
#: together; the oldest give way.
KEPT: Final = 20_000
KEPT_SUBSCRIPTIONS: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lost:
    """The session of a client that is gone, and may come back."""

    id: str
    form: WireForm
    connected_at: int
    #: Whose it is: nobody else gets it.
    user: str
    floors: dict[str, int]
    rates: dict[str, float]
    histories: frozenset[str]
    #: Until when, on the monotonic clock.
    until: float


@dataclass(slots=True, kw_only=True)
class Return:
    """A client that is coming back: what it missed, and what is held back for it meanwhile."""

    client: Client
    #: None where it was subscribed to no quotes.
    catch_up: CatchUp | None
    #: In order of ``offset``.
    missed: list[StockUpdate]


class Recovery:
    """Remembers clients that are gone, for a while, and gives them their sessions back.

    A session is given back whole or not at all: where a gap is possible the client gets a new one,
    and hears that it does (`socket.recovered` is false).
    """

    def __init__(
        self,
        *,
        window: float,
        secret: bytes,
        requests: Requests,
        streaming: StreamingService,
        fanout: Fanout,
        clock: Clock,
    ) -> None:
        """Remember nobody yet.

        Args:
            window: seconds that a client may stay away; 0: no session is given back.
            secret: what private ids are made with.
            requests: answers what clients ask for.
            streaming: where updates come from.
            fanout: where they go.
            clock: the time.
        """
        self._window = window
        self._secret = secret
        self._requests = requests
        self._streaming = streaming
        self._fanout = fanout
        self._clock = clock
        #: The one that is gone for the longest time first.
        self._lost: OrderedDict[str, _Lost] = OrderedDict()
        self._subscriptions = 0
        #: Sessions given back, and sessions asked for that could not be.
        self.recovered = 0
        self.refused = 0

    @property
    def waiting(self) -> int:
        """Clients that may come back."""
        self._tidy()
        return len(self._lost)

    def pid_of(self, sid: str) -> str:
        """Return the private id of a session; empty where sessions are not given back."""
        if not self._window:
            return ""
        return f"{sid}.{blake2b(sid.encode(), key=self._secret, digest_size=16).hexdigest()}"

    def sid_of(self, pid: str) -> str | None:
        """Return the session that a private id stands for, None where it is forged."""
        sid = pid.partition(".")[0]
        return sid if compare_digest(self.pid_of(sid).encode(), pid.encode()) else None

    def remember(self, client: Client) -> None:
        """Keep the session of a client whose connection broke."""
        if not self._window:
            return
        self._forget(client.id)
        self._lost[client.id] = _Lost(
            id=client.id,
            form=client.form,
            connected_at=client.connected_at,
            user=client.identity.user,
            floors=dict(client.floors),
            rates=dict(client.rates),
            histories=client.histories,
            until=self._clock.monotonic() + self._window,
        )
        self._subscriptions += len(client.floors)
        self._tidy()

    async def recover(
        self, sid: str, connection: Connection, form: WireForm, mark: str, identity: Identity
    ) -> Return | None:
        """Give a session back to a client that has connected again.

        The client is subscribed from now on, but gets nothing before :meth:`resume`.

        Args:
            sid: the session, as its private id says.
            connection: the client's new connection.
            form: how its packets are encoded.
            mark: of the last event that it got.
            identity: who has connected.

        Returns:
            What it missed, or None where the session can't be given back whole.
        """
        offset = self._fanout.offset_of(mark)
        lost = self._take(sid, form, identity.user)
        if lost is None or offset is None:
            self.refused += 1
            return None
        client = Client(lost.id, connection, form, lost.connected_at, identity)
        # It may have lost a role meanwhile.
        client.floors = {
            event: floor
            for event, floor in lost.floors.items()
            if identity.may(parse_channel(event).role)
        }
        client.rates = lost.rates
        client.histories = lost.histories
        client.resuming = asyncio.Event()
        return await self._give_back(client, offset)

    async def go_on(self, client: Client, mark: str) -> Return | None:
        """Let a client without a session go on after a mark of a stream of the same events.

        Args:
            client: a new one. Its ``floors`` name what it listens to, its ``rates`` at which pace.
            mark: of the last event that it got.

        Returns:
            As :meth:`recover` does.
        """
        offset = self._fanout.offset_of(mark) if self._fanout.mark() else None
        if offset is None:
            self.refused += 1
            return None
        for event in client.floors:
            channel = parse_channel(event)
            quote = channel.symbol is not None and channel.timeframe is None
            told = quote and self._fanout.told_before(event, offset)
            client.floors[event] = _TOLD if told else UNTOLD
        return await self._give_back(client, offset)

    async def _give_back(self, client: Client, offset: int) -> Return | None:
        back: Return | None = None
        try:
            back = await self._collect(client, offset)
        except (RefusedError, StoreUnavailableError) as error:
            log.info("session_not_recovered", client=client.id, error=str(error))
        finally:
            if back is None:
                self._requests.forget(client)
                self.refused += 1
            else:
                self.recovered += 1
        return back

    async def resume(self, back: Return) -> None:
        """Send a client what it missed, in portions as it reads, and let it have what follows."""
        client, catch_up = back.client, back.catch_up
        try:
            if catch_up is not None:
                await self._send_missed(catch_up, back.missed)
            if catch_up is None or self._fanout.resume_all(catch_up):
                self._requests.join_rest(client, catch_up.fresh if catch_up else ())
            else:
                # It comes back once more, and goes on from where it is by then.
                client.connection.close("transport error")
        finally:
            client.has_resumed()

    async def _send_missed(self, catch_up: CatchUp, missed: Sequence[StockUpdate]) -> None:
        for start in range(0, len(missed), CHUNK):
            # Others have their turn, however fast this one reads.
            await asyncio.sleep(0)
            await self._requests.room(catch_up.connection)
            self._fanout.send_recovered(catch_up, missed[start : start + CHUNK])

    def _tidy(self) -> None:
        now = self._clock.monotonic()
        while self._lost and (
            len(self._lost) > KEPT
            or self._subscriptions > KEPT_SUBSCRIPTIONS
            or next(iter(self._lost.values())).until < now
        ):
            self._forget(next(iter(self._lost)))

    def _forget(self, sid: str) -> _Lost | None:
        lost = self._lost.pop(sid, None)
        if lost is not None:
            self._subscriptions -= len(lost.floors)
        return lost

    def _take(self, sid: str, form: WireForm, user: str) -> _Lost | None:
        found = self._lost.get(sid)
        if found is not None and found.user != user:
            # Its owner may still come back to it.
            return None
        lost = self._forget(sid)
        if lost is None or lost.until < self._clock.monotonic() or lost.form is not form:
            return None
        return lost

    async def _collect(self, client: Client, offset: int) -> Return | None:
        if not self._has_gone_on(client):
            return None
        members = self._requests.restore(client)
        catch_up = self._fanout.hold_all(members) if members else None
        # What is published while the rest is read is both read and held back.
        newest = self._streaming.offset
        missed: list[StockUpdate] = []
        for event in members:
            updates = await self._missed(client, event, offset, newest)
            if updates is None:
                return None
            if catch_up is not None and offset <= client.floors[event]:
                # Nothing proves that what it was told at the beginning has reached it.
                catch_up.fresh.add(event)
                client.floors[event] = updates[0].offset - 1 if updates else newest
            missed += updates
        missed.sort(key=lambda update: update.offset)
        return Return(client=client, catch_up=catch_up, missed=missed)

    def _has_gone_on(self, client: Client) -> bool:
        """Return whether all that it was told of can still be followed from there."""
        told = [event for event, floor in client.floors.items() if floor != UNTOLD]
        symbols = [parse_channel(event).symbol for event in told]
        return all(symbol is None or self._streaming.remembers(symbol) for symbol in symbols)

    async def _missed(
        self, client: Client, event: str, offset: int, newest: int
    ) -> Sequence[StockUpdate] | None:
        floor = client.floors[event]
        if offset <= floor and event in client.histories:
            # A snapshot can't make up for a part of them.
            return None
        symbol = parse_channel(event).symbol
        if floor == UNTOLD or symbol is None:
            return ()
        updates = await self._streaming.beyond(symbol, max(offset, floor))
        return None if updates is None else [u for u in updates if u.offset <= newest]
