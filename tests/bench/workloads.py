"""The work that is measured."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from stockstream.config import Settings
from tests.bench.peers import LIMIT
from tests.bench.session import Session

#: Clients of the quote workloads watch this many symbols out of so many.
WATCHED = 20
SYMBOLS = 500
#: Updates a second of the trickle, over all symbols.
TRICKLE_HERTZ = 500
SCALE_SIZES = (100, 1_000, 5_000, 10_000)
#: Clients where nothing else is asked for; memory is claimed in large pieces and needs more.
CLIENTS = 1_000
MEMORY_CLIENTS = 5_000
#: Of a storm, and how many of them there are for each client inside.
STORM_CLIENTS = 10_000
STORM_FOR_EACH = 10
#: One client in so many can stall. Turns until nothing more fits into the kernel's buffers and
#: the transport's for one that did: 6 KB each.
SLOW_EVERY = 10
FILL_TURNS = 20
#: Clients that come before the measured ones, so that what a server needs once is not counted.
FIRST_CLIENTS = 100
#: Seconds of unmeasured work before the measured, at most.
WARM_UP_S = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Workload:
    """One thing to measure, on every server alike."""

    name: str
    #: What happens, as a phrase.
    title: str
    #: Largest number of clients at a time.
    clients: int
    #: Number of symbols on the market, and how many of them each client watches.
    symbols: int
    per_client: int
    run: Callable[[Session], None]
    #: Rough time of one measurement, in seconds: what is fixed (averaged over the peers), and how
    #: often the time of delivery.
    fixed_s: float
    phases: int = 1
    #: Peers that can't take part or are not asked to, by name.
    without: tuple[str, ...] = ()
    #: Settings for the server; they come last.
    env: Mapping[str, str] = field(default_factory=dict)


def warm_up_s(session: Session) -> float:
    """Seconds of unmeasured work before the measured: short where little is measured."""
    return min(WARM_UP_S, session.seconds)


def single(clients: int) -> Workload:
    def run(session: Session) -> None:
        session.join(clients)
        session.warm_up(f"turns {warm_up_s(session)}")
        session.measure_delivery(f"turns {session.seconds}")

    title = f"{clients:,} clients on one symbol, one update a turn"
    return Workload(
        name="single",
        title=title,
        clients=clients,
        symbols=1,
        per_client=1,
        run=run,
        fixed_s=2.0 + clients / 2_000,
    )


def burst(clients: int) -> Workload:
    def run(session: Session) -> None:
        session.join(clients)
        session.warm_up(f"turns {warm_up_s(session)}")
        session.measure_delivery(f"turns {session.seconds}")

    return Workload(
        name="burst",
        title=f"{clients:,} clients on {WATCHED} of {SYMBOLS} symbols, all change at once",
        clients=clients,
        symbols=SYMBOLS,
        per_client=WATCHED,
        run=run,
        fixed_s=2.0 + clients / 1_000,
    )


def trickle(clients: int) -> Workload:
    def run(session: Session) -> None:
        session.join(clients)
        session.warm_up(f"rate {warm_up_s(session)} {TRICKLE_HERTZ}")
        session.measure_delivery(f"rate {session.seconds} {TRICKLE_HERTZ}")

    return Workload(
        name="trickle",
        title=f"the same clients, {TRICKLE_HERTZ} updates a second evenly spread",
        clients=clients,
        symbols=SYMBOLS,
        per_client=WATCHED,
        run=run,
        fixed_s=2.0 + clients / 2_000,
    )


def connect(clients: int) -> Workload:
    def run(session: Session) -> None:
        session.join(FIRST_CLIENTS)
        session.measure_joining(clients)

    return Workload(
        name="connect",
        title=f"{clients:,} clients shake hands and subscribe to {WATCHED} symbols each",
        clients=clients + FIRST_CLIENTS,
        symbols=SYMBOLS,
        per_client=WATCHED,
        run=run,
        fixed_s=1.0 + clients / 700,
        phases=0,
        without=(LIMIT,),
    )


def memory(clients: int) -> Workload:
    def run(session: Session) -> None:
        session.join(FIRST_CLIENTS)
        empty = session.memory_kb()
        session.join(clients, subscribe=False)
        connected = session.memory_kb()
        session.join(0)
        subscribed = session.memory_kb()
        session.sample.figures |= {
            "kb_connected": (connected - empty) / clients,
            "kb_subscribed": (subscribed - empty) / clients,
        }

    return Workload(
        name="memory",
        title=f"{clients:,} clients connect, then subscribe to {WATCHED} symbols each",
        clients=clients + FIRST_CLIENTS,
        symbols=SYMBOLS,
        per_client=WATCHED,
        run=run,
        fixed_s=1.0 + clients / 1_000,
        phases=0,
        without=(LIMIT,),
    )


def stalled(clients: int) -> Workload:
    trickling = f"{TRICKLE_HERTZ} updates a second"

    def run(session: Session) -> None:
        session.join(clients, slow_every=SLOW_EVERY)
        session.warm_up(f"rate {warm_up_s(session)} {TRICKLE_HERTZ}")
        session.measure_delivery(f"rate {session.seconds} {TRICKLE_HERTZ}")
        session.measure_with_stalled(
            f"rate {session.seconds} {TRICKLE_HERTZ}",
            fill_turns=FILL_TURNS,
            stalled=len(range(0, clients, SLOW_EVERY)),
        )

    return Workload(
        name="stalled",
        title=f"{clients:,} clients, {trickling}; then one in {SLOW_EVERY} stops reading",
        clients=clients,
        symbols=SYMBOLS,
        per_client=WATCHED,
        run=run,
        fixed_s=2.5 + clients / 150,
        phases=2,
        without=(LIMIT,),
    )


def storm(clients: int) -> Workload:
    inside = max(clients // STORM_FOR_EACH, 10)

    def run(session: Session) -> None:
        session.join(inside)
        session.warm_up(f"rate {warm_up_s(session)} {TRICKLE_HERTZ}")
        session.measure_delivery(f"rate {session.seconds} {TRICKLE_HERTZ}")
        session.measure_storm(f"storm {clients} {TRICKLE_HERTZ}")

    return Workload(
        name="storm",
        title=f"{inside:,} clients, {TRICKLE_HERTZ} updates a second, and {clients:,} more at once",
        clients=clients + inside,
        symbols=SYMBOLS,
        per_client=WATCHED,
        run=run,
        fixed_s=2.5 + clients / 1_000,
        without=(LIMIT,),
    )


def paced_storm(clients: int) -> Workload:
    # The peers have no such pace.
    pace = float(Settings.model_fields["max_handshakes_per_second"].default)
    at_once = storm(clients)
    return replace(
        at_once,
        name="paced storm",
        title=f"{at_once.title}, {pace:g} a second are let in",
        fixed_s=2.5 + clients / pace * 1.2,
        without=("plain", "node", LIMIT),
        env={"STOCKSTREAM_MAX_HANDSHAKES_PER_SECOND": f"{pace:g}"},
    )


def scale(clients: int) -> Workload:
    # The number of symbols grows with the clients: each symbol keeps 40 watchers, each client its
    # 20 symbols, so that the work for each delivered update is the same at every size.
    symbols = clients // 2
    first = clients // 10

    def run(session: Session) -> None:
        session.join(first)
        empty = session.memory_kb()
        session.join(clients - first)
        session.warm_up(f"turns {warm_up_s(session)}")
        session.measure_delivery(f"turns {session.seconds}")
        # What they take while they listen, buffers that delivering has left behind included.
        session.sample.figures["kb_listening"] = (session.memory_kb() - empty) / (clients - first)

    return Workload(
        name=f"scale {clients}",
        title=f"{clients:,} clients on {WATCHED} of {symbols:,} symbols, all change at once",
        clients=clients,
        symbols=symbols,
        per_client=WATCHED,
        run=run,
        fixed_s=1.5 + clients / 1_000,
        without=("plain", "node"),
    )


#: Makes a workload for so many clients.
Make = Callable[[int], Workload]

WORKLOADS: dict[str, tuple[Make, ...]] = {
    "single": (single,),
    "burst": (burst,),
    "trickle": (trickle,),
    "connect": (connect,),
    "memory": (memory,),
    "stalled": (stalled,),
    "storm": (storm, paced_storm),
}
NAMES = (*WORKLOADS, "scale")
SIZES = {"memory": MEMORY_CLIENTS, "storm": STORM_CLIENTS}


def choose(names: list[str], clients: int | None) -> list[Workload]:
    """The workloads of these names; `clients` is their size, and the largest one of `scale`.

    Raises:
        KeyError: there is no workload of that name.
    """
    chosen: list[Workload] = []
    for name in names:
        if name == "scale":
            chosen += [scale(size) for size in SCALE_SIZES if size <= (clients or size)]
        else:
            size = clients or SIZES.get(name, CLIENTS)
            chosen += [make(size) for make in WORKLOADS[name]]
    return chosen
