"""One server with its audience, and what was measured of it."""

import msgspec

from tests.bench.machine import cpu_seconds, machine_cpu_seconds, resident_kb
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
    #: Cores that each was on while it was measured: of server and generator, the one nearer to 1
    #: is the bottleneck; anything else on the machine should have been idle.
    server_busy: float = 0.0
    generator_busy: float = 0.0
    others_busy: float = 0.0


class Session:
    """Drives one server through a workload and gathers the sample."""

    def __init__(self, server: Server, generator: Generator, *, seconds: float) -> None:
        self.sample = Sample()
        #: How long updates are delivered, in seconds.
        self.seconds = seconds
        self._server = server
        self._generator = generator

    def join(self, clients: int, *, subscribe: bool = True, slow_every: int = 0) -> None:
        """Connects so many more clients and has them subscribe.

        Every so many of them, if not 0, is one that can stall.
        """
        self._generator.ask(f"connect {clients} {slow_every}")
        if subscribe:
            self._generator.ask("subscribe")

    def measure_joining(self, clients: int) -> None:
        """CPU time of the server for each client that connects and subscribes."""
        spent, _ = self._measure(f"connect {clients}", "subscribe")
        self.sample.figures["cpu_us_client"] = spent * 1e6 / clients

    def measure_delivery(self, command: str) -> None:
        """CPU time of the server for each update that reached a client, and the latencies."""
        spent, answer = self._measure(command)
        self._check(answer)
        self.sample.figures |= {
            "cpu_us": spent * 1e6 / max(answer.received, 1),
            "p50_ms": answer.p50_us / 1e3,
            "p99_ms": answer.p99_us / 1e3,
        }

    def measure_with_stalled(self, command: str, *, fill_turns: int, stalled: int) -> None:
        """Latencies of the others while the slow clients read nothing, and what those hold.

        Args:
            command: what goes on meanwhile.
            fill_turns: turns that come first, so that the kernel's buffers are full.
            stalled: number of the slow clients.
        """
        before = self.memory_kb()
        self._generator.ask("stall")
        self._check(self._generator.ask(f"repeat {fill_turns}"))
        full = self.memory_kb()
        answer = self._generator.ask(command)
        self._check(answer)
        after = self.memory_kb()
        self._check(self._generator.ask("resume"))
        self.sample.figures |= {
            "p99_ms_stalled": answer.p99_us / 1e3,
            "kb_stalled": (after - before) / stalled,
            "kb_growth": (after - full) / stalled,
        }

    def measure_storm(self, command: str) -> None:
        """How long it takes until all are in, and what those inside feel of it."""
        _, answer = self._measure(command)
        self._check(answer)
        self.sample.figures |= {
            "p99_ms_storm": answer.p99_us / 1e3,
            "all_in_s": answer.wall_s,
            "refused": answer.refused,
            "broken": answer.broken,
        }
        if answer.refused:
            self.sample.figures["refusal_p99_ms"] = answer.refusal_p99_us / 1e3

    def memory_kb(self) -> int:
        """Resident memory of the server in KiB, garbage collected."""
        self._server.collect_garbage()
        return resident_kb(self._server.pid)

    def warm_up(self, command: str) -> None:
        """The same work unmeasured, until just-in-time compilers and caches have settled."""
        self._generator.ask(command)

    def _check(self, answer: Answer) -> None:
        self.sample.delivered += answer.received
        self.sample.lost += answer.expected - answer.received
        self.sample.disorder += answer.disorder + answer.unwanted

    def _measure(self, *commands: str) -> tuple[float, Answer]:
        """The server's CPU time during the commands, in seconds, and the last one's answer."""
        server, everything = cpu_seconds(self._server.pid), machine_cpu_seconds()
        answers = [self._generator.ask(command) for command in commands]
        server = cpu_seconds(self._server.pid) - server
        everything = machine_cpu_seconds() - everything
        wall = sum(answer.wall_s for answer in answers)
        generator = sum(answer.cpu_s for answer in answers)
        self.sample.server_busy = server / wall
        self.sample.generator_busy = generator / wall
        self.sample.others_busy = max(everything - server - generator, 0.0) / wall
        return server, answers[-1]
