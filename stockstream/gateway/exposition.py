"""What Prometheus scrapes: read from the parts of the house at that moment, and kept nowhere."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from stockstream.core.latency import LatencyHistogram

Reading = float | Mapping[str, float]

#: Bounds of the latency histogram, in ms.
_BOUNDS_MS: Final = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000)


class Exposition(Collector):
    """A page of metrics; each is a name, a sentence, and where to read it.

    Names carry base units (seconds, bytes) and, for counters, end in ``_total``; see
    https://prometheus.io/docs/practices/naming/.
    """

    def __init__(self) -> None:
        self._metrics: list[Callable[[], Metric]] = []
        self._registry = CollectorRegistry(auto_describe=False)
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._registry)
        self._registry.register(self)

    def counter(
        self, name: str, help_text: str, read: Callable[[], Reading], label: str = ""
    ) -> None:
        """Show what only ever grows; ``label`` names the key where ``read`` returns a mapping."""
        self._add(CounterMetricFamily, name, help_text, read, label)

    def gauge(
        self, name: str, help_text: str, read: Callable[[], Reading], label: str = ""
    ) -> None:
        """Show what goes up and down."""
        self._add(GaugeMetricFamily, name, help_text, read, label)

    def latency(self, name: str, help_text: str, read: Callable[[], LatencyHistogram]) -> None:
        """Show a distribution of durations, in seconds."""

        def family() -> Metric:
            recorded = read()
            buckets = [(str(ms / 1000), float(recorded.count_up_to(ms))) for ms in _BOUNDS_MS]
            metric = HistogramMetricFamily(f"stockstream_{name}", help_text)
            metric.add_metric(
                [], [*buckets, ("+Inf", float(recorded.count))], sum_value=recorded.sum / 1000
            )
            return metric

        self._metrics.append(family)

    def collect(self) -> Iterator[Metric]:
        """Read everything now."""
        for metric in self._metrics:
            yield metric()

    def describe(self) -> Iterable[Metric]:
        """Promise nothing: what there is shows when it is read."""
        return ()

    def page(self) -> bytes:
        """Return the page as text."""
        return generate_latest(self._registry)

    def _add(
        self,
        kind: type[CounterMetricFamily | GaugeMetricFamily],
        name: str,
        help_text: str,
        read: Callable[[], Reading],
        label: str,
    ) -> None:
        def family() -> Metric:
            reading = read()
            metric = kind(f"stockstream_{name}", help_text, labels=[label] if label else [])
            if isinstance(reading, Mapping):
                for key, value in reading.items():
                    metric.add_metric([key], value)
            else:
                metric.add_metric([], reading)
            return metric

        self._metrics.append(family)
