"""Two clients that get and do the same, one over each transport, and everything that can happen.

The machine drives the core through sockets, polls and time. It holds that nothing but the
engine's own error comes out, that memory stays bounded, that nothing arrives twice or out of
order, and that both transports deliver the same.
"""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from stockstream.engine import Limits, Message
from stockstream.engine.core.connection import Connection
from stockstream.engine.errors import ProtocolViolation
from tests.engine.unit.fakes import FakeHub, FakePoll, FakeSocket

UNREAD = 2_000

packets = st.one_of(
    st.sampled_from(["4hello", "3", "2", "1", "5", "6", "0", "2probe", "3probe", "", "x"]),
    st.text(max_size=5),
    st.binary(max_size=5),
)
WELL_FORMED = st.sampled_from(["4hello", "3", b"\x01"])


class SessionMachine(RuleBasedStateMachine):
    """A client on WebSocket and one on long-polling that may upgrade."""

    def __init__(self) -> None:
        super().__init__()
        self.fake = FakeHub(Limits(unread_bytes=UNREAD, connect_seconds=10_000))
        self.direct, self.socket = self.fake.websocket("direct")
        self.polling = self.fake.polling("polling")
        self.probe: FakeSocket | None = None
        self.poll: FakePoll | None = None
        self.paused = False
        self.polled: list[str] = []
        self.sent = 0

    @property
    def clients(self) -> tuple[Connection, Connection]:
        return self.direct, self.polling

    @rule()
    def send_to_both(self) -> None:
        self.sent += 1
        for client in self.clients:
            client.send(Message(f"2{self.sent}"))

    @rule(key=st.sampled_from("AB"))
    def offer_to_both(self, key: str) -> None:
        self.sent += 1
        for client in self.clients:
            client.offer(key, Message(f"2{self.sent}"))

    @rule(keys=st.lists(st.sampled_from("ABC"), max_size=5))
    def offer_a_burst_to_both(self, keys: list[str]) -> None:
        items = []
        for key in keys:
            self.sent += 1
            items.append((key, Message(f"2{self.sent}")))
        for client in self.clients:
            client.offer_many(items)

    @rule(key=st.sampled_from("AB"))
    def withdraw_from_both(self, key: str) -> None:
        for client in self.clients:
            client.withdraw(key)

    @rule(packet=packets)
    def receive_anything(self, packet: str | bytes) -> None:
        for client in self.clients:
            try:
                client.receive(packet)
            except ProtocolViolation as violation:
                client.violate(violation)
        assert self.direct.open == self.polling.open or self.fake.closed

    @rule(packet=WELL_FORMED)
    def receive_the_same_on_both(self, packet: str | bytes) -> None:
        if not (self.direct.open and self.polling.open):
            return
        before = len(self.fake.received)
        for client in self.clients:
            client.receive(packet)
        told = self.fake.received[before:]
        assert [data for sid, data in told if sid == "direct"] == [
            data for sid, data in told if sid == "polling"
        ]

    @rule()
    def socket_fills_up(self) -> None:
        self.paused = True
        self.direct.pause_writing()

    @rule()
    def socket_drains(self) -> None:
        self.paused = False
        self.direct.resume_writing()

    @rule()
    def cork_and_uncork(self) -> None:
        self.direct.cork()
        self.send_to_both()
        self.direct.uncork()

    @precondition(lambda self: self.poll is None and self.polling.transport == "polling")
    @rule()
    def client_polls(self) -> None:
        if self.polling.id not in self.fake.hub.sessions:
            return
        poll = FakePoll(self.polling)
        if poll.woken:
            # As the server does: what can be answered at once never was pending.
            self.polled += poll.answer()
        else:
            self.poll = poll

    @precondition(lambda self: self.poll is not None and self.poll.woken)
    @rule()
    def server_answers_the_poll(self) -> None:
        assert self.poll is not None
        self.polled += self.poll.answer()
        self.poll = None

    @precondition(lambda self: self.poll is not None)
    @rule()
    def client_polls_twice(self) -> None:
        try:
            self.polling.begin_poll(lambda: None)
        except ProtocolViolation as violation:
            self.polling.violate(violation)
        else:
            raise AssertionError("not noticed")

    @precondition(lambda self: self.poll is not None)
    @rule()
    def poll_vanishes(self) -> None:
        self.poll = None
        self.polling.lose_poll()
        assert not self.polling.open

    @precondition(lambda self: self.probe is None)
    @rule()
    def client_opens_a_probe(self) -> None:
        socket = FakeSocket()
        if self.polling.begin_probe(socket):
            self.probe = socket

    @precondition(lambda self: self.probe is not None and self.probe.closed_with is None)
    @rule(packet=st.sampled_from(["2probe", "5", "4x", "2probe", "5"]))
    def probe_brings(self, packet: str) -> None:
        assert self.probe is not None
        if self.polling.is_transport(self.probe):
            return
        self.polling.receive_probe(self.probe, packet)

    @precondition(lambda self: self.probe is not None)
    @rule()
    def probe_breaks(self) -> None:
        assert self.probe is not None
        self.polling.lose_websocket(self.probe)
        self.probe = None

    @rule(seconds=st.floats(0, 30))
    def time_passes(self, seconds: float) -> None:
        self.fake.pass_time(seconds)

    @rule()
    def server_closes_one(self) -> None:
        self.polling.close("asked to")

    @invariant()
    def memory_is_bounded(self) -> None:
        for client in self.clients:
            assert client.unread_bytes <= UNREAD

    @invariant()
    def what_ended_is_reported_once(self) -> None:
        closed = [sid for sid, _ in self.fake.closed]
        assert len(closed) == len(set(closed))
        assert {client.id for client in self.clients if not client.open} == set(closed)

    @invariant()
    def messages_come_in_order_and_once(self) -> None:
        upgraded = self.probe.texts if self.probe is not None else []
        for texts in (self.socket.texts, self.polled + upgraded):
            numbers = [int(text[2:]) for text in texts if text.startswith("42")]
            assert len(numbers) == len(set(numbers))
            # Also where some were conflated.
            assert numbers == sorted(numbers)

    @invariant()
    def healthy_socket_lacks_nothing(self) -> None:
        if not self.direct.open or self.paused:
            return
        got = [text for text in self.socket.texts if text.startswith("42")]
        assert self.direct.writable
        assert self.direct.dropped == 0
        assert not got or int(got[-1][2:]) <= self.sent

    def teardown(self) -> None:
        for client in self.clients:
            client.close("end")
        self.fake.pass_time(1_000)
        assert not self.fake.hub.sessions
        for queue in (self.fake.hub.ping_due, self.fake.hub.pong_due, self.fake.hub.unread_due):
            assert not queue


SessionMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestSessionMachine = SessionMachine.TestCase
