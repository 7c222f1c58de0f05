"""How the service itself is doing (documented, section 7.1)."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import islice
from statistics import fmean
from types import TracebackType
from typing import Final, Protocol, Self

import structlog

from stockstream.core.latency import LatencyHistogram
from stockstream.core.thresholds import AlertRules, Thresholds
from stockstream.model.alert import Alert, AlertState
from stockstream.model.event import Priority
from stockstream.model.metrics import PerformanceMetrics
from stockstream.model.topics import PERFORMANCE_ALERT, PERFORMANCE_METRICS_COLLECTED
from stockstream.ports import Clock
from stockstream.services.event_bus import EventBus
from stockstream.services.probes import LoopLagProbe, ProcessProbe

_SOURCE: Final = "performance_monitor"
_MB: Final = 1_000_000
# Of these an average over several intervals is the mean; a count of clients is rounded besides.
_AVERAGED: Final = (
    "message_rate",
    "latency",
    "latency_p50",
    "latency_p99",
    "error_rate",
    "memory_usage",
    "cpu_usage",
    "event_loop_lag",
)

_log = structlog.get_logger(__name__)


class TrafficSource(Protocol):
    """What a door to clients counts; all but the connections only ever grows."""

    @property
    def connection_count(self) -> int:
        """Clients connected now."""
        ...

    @property
    def messages_in(self) -> int:
        """Messages received from clients."""
        ...

    @property
    def messages_out(self) -> int:
        """Messages written to clients: one for each recipient."""
        ...

    @property
    def errors(self) -> int:
        """Messages, in or out, whose handling failed through a fault that is not the client's."""
        ...

    @property
    def latency(self) -> LatencyHistogram:
        """Milliseconds from a quote's receipt to its being written, once for each recipient."""
        ...


class Process(Protocol):
    """What the operating system counts for this process."""

    def memory_bytes(self) -> int:
        """Return the resident memory."""
        ...

    def cpu_seconds(self) -> float:
        """Return the CPU time used so far."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    """Every counter at one moment."""

    #: The moment, in seconds on the monotonic clock.
    at: float
    connections: int
    messages: int
    errors: int
    latency: LatencyHistogram
    cpu_seconds: float
    history_shed: int


class PerformanceMonitor:
    """Measures the service at regular intervals, and says so when it is out of bounds.

    At the end of each interval it publishes ``performance_metrics_collected``, and then
    ``performance_alert`` for each threshold that was passed, once in each direction. It works from
    the beginning to the end of an ``async with`` block.

    It reads what others count anyway. The documented design publishes an event on the bus for each
    message sent or received: at 100,000 messages a second that costs more than sending them.

    What the figures mean:

    * **Latency** is the time from the moment that a quote was received from its provider to the
      moment that its frame was handed to the operating system for the client's socket, or to the
      transport's buffer where that is full. It is not the age of the price, which would need the
      provider's clock, nor does it hold the way through the network.
    * **Error rate** is errors for each message handled in the interval, at most 1; errors without
      any message count as 1.
    * **CPU** is percent of one core, as a mean over the interval: a process that uses two cores has
      200.

    Args:
        bus: where it publishes.
        clock: time.
        node: this process's name in the cluster.
        sources: the doors to clients; their figures are summed.
        thresholds: what is out of bounds.
        interval: seconds between two measurements.
        process: what the operating system counts; None for this process.
        history_size: most measurements that are held.
        redis_gone_for: says for how many seconds Redis has been out of reach; None without Redis.
        history_shed: says how much of the history was given up since the beginning.
    """

    def __init__(
        self,
        bus: EventBus,
        clock: Clock,
        *,
        node: str,
        sources: Sequence[TrafficSource],
        thresholds: Thresholds,
        interval: float = 10.0,
        process: Process | None = None,
        history_size: int = 1000,
        redis_gone_for: Callable[[], float] | None = None,
        history_shed: Callable[[], int] = lambda: 0,
    ) -> None:
        if interval <= 0:
            raise ValueError(f"interval {interval} is not above 0")
        self._bus = bus
        self._clock = clock
        self._node = node
        self._sources = tuple(sources)
        self._rules = AlertRules(thresholds)
        self._redis_gone_for = redis_gone_for
        self._history_shed = history_shed
        self._interval = interval
        self._process = ProcessProbe() if process is None else process
        self._lag = LoopLagProbe(clock)
        self._history: deque[PerformanceMetrics] = deque(maxlen=history_size)
        self._last = self._read()
        self._resources = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._last = self._read()
        await self._resources.enter_async_context(self._lag)
        task = asyncio.create_task(self._run(), name="performance monitor")
        self._resources.push_async_callback(_end, task)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._resources.aclose()

    @property
    def firing_alerts(self) -> Sequence[Alert]:
        """The alerts that are firing now, as they began."""
        return self._rules.firing

    def current_metrics(self) -> PerformanceMetrics | None:
        """Return the newest measurement; None before the end of the first interval."""
        return self._history[-1] if self._history else None

    def metrics_history(self, limit: int = 100) -> Sequence[PerformanceMetrics]:
        """Return the newest measurements, at most ``limit``, the oldest of them first."""
        newest = list(islice(reversed(self._history), max(limit, 0)))
        return newest[::-1]

    def average_metrics(self, time_range_ms: int = 60_000) -> PerformanceMetrics | None:
        """Return the mean of the measurements of the last ``time_range_ms``; None without any.

        Each interval weighs the same. The mean of percentiles, or of the longest lags, is not the
        percentile, or longest lag, of the whole time.
        """
        now = self._clock.time_ms()
        recent = [each for each in self._history if each.timestamp > now - time_range_ms]
        if not recent:
            return None
        means = {name: fmean(getattr(each, name) for each in recent) for name in _AVERAGED}
        return PerformanceMetrics(
            connection_count=round(fmean(each.connection_count for each in recent)),
            **means,
            timestamp=now,
            node=self._node,
        )

    def collect(self) -> PerformanceMetrics:
        """End the interval now: measure, publish, and begin the next one.

        Raises:
            BusClosedError: nobody can be told.
        """
        before, self._last = self._last, self._read()
        metrics = self._measure(before, self._last)
        self._history.append(metrics)
        self._bus.publish(PERFORMANCE_METRICS_COLLECTED, metrics, source=_SOURCE)
        redis_gap = self._redis_gone_for() if self._redis_gone_for else 0.0
        shed = self._last.history_shed - before.history_shed
        for alert in self._rules.check(metrics, redis_gap, shed):
            _log_alert(alert)
            self._bus.publish(PERFORMANCE_ALERT, alert, source=_SOURCE, priority=Priority.HIGH)
        return metrics

    async def _run(self) -> None:
        while True:
            await self._clock.sleep(self._interval)
            try:
                self.collect()
            except Exception:  # noqa: BLE001 - the task's border
                # A source that fails must not end the watch over all others.
                _log.exception("metrics_not_collected", node=self._node)

    def _read(self) -> _Reading:
        latency = LatencyHistogram()
        for source in self._sources:
            latency = latency.plus(source.latency)
        return _Reading(
            at=self._clock.monotonic(),
            connections=sum(source.connection_count for source in self._sources),
            messages=sum(source.messages_in + source.messages_out for source in self._sources),
            errors=sum(source.errors for source in self._sources),
            latency=latency,
            cpu_seconds=self._process.cpu_seconds(),
            history_shed=self._history_shed(),
        )

    def _measure(self, before: _Reading, now: _Reading) -> PerformanceMetrics:
        seconds = now.at - before.at
        messages = now.messages - before.messages
        latency = now.latency.since(before.latency)
        return PerformanceMetrics(
            connection_count=now.connections,
            message_rate=_per_second(messages, seconds),
            latency=latency.mean,
            latency_p50=latency.p50,
            latency_p99=latency.p99,
            error_rate=_error_rate(now.errors - before.errors, messages),
            memory_usage=self._process.memory_bytes() / _MB,
            cpu_usage=100 * _per_second(now.cpu_seconds - before.cpu_seconds, seconds),
            event_loop_lag=self._lag.take_longest_ms(),
            timestamp=self._clock.time_ms(),
            node=self._node,
        )


def _per_second(amount: float, seconds: float) -> float:
    return amount / seconds if seconds > 0 else 0.0


def _error_rate(errors: int, messages: int) -> float:
    if errors == 0:
        return 0.0
    return min(errors / messages, 1.0) if messages > 0 else 1.0


async def _end(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.wait({task})


def _log_alert(alert: Alert) -> None:
    # Whoever has nothing but the log hears of it too.
    tell = _log.warning if alert.state is AlertState.FIRING else _log.info
    tell(f"alert_{alert.state}", alert=alert.type, value=alert.value, threshold=alert.threshold)
