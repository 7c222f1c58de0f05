"""The sessions of this node's clients where other nodes find them, also after a sudden death.

Nothing can be saved by a node that is killed, so each session is saved ahead, a moment after it has
changed, many in one step. A client that comes back to any node is given what was saved last.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from hashlib import blake2b
from itertools import islice
from random import Random
from typing import Any, Final

import msgspec
import structlog

from stockstream.clock import wait_until
from stockstream.cluster.outflow import keep_sending
from stockstream.cluster.session_store import STEP_SIZE, SavedSession, SessionStore
from stockstream.core.backoff import Backoff
from stockstream.errors import StoreUnavailableError
from stockstream.gateway.client import Client
from stockstream.gateway.lost_sessions import KEPT, LostSession, session_of
from stockstream.ports import Clock
from stockstream.wire.packets import WireForm

log = structlog.get_logger(__name__)

_BACKOFF: Final = Backoff(initial=0.1, maximum=2.0, jitter=0.9)
#: Seconds that changes of sessions are gathered: a client that subscribes does so several times.
_GATHERED: Final = 0.002
#: Seconds that the node's end waits for sessions to be saved.
_END: Final = 1.0
_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(LostSession)


class Floors(dict[str, int]):
    """The floors of a client, which is saved whenever one of them changes."""

    __slots__ = ("_changed",)

    def __init__(self, floors: dict[str, int], changed: Callable[[], None]) -> None:
        super().__init__(floors)
        self._changed = changed

    def __setitem__(self, event: str, floor: int) -> None:
        super().__setitem__(event, floor)
        self._changed()

    def pop(self, event: str, *default: Any) -> Any:
        """Remove a floor."""
        self._changed()
        return super().pop(event, *default)


class SharedSessions:
    """Implements :class:`stockstream.gateway.lost_sessions.LostSessions` for one of many nodes.

    Args:
        store: where sessions are saved.
        window: seconds that a client may stay away; 0: no session is given back.
        clock: the time.
        random: spreads what is tried again.
        drop: cuts the connection of a client that has gone on to another node.
    """

    def __init__(
        self,
        store: SessionStore,
        *,
        window: float,
        clock: Clock,
        random: Random,
        drop: Callable[[str], Awaitable[None]],
    ) -> None:
        self._store = store
        self._window = window
        self._clock = clock
        self._random = random
        self._drop = drop
        self._clients: dict[str, Client] = {}
        #: What is to be saved: a client as it will be then, or what it was at its end.
        self._unsaved: OrderedDict[str, Client | SavedSession] = OrderedDict()
        #: Until when those who are gone may come back, on the monotonic clock, in this order.
        self._gone: OrderedDict[str, float] = OrderedDict()
        self._wake = asyncio.Event()
        self._saving = asyncio.Lock()
        self._dropping: set[asyncio.Task[None]] = set()
        #: Sessions saved, and those given up because too many waited.
        self.saved = 0
        self.shed = 0
        #: Clients of this node that another node has taken over.
        self.taken = 0

    @property
    def waiting(self) -> int:
        """Clients whose connection to this node broke within the window."""
        now = self._clock.monotonic()
        while self._gone and next(iter(self._gone.values())) < now:
            self._gone.popitem(last=False)
        return len(self._gone)

    @property
    def unsaved(self) -> int:
        """Sessions that are to be saved."""
        return len(self._unsaved)

    @property
    def refused(self) -> int:
        """Sessions that were not saved because another node has them."""
        return self._store.refused

    def begin(self, client: Client) -> None:
        """Save a client's session from now on whenever it changes."""
        if not self._window:
            return
        self._clients[client.id] = client
        self._gone.pop(client.id, None)
        client.floors = Floors(client.floors, lambda: self._changed(client))
        self._changed(client)

    def remember(self, client: Client) -> None:
        """Save the session of a client whose connection broke as it is now."""
        if self._clients.get(client.id) is not client:
            return
        del self._clients[client.id]
        self._gone[client.id] = self._clock.monotonic() + self._window
        self._put(_saved(client, self._window))
        if len(self._gone) > KEPT:
            self._gone.popitem(last=False)

    def forget(self, client: Client) -> None:
        """Remove the session of a client that has left for good."""
        if self._clients.get(client.id) is client:
            del self._clients[client.id]
            self._put(SavedSession(client.id, "-", b"", 0))

    async def take(self, sid: str, form: WireForm, user: str) -> LostSession | None:
        """See :meth:`stockstream.gateway.lost_sessions.LostSessions.take`."""
        if not self._window:
            return None
        if sid in self._unsaved:
            await self._save([sid])
        record = await self._store.take(sid, _guard(form, user), self._kept_for)
        return None if record is None else _decoder.decode(record)

    def hear(self, sid: bytes) -> None:
        """Learn that another node has taken over a session of ours."""
        client = self._clients.pop(sid.decode(errors="replace"), None)
        if client is None:
            return
        self.taken += 1
        self._unsaved.pop(client.id, None)
        task = asyncio.create_task(self._cut(client.id))
        self._dropping.add(task)
        task.add_done_callback(self._dropping.discard)

    def save_all(self) -> None:
        """Save every session once more: what was saved may be lost."""
        for client in self._clients.values():
            self._changed(client)

    async def run(self) -> None:
        """Save what changes, and keep what does not, until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._keep_saving())
                tasks.create_task(self._keep_alive())
        finally:
            for task in self._dropping:
                task.cancel()
            await asyncio.gather(*self._dropping, return_exceptions=True)

    async def aclose(self) -> None:
        """Save what is still to be saved, for as long as a node's end may take."""
        try:
            async with asyncio.timeout(_END):
                await self._save_all_unsaved()
        except (StoreUnavailableError, TimeoutError) as error:
            log.warning("sessions_not_saved", count=len(self._unsaved), error=str(error))

    # ------------------------------------------------------------------------------------------

    @property
    def _kept_for(self) -> float:
        """Seconds that the session of a connected client outlives the last word of its node."""
        return 2 * self._window + 10

    def _changed(self, client: Client) -> None:
        if client.id not in self._unsaved and self._clients.get(client.id) is client:
            self._unsaved[client.id] = client
            self._wake.set()

    def _put(self, session: SavedSession) -> None:
        self._unsaved[session.sid] = session
        self._wake.set()
        # Those who are connected are as many as may be; those who are gone are limited here.
        if len(self._unsaved) > len(self._clients) + KEPT:
            self._unsaved.popitem(last=False)
            self.shed += 1

    async def _keep_saving(self) -> None:
        await keep_sending(
            self._wake,
            self._save_changed,
            self._failed,
            backoff=_BACKOFF,
            clock=self._clock,
            random=self._random,
        )

    def _failed(self, error: StoreUnavailableError) -> None:
        log.debug("sessions_not_saved", count=len(self._unsaved), error=str(error))

    async def _save_changed(self) -> bool:
        await self._clock.sleep(_GATHERED)
        await self._save_all_unsaved()
        return False

    async def _save_all_unsaved(self) -> None:
        while self._unsaved:
            await self._save(list(islice(self._unsaved, STEP_SIZE)))

    async def _save(self, sids: list[str]) -> None:
        async with self._saving:
            # Of two that wait for the same one, the second finds it saved.
            taken = {sid: self._unsaved.pop(sid) for sid in sids if sid in self._unsaved}
            sessions = [
                _saved(each, self._kept_for) if isinstance(each, Client) else each
                for each in taken.values()
            ]
            try:
                await self._store.save(sessions)
            except BaseException:
                for sid, each in taken.items():
                    # What has changed meanwhile is newer.
                    self._unsaved.setdefault(sid, each)
                raise
            self.saved += len(sessions)

    async def _keep_alive(self) -> None:
        """Renew what is saved of those who are connected, a part of them at a time."""
        never = asyncio.Event()
        while True:
            due = self._clock.monotonic() + (self._window or 60.0)
            try:
                await self._store.keep(list(self._clients), self._kept_for)
            except StoreUnavailableError as error:
                log.debug("sessions_not_kept", error=str(error))
                due = self._clock.monotonic() + _BACKOFF.delay(5, self._random)
            await wait_until(self._clock, due, never)

    async def _cut(self, sid: str) -> None:
        try:
            await self._drop(sid)
        except Exception:
            # The border of the task: the old connection ends by itself, later.
            log.exception("client_not_dropped", client=sid)


def _saved(client: Client, seconds: float) -> SavedSession:
    record = _encoder.encode(session_of(client))
    return SavedSession(client.id, _guard(client.form, client.identity.user), record, seconds)


def _guard(form: WireForm, user: str) -> str:
    # Names of users may hold anything.
    return f"{form.value}-{blake2b(user.encode(), digest_size=12).hexdigest()}"
