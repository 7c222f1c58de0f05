"""Clients that come, go, and come back with a position, whatever happens in between."""

from unittest.mock import patch

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from stockstream.gateway.audience import CatchUp
from stockstream.gateway.fanout import Fanout
from stockstream.model import Position, StockUpdate
from stockstream.wire.packets import WireForm
from tests.gateway.peers import EVENT_A, Crowd, Peer, update
from tests.support.clock import ManualClock

_CLIENTS = 3
#: Updates held back at most, few enough to be passed in a test.
_HELD = 4

clients = st.integers(0, _CLIENTS - 1)


class _Subscription:
    """What the model knows of one client's subscription."""

    def __init__(self, start: int, since: int | None) -> None:
        #: Updates that its client had received before.
        self.start = start
        #: Where in history the position is that it asked from; None: it asked for a snapshot.
        self.since = since
        #: While it catches up, and what is still to be sent of what was read for it.
        self.catch_up: CatchUp | None = None
        self.to_send: list[StockUpdate] | None = None
        self.position: Position | None = None
        #: Whether its client stopped reading meanwhile: updates may then be conflated.
        self.paused = False


class CatchingUp(RuleBasedStateMachine):
    """Each client sees a snapshot or what it missed, and then every update in order."""

    @initialize()
    def open(self) -> None:
        self.fanout = Fanout(ManualClock())
        crowd = Crowd(ManualClock())
        self.peers = [crowd.peer(form) for form in (WireForm.JSON, WireForm.MSGPACK, WireForm.JSON)]
        self.subscriptions: dict[int, _Subscription] = {}
        self.reading = dict.fromkeys(range(_CLIENTS), True)
        #: Everything published, all epochs in one sequence.
        self.history: list[StockUpdate] = []
        self.epoch = 0
        self.seq = 0
        self.limit = patch.object(CatchUp, "LIMIT", _HELD)
        self.limit.start()

    def teardown(self) -> None:
        if not hasattr(self, "limit"):
            return
        for client in list(self.subscriptions):
            self.read_on(client)
            while self.subscriptions[client].catch_up is not None:
                self._go_on(self.subscriptions[client], 2)
            self._check(client)
            seen = self._seen(client)
            if self.history:
                assert seen or self.subscriptions[client].since == len(self.history) - 1
                assert not seen or seen[-1][0] == len(self.history) - 1
        self.limit.stop()

    # --- what happens -------------------------------------------------------------------------

    @rule(count=st.integers(1, 6), anew=st.sampled_from([False] * 9 + [True]))
    def publish(self, count: int, anew: bool) -> None:  # noqa: FBT001 - drawn by name
        if anew:
            self.epoch += 1
            self.seq = 0
        updates = [update(self.seq + n, epoch=f"e{self.epoch}") for n in range(1, count + 1)]
        self.seq += count
        self.history += updates
        self.fanout.publish(updates, 0.0)

    @rule(client=clients)
    def subscribe(self, client: int) -> None:
        self._begin(client, None)
        self.fanout.join_waiting(EVENT_A, self.peers[client].member())
        self._settle()

    @precondition(lambda self: self.history)
    @rule(client=clients, ago=st.integers(0, 6))
    def come_back(self, client: int, ago: int) -> None:
        since = max(len(self.history) - 1 - ago, 0)
        subscription = self._begin(client, since)
        subscription.catch_up = self.fanout.hold(EVENT_A, self.peers[client].member())

    @precondition(lambda self: self._catching_up())
    @rule(choice=st.integers(0, _CLIENTS), chunk=st.integers(1, 2))
    def go_on(self, choice: int, chunk: int) -> None:
        """Read what was missed, or send some of it, or join the live ones: what is next."""
        catching_up = self._catching_up()
        self._go_on(catching_up[choice % len(catching_up)], chunk)

    def _catching_up(self) -> list[_Subscription]:
        return [each for each in self.subscriptions.values() if each.catch_up is not None]

    def _go_on(self, subscription: _Subscription, chunk: int) -> None:
        assert subscription.catch_up is not None
        if subscription.to_send is None:
            self._read(subscription)
        elif subscription.to_send:
            sent, subscription.to_send = (
                subscription.to_send[:chunk],
                subscription.to_send[chunk:],
            )
            assert self.fanout.send_missed(EVENT_A, subscription.catch_up, sent)
            subscription.position = sent[-1].position
        else:
            self._resume(subscription, subscription.position)

    @precondition(lambda self: self._catching_up())
    @rule()
    def fail_to_read(self) -> None:
        """The store is gone: what was missed can't be told."""
        self._resume(self._catching_up()[0], None)

    @rule(client=clients)
    def leave(self, client: int) -> None:
        subscription = self.subscriptions.get(client)
        if subscription is None:
            return
        self._check(client)
        peer = self.peers[client]
        self.fanout.leave(EVENT_A, peer.connection)
        del self.subscriptions[client]
        if subscription.catch_up is not None:
            assert not self.fanout.send_missed(EVENT_A, subscription.catch_up, [])
            assert not self.fanout.resume(EVENT_A, subscription.catch_up, subscription.position)
        self.read_on(client)
        received = len(peer.updates())
        self.publish(1, anew=False)
        assert len(peer.updates()) == received

    @rule(client=clients)
    def stop_reading(self, client: int) -> None:
        if self.reading[client]:
            self.reading[client] = False
            self.peers[client].stop_reading()
        if client in self.subscriptions:
            self.subscriptions[client].paused = True

    @rule(client=clients)
    def read_on(self, client: int) -> None:
        if not self.reading[client]:
            self.reading[client] = True
            self.peers[client].read_on()
        if client in self.subscriptions:
            self._check(client)

    # --- what is expected ---------------------------------------------------------------------

    def _begin(self, client: int, since: int | None) -> _Subscription:
        peer = self.peers[client]
        # So that what came before can be told from what comes after.
        self.read_on(client)
        subscription = _Subscription(len(peer.updates()), since)
        self.subscriptions[client] = subscription
        return subscription

    def _settle(self) -> None:
        if self.history:
            self.fanout.settle(self.history[-1])

    def _read(self, subscription: _Subscription) -> None:
        assert subscription.since is not None
        asked = self.history[subscription.since]
        missed = self.history[subscription.since + 1 :]
        if any(each.epoch != asked.epoch for each in missed):
            self._resume(subscription, None)
            return
        subscription.to_send = missed
        subscription.position = asked.position

    def _resume(self, subscription: _Subscription, position: Position | None) -> None:
        catch_up, subscription.catch_up = subscription.catch_up, None
        assert catch_up is not None
        if self.fanout.resume(EVENT_A, catch_up, position):
            self._settle()

    def _seen(self, client: int) -> list[tuple[int, bool]]:
        """Where in history each update stands that the client got, and whether as a snapshot."""
        places = {(each.epoch, each.seq): place for place, each in enumerate(self.history)}
        peer: Peer = self.peers[client]
        payloads = [payload for _, payload in peer.received()]
        return [
            (places[payload["epoch"], payload["seq"]], payload.get("snapshot", False))
            for payload in payloads[self.subscriptions[client].start :]
        ]

    def _check(self, client: int) -> None:
        subscription = self.subscriptions[client]
        seen = self._seen(client)
        snapshots = [number for number, (_, snapshot) in enumerate(seen) if snapshot]
        assert len(snapshots) <= 1
        if subscription.since is None:
            assert snapshots == ([0] if seen else [])
        last = subscription.since
        for place, snapshot in seen:
            if snapshot:
                assert last is None or place >= last
            else:
                assert last is not None
                assert place > last
                assert place == last + 1 or subscription.paused
            last = place


TestCatchingUp = CatchingUp.TestCase
TestCatchingUp.settings = settings(max_examples=150, stateful_step_count=40)
