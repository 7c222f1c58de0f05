"""One server with its audience, and what was measured of it."""

import msgspec

from tests.bench.machine import cpu_seconds, resident_kb
from tests.bench.processes import Answer, Generator, Server


class Sample(msgspec.Struct, kw_only=True):
    """What one measurement of one server gave."""

    #: By the names of ``METRICS``.
    figures: dict[str, float] = {}
    #: Updates that had to arrive and did.
    delivered: int = 0
    #: Updates that never arrived.
    lost: int = 0
    #: Updates that came out of order, twice, or to somebody who had not asked for them.
    disorder: int = 0
    #: Share of the measured time that each process was on its core, 0 to 1: the larger one is the
    #: bottleneck.
    server_busy: float = 0.0
    generator_busy: float = 0.0


class Session:
    """Drives one server through a workload and gathers the sample."""

    def __init__(self, server: Server, generator: Generator, *, seconds: float) -> None:
        self.sample = Sample()
        #: How long updates are delivered, in seconds.
        self.seconds = seconds
        self._server = server
        self._generator = generator

    def join(self, clients: int, *, subscribe: bool = True) -> None:
        """Connects so many more clients and has them subscribe."""
        self._generator.ask(f"connect {clients}")
        if subscribe:
            self._generator.ask("subscribe")

    def measure_joining(self, clients: int) -> None:
        """CPU time of the server for each client that connects and subscribes."""
        before = cpu_seconds(self._server.pid)
        answers = [self._generator.ask(f"connect {clients}"), self._generator.ask("subscribe")]
        spent = cpu_seconds(self._server.pid) - before
        self.sample.figures["cpu_us_client"] = spent * 1e6 / clients
        self._note_busy(spent, *answers)

    def measure_delivery(self, command: str) -> None:
        """CPU time of the server for each update that reached a client, and the latencies."""
        before = cpu_seconds(self._server.pid)
        answer = self._generator.ask(command)
        spent = cpu_seconds(self._server.pid) - before
        self.sample.delivered = answer.received
        self.sample.lost = answer.expected - answer.received
        self.sample.disorder = answer.disorder + answer.unwanted
        self.sample.figures |= {
            "cpu_us": spent * 1e6 / max(answer.received, 1),
            "p50_ms": answer.p50_us / 1e3,
            "p99_ms": answer.p99_us / 1e3,
        }
        self._note_busy(spent, answer)

    def memory_kb(self) -> int:
        """Resident memory of the server in KiB, garbage collected."""
        self._server.collect_garbage()
        return resident_kb(self._server.pid)

    def warm_up(self, command: str) -> None:
        """The same work unmeasured, until just-in-time compilers and caches have settled."""
        self._generator.ask(command)

    def _note_busy(self, server_cpu_s: float, *answers: Answer) -> None:
        wall = sum(answer.wall_s for answer in answers)
        self.sample.server_busy = server_cpu_s / wall
        self.sample.generator_busy = sum(answer.cpu_s for answer in answers) / wall
