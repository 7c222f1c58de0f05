import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from stockstream.core.latency import LatencyHistogram
from stockstream.core.thresholds import Thresholds
from stockstream.model.alert import AlertState, AlertType
from stockstream.model.event import Priority
from stockstream.model.metrics import PerformanceMetrics
from stockstream.model.topics import PERFORMANCE_ALERT, PERFORMANCE_METRICS_COLLECTED
from stockstream.services.event_bus import EventBus
from stockstream.services.monitoring import PerformanceMonitor
from tests.services.event_bus_support import open_bus
from tests.support.clock import ManualClock


@dataclass
class Door:
    """Counts of a door to clients, which a test sets as it likes."""

    clients: int = 0
    messages_in: int = 0
    messages_out: int = 0
    errors: int = 0
    latency: LatencyHistogram = field(default_factory=LatencyHistogram)
    broken: bool = False

    @property
    def connection_count(self) -> int:
        if self.broken:
            raise ConnectionError
        return self.clients


@dataclass
class Machine:
    """What an operating system would count."""

    memory: int = 0
    cpu: float = 0

    def memory_bytes(self) -> int:
        return self.memory

    def cpu_seconds(self) -> float:
        return self.cpu


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def bus(clock: ManualClock) -> AsyncIterator[EventBus]:
    async with open_bus(clock) as opened:
        yield opened


def monitor_of(
    bus: EventBus,
    clock: ManualClock,
    *doors: Door,
    machine: Machine | None = None,
    thresholds: Thresholds | None = None,
    history_size: int = 1000,
    history_shed: Callable[[], int] = lambda: 0,
) -> PerformanceMonitor:
    return PerformanceMonitor(
        bus,
        clock,
        node="n1",
        sources=doors,
        thresholds=thresholds or Thresholds(),
        process=machine or Machine(),
        history_size=history_size,
        history_shed=history_shed,
    )


def current(monitor: PerformanceMonitor) -> PerformanceMetrics:
    metrics = monitor.current_metrics()
    assert metrics is not None
    return metrics


async def test_interval_is_measured_from_what_was_counted_in_it(
    bus: EventBus, clock: ManualClock
) -> None:
    door = Door(messages_in=1_000, messages_out=5_000, errors=77)
    door.latency.record(9_000, 50)
    machine = Machine(cpu=100)
    async with monitor_of(bus, clock, door, machine=machine) as monitor:
        assert monitor.current_metrics() is None
        door.clients = 3
        door.messages_in += 20
        door.messages_out += 180
        door.errors += 4
        door.latency.record(10, 75)
        door.latency.record(50, 25)
        machine.cpu += 2.5
        machine.memory = 123_000_000
        await clock.advance(10)

        metrics = current(monitor)
        assert metrics.latency_p50 == pytest.approx(10, rel=0.01)
        assert metrics.latency_p99 == pytest.approx(50, rel=0.01)
        assert metrics == PerformanceMetrics(
            connection_count=3,
            message_rate=20,
            latency=20,
            latency_p50=metrics.latency_p50,
            latency_p99=metrics.latency_p99,
            error_rate=0.02,
            memory_usage=123,
            cpu_usage=25,
            event_loop_lag=0,
            timestamp=clock.time_ms(),
            node="n1",
        )


async def test_quiet_interval_after_a_busy_one_is_zero(bus: EventBus, clock: ManualClock) -> None:
    door = Door()
    async with monitor_of(bus, clock, door) as monitor:
        door.messages_out, door.errors = 100, 1
        door.latency.record(10, 100)
        await clock.advance(20)

        busy, quiet = monitor.metrics_history()
        assert (busy.message_rate, busy.error_rate, busy.latency) == (10, 0.01, 10)
        assert (quiet.message_rate, quiet.error_rate, quiet.latency) == (0, 0, 0)
        assert (quiet.latency_p50, quiet.latency_p99) == (0, 0)


async def test_what_was_counted_before_the_start_is_not_of_the_first_interval(
    bus: EventBus, clock: ManualClock
) -> None:
    door = Door()
    monitor = monitor_of(bus, clock, door)
    door.messages_out, door.errors = 1_000, 1_000
    await clock.advance(1_000)
    async with monitor:
        door.messages_out += 10
        await clock.advance(10)

        assert (current(monitor).message_rate, current(monitor).error_rate) == (1, 0)


async def test_doors_are_summed(bus: EventBus, clock: ManualClock) -> None:
    first, second = Door(clients=2), Door(clients=5)
    async with monitor_of(bus, clock, first, second) as monitor:
        first.messages_in, second.messages_out, second.errors = 30, 70, 5
        first.latency.record(10)
        second.latency.record(30)
        await clock.advance(10)

        metrics = current(monitor)
    assert (metrics.connection_count, metrics.message_rate, metrics.error_rate) == (7, 10, 0.05)
    assert metrics.latency == 20


@pytest.mark.parametrize(
    ("messages", "errors", "rate"), [(0, 0, 0), (100, 0, 0), (100, 5, 0.05), (0, 1, 1), (2, 9, 1)]
)
async def test_error_rate_is_a_fraction_of_the_messages(
    bus: EventBus, clock: ManualClock, messages: int, errors: int, rate: float
) -> None:
    door = Door()
    async with monitor_of(bus, clock, door) as monitor:
        door.messages_in, door.errors = messages, errors
        await clock.advance(10)

        assert current(monitor).error_rate == rate


async def test_alerts_are_in_the_log_too(bus: EventBus, clock: ManualClock) -> None:
    machine = Machine(memory=300_000_000)
    thresholds = Thresholds(max_memory_mb=200)
    async with monitor_of(bus, clock, machine=machine, thresholds=thresholds):
        with capture_logs() as logs:
            await clock.advance(10)
            machine.memory = 150_000_000
            await clock.advance(20)
    assert [(log["event"], log["log_level"], log["alert"]) for log in logs] == [
        ("alert_firing", "warning", AlertType.HIGH_MEMORY_USAGE),
        ("alert_resolved", "info", AlertType.HIGH_MEMORY_USAGE),
    ]


async def test_what_the_history_gives_up_in_an_interval_is_an_alert(
    bus: EventBus, clock: ManualClock
) -> None:
    given_up = iter([5, 5, 8, 8, 8])
    async with monitor_of(bus, clock, history_shed=lambda: next(given_up)) as monitor:
        await clock.advance(10)
        assert [(each.type, each.value) for each in monitor.firing_alerts] == [
            (AlertType.HISTORY_SHED, 3)
        ]
        await clock.advance(10)
        assert monitor.firing_alerts == ()


async def test_metrics_and_alerts_are_published(bus: EventBus, clock: ManualClock) -> None:
    machine = Machine(memory=100_000_000)
    async with monitor_of(
        bus, clock, machine=machine, thresholds=Thresholds(max_memory_mb=200)
    ) as monitor:
        started = clock.time_ms()
        await clock.advance(10)
        machine.memory = 300_000_000
        await clock.advance(20)
        assert [alert.type for alert in monitor.firing_alerts] == [AlertType.HIGH_MEMORY_USAGE]
        machine.memory = 150_000_000
        await clock.advance(20)
        assert monitor.firing_alerts == ()

        published = bus.history(PERFORMANCE_METRICS_COLLECTED)
        assert [event.data for event in published][::-1] == monitor.metrics_history()
    alerts = bus.history(PERFORMANCE_ALERT)[::-1]
    assert [
        (event.data.state, event.data.value, event.data.threshold, event.data.node, event.priority)
        for event in alerts
    ] == [
        (AlertState.FIRING, 300, 200, "n1", Priority.HIGH),
        (AlertState.RESOLVED, 150, 200, "n1", Priority.HIGH),
    ]
    assert [event.data.since for event in alerts] == [started + 20_000] * 2
    assert [event.data.timestamp for event in alerts] == [started + 20_000, started + 40_000]


async def test_history_holds_the_newest_and_gives_them_oldest_first(
    bus: EventBus, clock: ManualClock
) -> None:
    async with monitor_of(bus, clock, history_size=3) as monitor:
        started = clock.time_ms()
        await clock.advance(50)

        def ages(limit: int) -> list[int]:
            return [(each.timestamp - started) // 1000 for each in monitor.metrics_history(limit)]

        assert ages(100) == [30, 40, 50]
        assert ages(2) == [40, 50]
        assert ages(0) == []


async def test_average_is_over_the_time_that_is_asked_for(
    bus: EventBus, clock: ManualClock
) -> None:
    door = Door()
    async with monitor_of(bus, clock, door) as monitor:
        for clients, messages in [(900, 9_000), (1, 100), (4, 300)]:
            door.clients = clients
            door.messages_out += messages
            await clock.advance(10)

        assert monitor.average_metrics(20_000) == replace(
            current(monitor), connection_count=2, message_rate=20
        )
        everything = monitor.average_metrics()
        assert everything is not None
        assert everything.message_rate == pytest.approx(9_400 / 30)


async def test_there_is_no_average_of_nothing(bus: EventBus, clock: ManualClock) -> None:
    async with monitor_of(bus, clock) as monitor:
        assert monitor.average_metrics() is None
        await clock.advance(10)
        assert monitor.average_metrics() is not None
        await clock.advance(5)
        assert monitor.average_metrics(5_000) is None


async def test_door_that_fails_does_not_end_the_watch(bus: EventBus, clock: ManualClock) -> None:
    door = Door()
    async with monitor_of(bus, clock, door) as monitor:
        door.messages_out = 100
        with capture_logs() as logs:
            door.broken = True
            await clock.advance(10)
            door.broken = False
        assert monitor.current_metrics() is None
        await clock.advance(10)

        assert [log["event"] for log in logs] == ["metrics_not_collected"]
        assert current(monitor).message_rate == 5


async def test_stopped_monitor_leaves_no_task_behind(bus: EventBus, clock: ManualClock) -> None:
    before = asyncio.all_tasks()
    async with monitor_of(bus, clock) as monitor:
        await clock.wait_for_sleepers(2)
    await clock.advance(100)

    assert asyncio.all_tasks() == before
    assert monitor.current_metrics() is None


async def test_interval_of_nothing_is_refused(bus: EventBus, clock: ManualClock) -> None:
    with pytest.raises(ValueError, match="interval"):
        PerformanceMonitor(bus, clock, node="n1", sources=(), thresholds=Thresholds(), interval=0)
