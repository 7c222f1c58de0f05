"""Measures several nodes with one Redis; the command behind `scripts/bench cluster`."""

import socket
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from tests.bench.machine import cores, cpu_seconds, description, on_core
from tests.bench.peers import compile_c, python_server
from tests.bench.processes import BenchError, Generator, Ready, Server
from tests.support.redis_server import RedisServer, running_redis

PEERS: Final = {"stockstream": "cluster_ours", "python-socketio": "cluster_plain"}
#: Symbols on the market; the one client of the paced measurement watches all of them.
SYMBOLS: Final = 200
#: Nodes that share a Redis in the flood.
SIZES: Final = (1, 2, 4)
#: Seconds until nothing that updates caused goes on.
_SETTLING: Final = 0.5
#: Seconds that everybody has to hear of all updates of a flood.
_PATIENCE: Final = 30.0

#: A figure of one round, by what it is.
Figures = dict[str, float]
#: All of them: by peer and figure, one for each round.
Samples = defaultdict[tuple[str, str], list[float]]


class Control:
    """Gives orders to a server, and reads the answers."""

    def __init__(self, server: Server) -> None:
        self._connection = socket.create_connection(("127.0.0.1", server.ready.control), 120)
        self._answers = self._connection.makefile("rb")

    def send(self, order: str) -> None:
        self._connection.sendall(order.encode() + b"\n")

    def answer(self) -> float:
        line = self._answers.readline()
        if not line:
            raise BenchError("a node has ended")
        return float(line)

    def ask(self, order: str) -> float:
        self.send(order)
        return self.answer()

    def close(self) -> None:
        self._answers.close()
        self._connection.close()


class Cluster:
    """Nodes of one peer, running."""

    def __init__(self, redis: RedisServer, roles: tuple[str, ...]) -> None:
        self.redis = redis
        #: By node.
        self.roles = roles
        self.servers: list[Server] = []
        self.controls: list[Control] = []

    def settle(self) -> None:
        """Wait until all symbols are owned and shared evenly.

        Raises:
            BenchError: it took too long.
        """
        end = time.monotonic() + _PATIENCE
        streaming = [c for c, r in zip(self.controls, self.roles, strict=True) if r != "gateway"]
        while time.monotonic() < end:
            shares = [control.ask("owned") for control in streaming]
            if min(shares) >= 1 / len(shares) - 1 / 64:
                return
            time.sleep(0.1)
        raise BenchError("the nodes did not share the symbols")


@contextmanager
def running(peer: str, roles: tuple[str, ...], folder: Path) -> Iterator[Cluster]:
    """Run a node for each role, and a Redis of their own on the generator's core."""
    server_core, own_core = cores() or (None, None)
    empty = folder / "empty.csv"
    empty.write_text("timestamp_ms,symbol,price,size,bid,ask\n1,NONE,1,,,\n")
    with ExitStack() as stack:
        with on_core(own_core):
            redis = stack.enter_context(running_redis())
        env = {
            "STOCKSTREAM_REDIS_URL": redis.url,
            "STOCKSTREAM_PROVIDER": "replay",
            "STOCKSTREAM_REPLAY_FILE": str(empty),
            "STOCKSTREAM_LOG_LEVEL": "warning",
        }
        cluster = Cluster(redis, roles)
        for role in roles:
            command = python_server(PEERS[peer])
            server = Server(command, core=server_core, env={**env, "STOCKSTREAM_ROLE": role})
            cluster.servers.append(stack.enter_context(server))
            cluster.controls.append(Control(server))
            stack.callback(cluster.controls[-1].close)
        cluster.settle()
        yield cluster


def paced(peer: str, folder: Path, *, rate: int, seconds: float) -> Figures:
    """Measure what an update costs each node, and how long it takes to a client of another one.

    The first node makes the updates, a client of the second watches all of them, and nobody on the
    third one watches anything.

    Raises:
        BenchError: there is no figure that means anything.
    """
    with running(peer, ("all", "gateway", "gateway"), folder) as cluster:
        owner, there, idle = cluster.servers
        pids = {
            "owner": owner.pid,
            "node that wants it": there.pid,
            "node that does not": idle.pid,
            "Redis": cluster.redis.child.pid,
        }
        to = Ready(port=there.ready.port, control=owner.ready.control, version="")
        generator = Generator(compile_c("loadgen"), to, symbols=SYMBOLS, per_client=SYMBOLS)
        with generator:
            generator.ask("connect 1 0")
            generator.ask("subscribe")
            generator.ask("repeat 3")
            before = {name: cpu_seconds(pid) for name, pid in pids.items()}
            answer = generator.ask(f"rate {seconds} {rate}")
            spent = {name: cpu_seconds(pid) - before[name] for name, pid in pids.items()}
            # What each does when nothing happens is not for the updates.
            time.sleep(_SETTLING)
            quiet = _spent(pids, seconds)
    updates = max(answer.received, 1)
    figures = {
        f"CPU µs/update, {name}": (spent[name] - quiet[name] * answer.wall_s) / updates * 1e6
        for name in pids
    }
    return figures | {
        "updates/s that arrived": answer.received / answer.wall_s,
        "p50 ms, owner to client": answer.p50_us / 1e3,
        "p99 ms, owner to client": answer.p99_us / 1e3,
        "lost or out of order": answer.expected - answer.received + answer.disorder,
    }


def _spent(pids: dict[str, int], seconds: float) -> dict[str, float]:
    """Return the CPU seconds that each spends in a second of quiet."""
    before = {name: cpu_seconds(pid) for name, pid in pids.items()}
    time.sleep(seconds)
    return {name: (cpu_seconds(pid) - before[name]) / seconds for name, pid in pids.items()}


def flood(peer: str, folder: Path, *, nodes: int, seconds: float) -> Figures:
    """Measure how many updates a second nodes make and all of them hear.

    Raises:
        BenchError: there is no figure that means anything.
    """
    with running(peer, ("all",) * nodes, folder) as cluster:
        controls = cluster.controls
        _warm_up(peer, controls)
        before = [control.ask("heard") for control in controls]
        begun = time.monotonic()
        for number, control in enumerate(controls):
            control.send(f"flood {seconds} {SYMBOLS} {number} {nodes}")
        made = sum(control.answer() for control in controls)
        heard = _until_quiet(controls, [count + made for count in before])
        wall = time.monotonic() - begun
    name = f"{nodes} node{'s' if nodes > 1 else ''}"
    return {
        f"updates/s, {name}": made / wall,
        f"updates not heard, {name}": sum(
            count + made - each for count, each in zip(before, heard, strict=True)
        ),
    }


def _warm_up(peer: str, controls: list[Control]) -> None:
    """Have every node hear every symbol, and something of all of them.

    Raises:
        BenchError: one of them hears nothing.
    """
    end = time.monotonic() + _PATIENCE
    for control in controls:
        while peer == "stockstream" and control.ask(f"watch {SYMBOLS}") < SYMBOLS:
            if time.monotonic() > end:
                raise BenchError("a node does not hear")
            time.sleep(0.05)
    while not all(control.ask("heard") for control in controls):
        if time.monotonic() > end:
            raise BenchError("a node does not hear")
        controls[0].ask(f"flood 0.01 {SYMBOLS} 0 1")
        time.sleep(0.1)
    _until_quiet(controls, None)


def _until_quiet(controls: list[Control], wanted: list[float] | None) -> list[float]:
    """Wait until nodes have heard so much, or hear nothing more for a second; return how much."""
    heard, moved = [0.0], time.monotonic()
    while time.monotonic() < moved + 1 and heard != wanted:
        time.sleep(0.01)
        now = [control.ask("heard") for control in controls]
        if now != heard:
            heard, moved = now, time.monotonic()
    return heard


def measure(rounds: int, rate: int, seconds: float, console: Console) -> Samples:
    """Rounds of everything in turn, so that drifts of the machine hit everybody."""
    samples: Samples = defaultdict(list)
    sizes = (0, *SIZES)
    steps = [(peer, size) for _ in range(rounds) for size in sizes for peer in PEERS]
    with tempfile.TemporaryDirectory(prefix="stockstream-bench-") as name:
        for peer, size in track(steps, "cluster", console=console, transient=True):
            folder = Path(name)
            figures = (
                flood(peer, folder, nodes=size, seconds=seconds)
                if size
                else paced(peer, folder, rate=rate, seconds=seconds)
            )
            for figure, value in figures.items():
                samples[peer, figure].append(value)
    return samples


def show(samples: Samples, rate: int, console: Console) -> None:
    """The median of each figure, the lowest and the highest, of each peer."""
    console.print(description())
    table = Table(
        title=f"Several nodes, one Redis; {rate:,} updates/s where they are paced", box=None
    )
    table.add_column("")
    for peer in PEERS:
        table.add_column(peer, justify="right")
    for figure in dict.fromkeys(figure for _, figure in samples):
        cells = [samples[peer, figure] for peer in PEERS]
        table.add_row(figure, *(f"{median(c):,.1f} ({min(c):,.1f}…{max(c):,.1f})" for c in cells))
    console.print(table)


def faults(samples: Samples) -> float:
    """Updates of ours that were lost or came out of order."""
    return sum(
        sum(values)
        for (peer, figure), values in samples.items()
        if peer == "stockstream" and figure.startswith(("lost", "updates not heard"))
    )


def main(
    *,
    rounds: Annotated[int, typer.Option(min=1, help="How often everything is measured.")] = 3,
    rate: Annotated[
        int, typer.Option(min=1, help="Updates a second where they are paced.")
    ] = 5_000,
    seconds: Annotated[float, typer.Option(min=0.1, help="Each measurement.")] = 3.0,
) -> None:
    """Measure several nodes that share one Redis, beside python-socketio with its Redis manager.

    First at a pace: CPU for each update on its owner, on a node that wants it, on one that does not
    and in Redis, and the time from the owner to a client of another node. Then as fast as it goes:
    updates a second with 1, 2 and 4 nodes, all of which hear all of them. Takes about three
    minutes. The exit status is 1 when an update of ours got lost or came out of order.
    """
    console = Console(width=max(Console().width, 100))
    try:
        samples = measure(rounds, rate, seconds, console)
    except BenchError as error:
        console.print(f"[red]{error}[/red]")
        raise typer.Exit(2) from error
    show(samples, rate, console)
    raise typer.Exit(1 if faults(samples) else 0)


if __name__ == "__main__":
    app = typer.Typer(add_completion=False)
    app.command()(main)
    app(prog_name="scripts/bench cluster")
