import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from stockstream.model.event import Event, Priority
from stockstream.services.event_bus import EventBus
from stockstream.services.event_subscription import Subscription
from tests.services.event_bus_support import NUMBERS, WAITS, open_bus
from tests.support.clock import ManualClock

BATCH_SIZE = 3


@dataclass(frozen=True)
class Publish:
    priority: Priority
    ttl_ms: int | None


@dataclass(frozen=True)
class Pass:
    """Let a moment of time go by; 0 lets others run once."""

    seconds: float


@dataclass
class Recorder:
    """Takes events, and fails at those calls that it is told."""

    clock: ManualClock
    failing_calls: frozenset[int] = frozenset()
    calls: int = 0
    batches: list[Sequence[Event[int]]] = field(default_factory=list)
    late: list[Event[int]] = field(default_factory=list)

    def take(self, batch: Sequence[Event[int]]) -> None:
        self.calls += 1
        if self.calls in self.failing_calls:
            raise ValueError(self.calls)
        now = self.clock.monotonic()
        self.batches.append(batch)
        self.late += [
            each for each in batch if each.expires_at is not None and each.expires_at <= now
        ]

    @property
    def taken(self) -> list[Event[int]]:
        return [event for batch in self.batches for event in batch]


steps = st.lists(
    st.builds(Publish, st.sampled_from(Priority), st.none() | st.integers(1, 3_000))
    | st.builds(Pass, st.sampled_from([0, 0.25, 1.5])),
    max_size=40,
)


async def perform(
    bus: EventBus, clock: ManualClock, plan: Sequence[Publish | Pass]
) -> list[Event[int]]:
    published = []
    for number, step in enumerate(plan):
        match step:
            case Publish(priority, ttl_ms):
                published.append(
                    bus.publish(NUMBERS, number, source="test", priority=priority, ttl_ms=ttl_ms)
                )
            case Pass(0):
                await asyncio.sleep(0)
            case Pass(seconds):
                await clock.advance(seconds)
    return published


async def close(bus: EventBus, clock: ManualClock) -> None:
    closing = asyncio.create_task(bus.aclose(10_000))
    while not closing.done():
        await clock.advance(1)
    assert await closing == {}


def check(
    subscription: Subscription, recorder: Recorder, wanted: list[Event[int]], end: float
) -> None:
    taken = recorder.taken
    missing = [event for event in wanted if event not in taken]

    assert len({event.id for event in taken}) == len(taken), "exactly once"
    assert all(event in wanted for event in taken)
    assert all(event.expires_at is not None and event.expires_at <= end for event in missing)
    assert recorder.late == []
    for priority in Priority:
        equals = [event.data for event in taken if event.priority is priority]
        assert equals == sorted(equals)
    assert all(1 <= len(batch) <= BATCH_SIZE for batch in recorder.batches)
    counts = subscription.counts
    assert (counts.accepted, counts.delivered, counts.expired) == (
        len(wanted),
        len(taken),
        len(missing),
    )
    assert (counts.dead, counts.dropped, counts.abandoned, subscription.pending) == (0, 0, 0, 0)


@given(steps, st.frozensets(st.integers(1, 20), max_size=6))
async def test_every_subscriber_gets_each_wanted_event_exactly_once(
    plan: list[Publish | Pass], failing_calls: frozenset[int]
) -> None:
    clock = ManualClock()
    single, flaky, batched = Recorder(clock), Recorder(clock, failing_calls), Recorder(clock)
    async with open_bus(clock) as bus:
        first = bus.subscribe([NUMBERS], lambda event: single.take([event]))
        second = bus.subscribe(
            [NUMBERS],
            lambda event: flaky.take([event]),
            filter=lambda event: event.data % 3 > 0,
            max_retries=20,
            backoff=WAITS,
        )
        third = bus.subscribe_batches(
            [NUMBERS], batched.take, batch_size=BATCH_SIZE, batch_timeout=1
        )
        published = await perform(bus, clock, plan)
        await close(bus, clock)

        end = clock.monotonic()
        check(first, single, published, end)
        check(second, flaky, [event for event in published if event.data % 3 > 0], end)
        check(third, batched, published, end)
        assert len({event.id for event in published}) == len(published) == bus.published
