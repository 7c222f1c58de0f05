"""How updates reach this node: only those that it watches, in order, none missing, none twice."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from typing import Final

import structlog

from stockstream.clock import wait_until
from stockstream.cluster.canary import Canary
from stockstream.cluster.link import STORE, RedisLink
from stockstream.cluster.missed import read_missed
from stockstream.cluster.quote_log import LoggedState, QuoteLog
from stockstream.cluster.subscriber import Listener, Subscriber, connect
from stockstream.cluster.watch import (
    BusUpdate,
    Phase,
    QuoteReceiver,
    Watch,
    due,
    in_order,
    parse_message,
)
from stockstream.core.backoff import Backoff
from stockstream.errors import StoreUnavailableError
from stockstream.model import Symbol
from stockstream.ports import Clock

log = structlog.get_logger(__name__)

_BACKOFF: Final = Backoff(initial=0.1, maximum=2.0, jitter=0.9)
# Turns of the loop in which it has read what its sockets have.
_TURNS: Final = 3
# Bytes of updates that are held for putting them in order; with more, snapshots take their place.
_HELD_LIMIT: Final = 64 * 2**20


class QuoteBus:
    """One connection of this node that hears what its clients watch.

    A lost connection is replaced; what was missed is read from the log while live messages wait.
    Whether it hears is proved by a canary: a message to itself through Redis, which also says up to
    which offset everything has been heard.

    Args:
        link: the way to Redis.
        node: name of this node.
        log: where missed updates are read from.
        receiver: who takes the updates.
        clock: times canaries and waits.
        random: spreads reconnects.
        canary_interval: seconds between two canaries.
        deaf_after: seconds without a canary after which the connection is replaced.
        held_limit: bytes of updates that wait at most while a gap is closed.
    """

    def __init__(
        self,
        link: RedisLink,
        *,
        node: str,
        log: QuoteLog,
        receiver: QuoteReceiver,
        clock: Clock,
        random: Random,
        canary_interval: float = 1.0,
        deaf_after: float = 3.0,
        held_limit: int = _HELD_LIMIT,
    ) -> None:
        self._link = link
        self._node = node
        self._log = log
        self._receiver = receiver
        self._clock = clock
        self._random = random
        self._canary_interval = canary_interval
        self._deaf_after = deaf_after
        self._held_limit = held_limit
        self._watches: dict[Symbol, Watch] = {}
        self._listeners: dict[str, tuple[Listener, Callable[[], None]]] = {}
        self._subscriber: Subscriber | None = None
        # Channels that Redis has been told to send, and those to be told of at the turn's end.
        self._sent: set[str] = set()
        self._changed: dict[str, None] = {}
        self._unread: dict[Symbol, Watch] = {}
        self._batch: list[BusUpdate] = []
        # Updates that wait until a gap is closed; None where there is none.
        self._held: list[BusUpdate] | None = None
        self._held_bytes = 0
        # Offset up to which this connection has heard everything.
        self._heard = 0
        self._canary = Canary(link, node, clock)
        self._wake = asyncio.Event()
        self._moved = asyncio.Event()
        #: Every update up to this offset has been delivered, of all symbols that are live.
        self.position = 0
        #: Whether the canary is heard and no gap is open; what a node's readiness depends on.
        self.hearing = False
        #: Since when :attr:`hearing` has been what it is, on the monotonic clock.
        self.since = clock.monotonic()
        #: Connections lost or replaced.
        self.losses = 0
        #: Messages with updates that were heard, and those among them that were not ours.
        self.messages = 0
        self.undecodable = 0
        #: Updates that had been missed and were read from the log.
        self.caught_up = 0
        #: Symbols that got a snapshot because what they missed could not be told, or was too much.
        self.gaps = 0

    # --- what is heard ------------------------------------------------------------------------

    def watch(self, symbol: Symbol) -> None:
        """Hear a symbol: first its snapshot, then every update. Watching twice is the same."""
        if symbol not in self._watches:
            self._watches[symbol] = Watch(symbol)
            self._change(self._link.channels.quotes(symbol))

    def unwatch(self, symbol: Symbol) -> None:
        """Hear no more of a symbol, from this moment on."""
        watch = self._watches.pop(symbol, None)
        if watch is None:
            return
        self._unread.pop(symbol, None)
        channel = self._link.channels.quotes(symbol)
        if self._subscriber is not None:
            self._subscriber.unsubscribe(channel)
        self._change(channel)

    def listen(self, channel: str, listener: Listener, subscribed: Callable[[], None]) -> None:
        """Hear another channel, for good; call it before :meth:`run`.

        Args:
            channel: its name.
            listener: takes the content of each message.
            subscribed: called after each connect: what was said before it was missed.
        """
        self._listeners[channel] = (listener, subscribed)

    @property
    def watched(self) -> int:
        """How many symbols are watched."""
        return len(self._watches)

    async def reach(self, offset: int) -> bool:
        """Return whether everything up to an offset is delivered; looks at Redis if need be.

        Raises:
            StoreUnavailableError: the bus is not connected, or does not hear in time.
        """
        if self.position < offset or not self.hearing:
            before = self._canary.heard
            await self._canary.send()
            await self._until(lambda: self._canary.heard > before and self.hearing, "the canary")
        return self.position >= offset

    # --- the loop -----------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep a connection until cancelled."""
        failures = 0
        while True:
            try:
                await self._connect()
                failures = 0
                await self._keep()
            except StoreUnavailableError as error:
                failures += 1
                self.losses += 1
                log.warning("quote_bus_lost", failures=failures, error=str(error))
            finally:
                self._disconnect()
            await self._clock.sleep(_BACKOFF.delay(failures, self._random))

    async def _connect(self) -> None:
        name = f"stockstream-bus-{self._node}"
        self._subscriber = subscriber = await connect(self._link, name, self._read_end)
        self._held = []
        self._held_bytes = 0
        self._heard = 0
        self._canary.begin()
        subscriber.lost.add_done_callback(self._notice)
        for channel, (listener, subscribed) in self._listeners.items():
            subscriber.subscribe(channel, listener, subscribed)
        subscriber.send(self._listeners, ())
        for symbol in self._watches:
            self._changed[self._link.channels.quotes(symbol)] = None
        self._send_changes()
        # Redis answers in order: when the last is confirmed, all are.
        complete = asyncio.Event()
        subscriber.subscribe(self._canary.channel, self._hear_canary, complete.set)
        subscriber.send([self._canary.channel], ())
        await self._until(complete.is_set, "a confirmation")
        await self._catch_up()

    async def _keep(self) -> None:
        due = self._clock.monotonic()
        while True:
            self._wake.clear()
            # Where something held up the loop, what came meanwhile is heard before it is judged.
            for _ in range(_TURNS):
                await self._clock.sleep(0)
            now = self._clock.monotonic()
            if now >= due:
                due = now + self._canary_interval
                await self._canary.send()
            self._check()
            if self._unread:
                await self._read_states()
            await wait_until(self._clock, due, self._wake)

    @property
    def _connection(self) -> Subscriber:
        if self._subscriber is None:
            raise StoreUnavailableError(STORE, "the bus is not connected")
        return self._subscriber

    def _check(self) -> None:
        """Raise where the connection has ended, or is deaf."""
        lost = self._connection.lost
        if lost.done():
            raise lost.result()
        silent = self._canary.silent
        if silent > self._deaf_after:
            raise StoreUnavailableError(STORE, f"no canary was heard for {silent:.1f} s")

    def _disconnect(self) -> None:
        self._set_hearing(hearing=False)
        if self._subscriber is not None:
            self._subscriber.close()
        self._subscriber = None
        self._sent.clear()
        self._changed.clear()
        self._unread.clear()
        for watch in self._watches.values():
            if watch.phase is not Phase.LIVE:
                watch.phase, watch.newest = Phase.ASKED, None

    def _set_hearing(self, *, hearing: bool) -> None:
        if hearing is not self.hearing:
            self.hearing = hearing
            self.since = self._clock.monotonic()

    async def _until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for something that the connection has to bring, for as long as one call may take."""
        lost = self._connection.lost
        try:
            async with asyncio.timeout(self._link.timeout):
                while not condition() and not lost.done():
                    self._moved.clear()
                    await self._moved.wait()
        except TimeoutError as error:
            raise StoreUnavailableError(STORE, f"{what} did not come in time") from error
        if lost.done():
            raise lost.result()

    def _notice(self, _: object) -> None:
        self._moved.set()
        self._wake.set()

    # --- subscriptions ------------------------------------------------------------------------

    def _change(self, channel: str) -> None:
        if self._subscriber is None:
            return
        if not self._changed:
            asyncio.get_running_loop().call_soon(self._send_changes)
        self._changed[channel] = None

    def _send_changes(self) -> None:
        subscriber = self._subscriber
        if subscriber is None:
            return
        wanted: list[str] = []
        unwanted: list[str] = []
        prefix = len(self._link.channels.quotes_prefix)
        for channel in self._changed:
            watch = self._watches.get(Symbol(channel[prefix:]))
            if channel in self._sent:
                unwanted.append(channel)
                self._sent.discard(channel)
            if watch is not None:
                wanted.append(channel)
                self._sent.add(channel)
                subscriber.subscribe(
                    channel, partial(self._hear, watch), partial(self._confirmed, watch)
                )
        self._changed.clear()
        subscriber.send(wanted, unwanted)

    def _confirmed(self, watch: Watch) -> None:
        if watch.phase is Phase.ASKED:
            watch.phase = Phase.CONFIRMED
            self._unread[watch.symbol] = watch
            self._wake.set()

    # --- messages -----------------------------------------------------------------------------

    def _hear(self, watch: Watch, message: bytes) -> None:
        self.messages += 1
        try:
            updates = parse_message(watch.symbol, message)
        except ValueError:
            self.undecodable += 1
            return
        if watch.phase is not Phase.LIVE:
            watch.newest = updates[-1]
        elif self._held is not None:
            self._held += updates
            self._held_bytes += len(message)
        else:
            if updates[0].offset <= watch.offset:
                updates = [update for update in updates if update.offset > watch.offset]
            if updates:
                self._batch += updates
                self._heard = watch.offset = updates[-1].offset

    def _hear_canary(self, message: bytes) -> None:
        try:
            self._heard = max(self._heard, self._canary.hear(message))
        except ValueError:
            self.undecodable += 1

    def _read_end(self) -> None:
        batch, self._batch = self._batch, []
        if self._held is None:
            self.position = max(self.position, self._heard)
        if batch:
            self._receiver.quotes(batch)
        self._moved.set()

    async def _hear_up_to(self, offset: int) -> None:
        """Wait until this connection has heard everything up to an offset that was read."""
        canary, before = self._canary, self._canary.heard
        await canary.send()
        await self._until(lambda: canary.heard > before and self._heard >= offset, "the canary")

    # --- states and gaps ----------------------------------------------------------------------

    async def _read_states(self) -> None:
        """Give each new watch its snapshot."""
        watches = list(self._unread.values())
        try:
            found = await self._log.read([watch.symbol for watch in watches], None)
        except StoreUnavailableError as error:
            log.warning("states_not_read", symbols=len(watches), error=str(error))
            return
        states = [state if isinstance(state, LoggedState) else None for state in found]
        highest = max((state.offset for state in states if state), default=0)
        if highest > self._heard:
            await self._hear_up_to(highest)
        for watch, state in zip(watches, states, strict=True):
            if self._unread.get(watch.symbol) is watch:
                del self._unread[watch.symbol]
                self._receiver.snapshot(watch.symbol, watch.start(state))

    async def _catch_up(self) -> None:
        """Deliver what was missed since the last connection, and what came meanwhile."""
        live = [watch for watch in self._watches.values() if watch.phase is Phase.LIVE]
        missed, lost = await read_missed(
            self._log, live, self.position, room=lambda: self._held_limit - self._held_bytes
        )
        self._give_up(lost)
        await self._hear_up_to(max((update.offset for update in missed), default=0))
        self._end_hold(missed)

    def _give_up(self, watches: Sequence[Watch]) -> None:
        """Have watches start again with a snapshot."""
        # Some have left meanwhile.
        watches = [watch for watch in watches if self._watches.get(watch.symbol) is watch]
        self.gaps += len(watches)
        for watch in watches:
            watch.phase = Phase.CONFIRMED
            self._unread[watch.symbol] = watch

    def _end_hold(self, missed: Sequence[BusUpdate]) -> None:
        held, self._held = self._held or [], None
        updates = list(due(self._watches, in_order(missed, held)))
        self.caught_up += len(missed)
        self.position = max(self.position, self._heard)
        self._set_hearing(hearing=True)
        if updates:
            self._receiver.quotes(updates)
