"""All samples of a run, and the ratios made from them."""

from statistics import median
from typing import NamedTuple

import msgspec

from tests.bench.session import Sample

#: What is compared, in the order of the tables: less is better in all of them.
METRICS = {
    "cpu_us": "CPU µs/update",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "p99_ms_stalled": "p99 ms, some stalled",
    "kb_listening": "KiB/listening",
    "kb_stalled": "KiB/stalled",
    "kb_growth": "KiB/stalled, growth",
    "p99_ms_storm": "p99 ms, storm",
    "all_in_s": "s until all are in",
    "refused": "refused handshakes",
    "refusal_p99_ms": "p99 ms to a refusal",
    "broken": "broken connections",
    "cpu_us_client": "CPU µs/client",
    "kb_connected": "KiB/connected",
    "kb_subscribed": "KiB/subscribed",
}


class Spread(NamedTuple):
    """The middle one and the ends of several values."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> "Spread":
        return cls(median(values), min(values), max(values))


class Results(msgspec.Struct, kw_only=True):
    """A whole run, as it is written to the JSON file."""

    machine: str
    #: When it began, ISO 8601.
    started: str
    #: Seconds of delivery in each measurement.
    seconds: float
    #: Versions by peer, in the order of the tables; the first one is held against the others.
    peers: dict[str, str] = {}
    #: What happens, by workload.
    titles: dict[str, str] = {}
    #: One sample a round: by workload, by peer.
    samples: dict[str, dict[str, list[Sample]]] = {}
    #: Measurements that could not be made, a sentence on each.
    failures: list[str] = []

    def add(self, workload: str, peer: str, sample: Sample) -> None:
        self.samples.setdefault(workload, {}).setdefault(peer, []).append(sample)

    def metrics(self, workload: str) -> list[str]:
        """The metrics that this workload has."""
        found = {
            name
            for samples in self.samples[workload].values()
            for each in samples
            for name in each.figures
        }
        return [name for name in METRICS if name in found]

    def spread(self, workload: str, metric: str, peer: str) -> Spread | None:
        samples = self.samples[workload].get(peer, [])
        values = [each.figures[metric] for each in samples if metric in each.figures]
        return Spread.of(values) if values else None

    def ratio(self, workload: str, metric: str, peer: str) -> Spread | None:
        """The first peer's figure divided by this one's, round by round."""
        base = next(iter(self.peers))
        ours, theirs = (self.samples[workload].get(name, []) for name in (base, peer))
        ratios = [
            a.figures[metric] / b.figures[metric]
            for a, b in zip(ours, theirs, strict=False)
            if metric in a.figures and b.figures.get(metric, 0) > 0
        ]
        return Spread.of(ratios) if ratios and peer != base else None

    def faults(self) -> list[str]:
        """One sentence on each measurement that failed, or lost updates or their order."""
        return self.failures + [
            f"{workload}, {peer}: {sample.lost:,} updates lost, {sample.disorder:,} out of order"
            for workload, peers in self.samples.items()
            for peer, samples in peers.items()
            for sample in samples
            if sample.lost or sample.disorder
        ]
