"""Socket.IO's connection state recovery: who comes back goes on as if it had never been away.

A JavaScript client (4.6 or newer) does its part by itself: it remembers the private id (`pid`) of
its session and the mark of the last event that it got, and sends both when it connects again.
See https://socket.io/docs/v4/connection-state-recovery.

The mark belongs to the update and not to the client, so a frame is still encoded once for all: it
says where the update stands in the one order of all symbols. What a client was subscribed to and
what stands before it, the client has.
"""

from collections import OrderedDict
from dataclasses import dataclass
from hashlib import blake2b
from hmac import compare_digest
from typing import Final

import structlog

from stockstream.engine import Connection
from stockstream.errors import RefusedError, StoreUnavailableError
from stockstream.gateway.audience import CatchUp
from stockstream.gateway.client import Client
from stockstream.gateway.fanout import Fanout
from stockstream.gateway.requests import CHUNK, Requests
from stockstream.model import StockUpdate
from stockstream.ports import Clock
from stockstream.services.streaming import StreamingService
from stockstream.wire.names import parse_channel
from stockstream.wire.packets import WireForm

log = structlog.get_logger(__name__)

#: Clients that are gone and may come back, at most; the oldest give way.
_KEPT: Final = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lost:
    """The session of a client that is gone, and may come back."""

    id: str
    form: WireForm
    connected_at: int
    floors: dict[str, int | None]
    rates: dict[str, float]
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
    #: Events of which it gets a snapshot.
    fresh: list[str]
    #: Everything up to here is in ``missed``, or the client had it.
    offset: int


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
        self._lost: OrderedDict[str, _Lost] = OrderedDict()
        #: Sessions given back, and sessions asked for that could not be.
        self.recovered = 0
        self.refused = 0

    @property
    def waiting(self) -> int:
        """Clients that may come back."""
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
        now = self._clock.monotonic()
        self._lost[client.id] = _Lost(
            id=client.id,
            form=client.form,
            connected_at=client.connected_at,
            floors=dict(client.floors),
            rates=dict(client.rates),
            until=now + self._window,
        )
        self._lost.move_to_end(client.id)
        while self._lost and (
            len(self._lost) > _KEPT or next(iter(self._lost.values())).until < now
        ):
            self._lost.popitem(last=False)

    async def recover(
        self, sid: str, connection: Connection, form: WireForm, mark: str
    ) -> Return | None:
        """Give a session back to a client that has connected again.

        The client is subscribed from now on, but gets nothing before :meth:`resume`.

        Args:
            sid: the session, as its private id says.
            connection: the client's new connection.
            form: how its packets are encoded.
            mark: of the last event that it got.

        Returns:
            What it missed, or None where the session can't be given back whole.
        """
        offset = self._fanout.offset_of(mark)
        lost = self._take(sid, form)
        if lost is None or offset is None:
            self.refused += 1
            return None
        client = Client(lost.id, connection, form, lost.connected_at)
        client.floors, client.rates = lost.floors, lost.rates
        try:
            back = await self._collect(client, offset)
        except (RefusedError, StoreUnavailableError) as error:
            log.info("session_not_recovered", client=client.id, error=str(error))
            back = None
        if back is None:
            self._requests.forget(client)
            self.refused += 1
            return None
        self.recovered += 1
        return back

    async def resume(self, back: Return) -> None:
        """Send a client what it missed, in portions as it reads, and let it have what follows."""
        client, offset = back.client, back.offset
        for start in range(0, len(back.missed), CHUNK):
            await self._requests.room(client.connection)
            chunk = back.missed[start : start + CHUNK]
            if back.catch_up is not None:
                self._fanout.send_recovered(back.catch_up, chunk)
            offset = chunk[-1].offset
        if back.catch_up is not None and not self._fanout.resume_all(back.catch_up, offset):
            # It comes back once more, and goes on from where it is by then.
            client.connection.close("transport error")
            return
        self._requests.join_rest(client, back.fresh)

    def _take(self, sid: str, form: WireForm) -> _Lost | None:
        lost = self._lost.pop(sid, None)
        if lost is None or lost.until < self._clock.monotonic() or lost.form is not form:
            return None
        return lost

    async def _collect(self, client: Client, offset: int) -> Return | None:
        members = self._requests.restore(client)
        catch_up = self._fanout.hold_all(members) if members else None
        newest = self._streaming.offset
        missed: list[StockUpdate] = []
        fresh: list[str] = []
        for event in members:
            floor = client.floors[event]
            symbol = parse_channel(event).symbol
            if floor is None or symbol is None:
                return None
            updates = await self._streaming.beyond(symbol, max(offset, floor))
            if updates is None:
                return None
            missed += updates
            if offset <= floor and not updates:
                # Nothing proves that its snapshot has reached it.
                fresh.append(event)
        missed.sort(key=lambda update: update.offset)
        # What was published while this was read is both read and held back.
        return Return(
            client=client,
            catch_up=catch_up,
            missed=[update for update in missed if update.offset <= newest],
            fresh=fresh,
            offset=newest,
        )
