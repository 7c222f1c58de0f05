"""Clients that lose any part of what was sent to them, at any moment, and come back."""

import asyncio
import json
from collections.abc import Sequence
from random import Random
from typing import Any
from unittest.mock import patch

import msgspec
import pytest
from hypothesis import event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from stockstream.core.subscriptions import Subscriptions
from stockstream.engine import Connection
from stockstream.gateway import recovery as recovery_module
from stockstream.gateway import requests as requests_module
from stockstream.gateway.client import Client
from stockstream.gateway.document_news import DocumentNews
from stockstream.gateway.fanout import Fanout
from stockstream.gateway.lost_sessions import SessionsInMemory
from stockstream.gateway.recovery import Recovery
from stockstream.gateway.requests import Requests
from stockstream.model import StockUpdate, Symbol
from stockstream.model.identity import LOCAL_USER
from stockstream.services.bar_updates import BarUpdates
from stockstream.services.bars import BarService
from stockstream.services.event_bus import EventBus
from stockstream.services.streaming import StreamingService, StreamingSettings
from stockstream.storage.memory import MemoryQuoteStore
from stockstream.wire.packets import WireForm
from stockstream.wire.replies import Connected
from tests.fanout.market import Market
from tests.gateway.peers import open_hub
from tests.support.clock import ManualClock
from tests.support.providers import FakeProvider
from tests.support.sinks import FakeRecorder

#: Hundreds of stories: a busy machine takes its time with them.
pytestmark = pytest.mark.timeout(240)

SYMBOLS = ("A", "B", "C")
_WINDOW = 60.0
#: Seconds that a symbol streams on after its last client left.
_LINGER = 5.0
#: Missed updates sent in one go, and bytes that may wait before the next: little, so that returns
#: take several steps.
_CHUNK = 2
_ROOM = 10

#: Seconds that reading a history takes.
_READING = 0.01

users = st.integers(0, 1)
symbol_lists = st.lists(st.sampled_from(SYMBOLS), min_size=1, max_size=3, unique=True)


class _Wire:
    """The server's side of a WebSocket; what is written to it is taken apart."""

    def __init__(self) -> None:
        self.packets: list[str | bytes] = []

    def write(self, data: bytes, /) -> None:
        while data:
            text, size, start = data[0] & 0x0F == 1, data[1], 2
            if size == 126:
                size, start = int.from_bytes(data[2:4]), 4
            payload, data = data[start : start + size], data[start + size :]
            self.packets.append(payload.decode() if text else payload)

    def close(self, code: int) -> None: ...
    def abort(self) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


def _arguments(packet: str | bytes) -> list[Any]:
    if isinstance(packet, bytes):
        arguments: list[Any] = msgspec.msgpack.decode(packet)["data"]
    else:
        arguments = json.loads(packet[2:])
    return arguments


class _SlowStore(MemoryQuoteStore):
    """Things happen while it is read."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self._slowly = clock

    async def after(self, symbol: Symbol, offset: int) -> Sequence[StockUpdate] | None:
        await self._slowly.sleep(_READING)
        return await super().after(symbol, offset)


class User:
    """What an unmodified client does by itself, and what it may expect of each symbol."""

    def __init__(self, form: WireForm) -> None:
        self.form = form
        self.wire = _Wire()
        #: None while it is away.
        self.client: Client | None = None
        self.sid = ""
        self.mark = ""
        #: Until when it may come back, on the clock.
        self.until = 0.0
        #: How many packets of this connection it is known to have got.
        self.got = 0
        #: Number of the last update of each symbol that it is subscribed to, None before any.
        self.last: dict[str, StockUpdate | None] = {}
        #: Symbols of which it gets a snapshot that may lie anywhere ahead.
        self.beginning: set[str] = set()
        #: Whether it asked for a part of the history: then its session may be refused.
        self.asked_since = False

    def begin(self) -> None:
        """Forget everything: this is a new session."""
        self.last, self.beginning, self.asked_since = {}, set(), False

    def take(self, until: int | None = None) -> None:
        """Get what was sent on this connection, or the part of it before a packet."""
        packets = self.wire.packets[self.got : until]
        self.got += len(packets)
        for packet in packets:
            name, body, *mark = _arguments(packet)
            if mark:
                (self.mark,) = mark
            if name.startswith("stock_update_"):
                self._see(name.removeprefix("stock_update_"), body["payload"])

    def _see(self, symbol: str, payload: dict[str, Any]) -> None:
        update = msgspec.convert(payload, StockUpdate)
        assert symbol in self.last, "an update of a symbol that it is not subscribed to"
        last = self.last[symbol]
        if update.snapshot and symbol in self.beginning:
            self.beginning.discard(symbol)
            assert last is None or update.seq >= last.seq
        elif update.snapshot:
            # Repeated because nothing proved that it had come: it passes nothing over.
            assert last is not None
            assert last.seq <= update.seq <= last.seq + 1
        else:
            assert last is not None, "a change before the snapshot"
            assert symbol not in self.beginning
            assert update.seq == last.seq + 1
        self.last[symbol] = update


class AnyOrderOfThings(RuleBasedStateMachine):
    """Whatever part of what was sent arrived, the rest follows: nothing is missing or twice."""

    @initialize()
    def open(self) -> None:
        self.patches = [
            patch.object(recovery_module, "CHUNK", _CHUNK),
            patch.object(requests_module, "CHUNK", _CHUNK),
            patch.object(requests_module, "_ROOM", _ROOM),
        ]
        for each in self.patches:
            each.start()
        self.runner = asyncio.Runner()
        self.clock = ManualClock()
        self.market = Market()
        self.fanout = Fanout(self.clock, order="here")
        self.hub = open_hub(self.clock)
        self.sids = iter(range(1_000_000))
        self.users = [User(WireForm.JSON), User(WireForm.MSGPACK)]
        self.runner.run(self._open())

    async def _open(self) -> None:
        store = _SlowStore(self.clock)
        bars = BarService(None, self.clock)
        self.streaming = StreamingService(
            provider=FakeProvider(feed=self.market),
            store=store,
            recorder=FakeRecorder(store),
            sink=self.fanout,
            bus=EventBus(clock=self.clock, random=Random(1)),
            bars=bars,
            clock=self.clock,
            random=Random(1),
            settings=StreamingSettings(subscription_timeout=_LINGER, seed_timeout=0.05),
        )
        self.requests = Requests(
            subscriptions=Subscriptions(max_clients=10, max_events=10),
            streaming=self.streaming,
            bars=bars,
            bar_updates=BarUpdates(bars, self.clock, lambda *_: None),
            fanout=self.fanout,
            news=DocumentNews(self.clock),
            clock=self.clock,
        )
        self.recovery = Recovery(
            secret=b"secret",
            lost=SessionsInMemory(_WINDOW, self.clock),
            requests=self.requests,
            streaming=self.streaming,
            fanout=self.fanout,
            clock=self.clock,
        )
        self.task = asyncio.create_task(self.streaming.run())
        await self.clock.advance(0)
        for user, symbols in zip(self.users, (["A"], ["A", "B", "C"]), strict=True):
            await self._return(user)
            await self._subscribe(user, symbols, since=False)

    def teardown(self) -> None:
        if not hasattr(self, "task"):
            return
        try:
            self.runner.run(self._end())
        finally:
            for each in self.patches:
                each.stop()
            self.runner.run(self._close())
            self.runner.close()

    async def _end(self) -> None:
        for user in self.users:
            if user.client is None:
                await self._return(user)
            assert user.client is not None
            user.client.connection.resume_writing()
        await self.clock.advance(1)
        for symbol in SYMBOLS:
            self.market.change([symbol])
            await self.clock.advance(0)
        for user in self.users:
            user.take()
            for name, last in user.last.items():
                newest = self.streaming.snapshot(Symbol(name))
                assert newest is not None
                assert last is not None
                assert last.position == newest.position, "it lags behind"

    async def _close(self) -> None:
        await self.requests.aclose()
        self.task.cancel()
        await asyncio.wait((self.task,))

    # --- what happens -------------------------------------------------------------------------

    @rule(symbols=st.lists(st.sampled_from(SYMBOLS), min_size=1, max_size=5), alone=st.booleans())
    def publish(self, symbols: list[str], alone: bool) -> None:  # noqa: FBT001 - drawn by name
        """Change prices in one delivery of the provider, or each in its own."""
        for each in [[symbol] for symbol in symbols] if alone else [symbols]:
            if each:
                self.market.change(each)
        self.runner.run(self.clock.advance(0))

    @rule(seconds=st.sampled_from([0.06, 1.0, 1.0, _LINGER + 1]))
    def let_time_pass(self, seconds: float) -> None:
        self.runner.run(self.clock.advance(seconds))

    @rule(number=users, symbols=symbol_lists, since=st.booleans())
    def subscribe(self, number: int, symbols: list[str], since: bool) -> None:  # noqa: FBT001
        user = self.users[number]
        if self._can_ask(user):
            self.runner.run(self._subscribe(user, symbols, since=since))

    async def _subscribe(self, user: User, symbols: list[str], *, since: bool) -> None:
        assert user.client is not None
        user.take()
        positions = {}
        for symbol in symbols:
            last = user.last.setdefault(symbol, None)
            if since and last is not None and symbol not in user.beginning:
                positions[f"stock_update_{symbol}"] = {"epoch": last.epoch, "seq": last.seq}
                user.asked_since = True
            else:
                user.beginning.add(symbol)
        events = [f"stock_update_{symbol}" for symbol in symbols]
        self.requests.subscribe(user.client, {"events": events, "since": positions})
        await self.clock.advance(0)

    @rule(number=users, symbols=symbol_lists)
    def unsubscribe(self, number: int, symbols: list[str]) -> None:
        user = self.users[number]
        if self._can_ask(user):
            assert user.client is not None
            user.take()
            events = [f"stock_update_{symbol}" for symbol in symbols]
            self.requests.unsubscribe(user.client, {"events": events})
            for symbol in symbols:
                user.last.pop(symbol, None)
                user.beginning.discard(symbol)

    @precondition(lambda self: all(user.client is None for user in self.users))
    @rule()
    def stay_away_for_too_long(self) -> None:
        self.runner.run(self.clock.advance(_WINDOW + 1))

    @rule(
        number=users,
        last=st.lists(st.sampled_from(SYMBOLS), max_size=6),
        part=st.sampled_from([0.0, 0.3, 0.5, 0.8, 1.0]),
        away=st.lists(st.sampled_from(SYMBOLS), max_size=6),
    )
    def lose(self, number: int, last: list[str], part: float, away: list[str]) -> None:
        """Break a connection; a part of what was sent last has arrived."""
        user = self.users[number]
        if user.client is None:
            return
        self.publish(last, alone=False)
        self._lose(user, part)
        self.publish(away, alone=True)

    def _lose(self, user: User, part: float) -> None:
        assert user.client is not None
        sent = len(user.wire.packets)
        user.take(user.got + round(part * (sent - user.got)))
        self.recovery.lost.remember(user.client)
        self.requests.forget(user.client)
        user.client.connection.end("transport close", abort=True)
        user.client = None
        user.until = self.clock.monotonic() + _WINDOW
        self.runner.run(self.clock.advance(0.06))

    @precondition(lambda self: any(user.client is None for user in self.users))
    @rule(slowly=st.booleans(), meanwhile=st.lists(st.sampled_from(SYMBOLS), max_size=4))
    def come_back(self, slowly: bool, meanwhile: list[str]) -> None:  # noqa: FBT001
        user = next(user for user in self.users if user.client is None)
        self.runner.run(self._return(user, slowly=slowly, meanwhile=meanwhile))

    @rule(number=users)
    def read_on(self, number: int) -> None:
        user = self.users[number]
        if user.client is not None:
            user.client.connection.resume_writing()
            self.runner.run(self.clock.advance(0.06))

    # --- what the gateway does ----------------------------------------------------------------

    async def _return(
        self, user: User, *, slowly: bool = False, meanwhile: Sequence[str] = ()
    ) -> None:
        user.wire, user.got = _Wire(), 0
        # An address of its own: none of these has come too often.
        number = next(self.sids)
        address = f"10.0.{number // 250}.{number % 250}"
        self.hub.admit(address)
        connection = Connection(self.hub, f"c{number}", address, user.wire)
        back = None
        if user.sid:
            recovering = asyncio.create_task(
                self.recovery.recover(user.sid, connection, user.form, user.mark, LOCAL_USER)
            )
            for symbol in meanwhile:
                await self.clock.advance(_READING / 2)
                self.market.change([symbol])
            await self.clock.advance(_READING * len(SYMBOLS))
            back = await recovering
        if back is None:
            event("a new session")
            known = user.mark and self.clock.monotonic() <= user.until
            assert not known or user.asked_since, "a session was refused for no reason"
            user.begin()
            user.sid = f"s{next(self.sids)}"
            user.client = Client(user.sid, connection, user.form, 0, LOCAL_USER)
            self._welcome(user.client, self.fanout.marks.now())
            return
        event(f"recovered, {min(len(back.missed), 5)} missed")
        user.client = back.client
        self._welcome(user.client, "")
        # Only while it is given what it missed: later, what it does not read is conflated.
        if slowly and len(back.missed) > _CHUNK:
            connection.pause_writing()
        self.resuming = asyncio.create_task(self.recovery.resume(back))
        await self.clock.advance(0)

    def _welcome(self, client: Client, mark: str) -> None:
        client.send(
            "connected", Connected(client_id=client.id, server_time=0, available_events=()), mark
        )

    def _can_ask(self, user: User) -> bool:
        return user.client is not None and user.client.resuming is None


TestAnyOrderOfThings = AnyOrderOfThings.TestCase
TestAnyOrderOfThings.settings = settings(max_examples=250, stateful_step_count=40)
