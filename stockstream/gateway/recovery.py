"""Socket.IO's connection state recovery: who comes back goes on as if it had never been away.

A JavaScript client (4.6 or newer) does its part by itself: it remembers the private id (`pid`) of
its session and the mark of the last event that it got, and sends both when it connects again.
See https://socket.io/docs/v4/connection-state-recovery.

The mark belongs to the update and not to the client, so a frame is still encoded once for all: it
says where the update stands in the one order of all symbols. What a client was subscribed to and
what stands before it, the client has.
"""

import asyncio
from collections.abc import Mapping, Sequence
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
from stockstream.gateway.lost_sessions import LostSession, LostSessions
from stockstream.gateway.requests import CHUNK, Requests
from stockstream.model import StockUpdate, Symbol
from stockstream.model.identity import Identity
from stockstream.ports import Clock
from stockstream.services.contract import Streaming
from stockstream.wire.names import parse_channel
from stockstream.wire.packets import WireForm

log = structlog.get_logger(__name__)

#: Floor of an event whose beginning the client has got: it is below every offset.
_TOLD: Final = -1


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
        secret: bytes,
        lost: LostSessions,
        requests: Requests,
        streaming: Streaming,
        fanout: Fanout,
        clock: Clock,
        shared: bool = False,
    ) -> None:
        """Give back nothing yet.

        Args:
            secret: what private ids are made with; empty: no session is given back.
            lost: where those of clients that are gone are kept.
            requests: answers what clients ask for.
            streaming: where updates come from.
            fanout: where they go.
            clock: the time.
            shared: whether marks may come from other nodes.
        """
        #: See above; may change while no client has a private id.
        self.secret = secret
        self.lost = lost
        self._shared = shared
        self._requests = requests
        self._streaming = streaming
        self._fanout = fanout
        self._clock = clock
        #: Sessions given back, and sessions asked for that could not be.
        self.recovered = 0
        self.refused = 0

    @property
    def waiting(self) -> int:
        """Clients that may come back."""
        return self.lost.waiting

    def pid_of(self, sid: str) -> str:
        """Return the private id of a session; empty where sessions are not given back."""
        if not self.secret:
            return ""
        return f"{sid}.{blake2b(sid.encode(), key=self.secret, digest_size=16).hexdigest()}"

    def sid_of(self, pid: str) -> str | None:
        """Return the session that a private id stands for, None where it is forged."""
        sid = pid.partition(".")[0]
        valid = self.secret and compare_digest(self.pid_of(sid).encode(), pid.encode())
        return sid if valid else None

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
        offset = self._fanout.marks.read(mark)
        lost = await self._take(sid, form, identity.user)
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
        self.lost.begin(client)
        return await self._give_back(client, offset)

    async def go_on(self, client: Client, mark: str) -> Return | None:
        """Let a client without a session go on after a mark of a stream of the same events.

        Args:
            client: a new one. Its ``floors`` name what it listens to, its ``rates`` at which pace.
            mark: of the last event that it got.

        Returns:
            As :meth:`recover` does.
        """
        offset = self._fanout.marks.read(mark) if self._fanout.marks.now() else None
        if offset is None:
            self.refused += 1
            return None
        for event in client.floors:
            channel = parse_channel(event)
            quote = channel.symbol is not None and channel.timeframe is None
            told = quote and self._fanout.marks.told_before(event, offset)
            # What another node told it, and when, is not known here.
            unknown = offset if quote and self._shared else UNTOLD
            client.floors[event] = _TOLD if told and not self._shared else unknown
        return await self._give_back(client, offset)

    async def _give_back(self, client: Client, offset: int) -> Return | None:
        back: Return | None = None
        try:
            back = await self._collect(client, offset)
        except (RefusedError, StoreUnavailableError) as error:
            log.info("session_not_recovered", client=client.id, error=str(error))
        finally:
            if back is None:
                self.lost.forget(client)
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

    async def _take(self, sid: str, form: WireForm, user: str) -> LostSession | None:
        try:
            return await self.lost.take(sid, form, user)
        except StoreUnavailableError as error:
            log.info("session_not_found", client=sid, error=str(error))
            return None

    async def _collect(self, client: Client, offset: int) -> Return | None:
        if not self._has_gone_on(client):
            return None
        members = self._requests.restore(client)
        catch_up = self._fanout.hold_all(members) if members else None
        symbols = {event: symbol for event in members if (symbol := parse_channel(event).symbol)}
        if not await self._streaming.ready(symbols.values(), offset):
            return None
        # What was published up to here is read, what is published from here on is held back.
        newest = self._streaming.offset
        if catch_up is not None:
            catch_up.start()
        missed: list[StockUpdate] = []
        found = await self._read(client, symbols, offset)
        for event in members:
            updates = found[event]
            if updates is None:
                return None
            updates = [update for update in updates if update.offset <= newest]
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

    async def _read(
        self, client: Client, symbols: Mapping[str, Symbol], offset: int
    ) -> Mapping[str, Sequence[StockUpdate] | None]:
        """Return by event what a client missed; None where that can't be told."""
        untold: dict[str, Sequence[StockUpdate] | None] = {}
        offsets: dict[Symbol, int] = {}
        for event, symbol in symbols.items():
            floor = client.floors[event]
            if offset <= floor and event in client.histories:
                # A snapshot can't make up for a part of them.
                return dict.fromkeys(symbols)
            if floor == UNTOLD:
                untold[event] = ()
            else:
                offsets[symbol] = max(offset, floor)
        found = await self._streaming.beyond(offsets)
        return untold | {event: found[s] for event, s in symbols.items() if s in offsets}
