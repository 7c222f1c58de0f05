"""The work that is measured."""

from collections.abc import Callable
from dataclasses import dataclass

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
#: Clients that come before the measured ones, so that what a server needs once is not counted.
FIRST_CLIENTS = 100
#: Seconds of unmeasured work before the measured.
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
    #: False where no updates are delivered, so that there is no floor to hold against.
    delivers: bool = True


def single(clients: int) -> Workload:
    def run(session: Session) -> None:
        session.join(clients)
        session.warm_up(f"turns {WARM_UP_S}")
        session.measure_delivery(f"turns {session.seconds}")

    title = f"{clients:,} clients on one symbol, one update a turn"
    return Workload(name="single", title=title, clients=clients, symbols=1, per_client=1, run=run)


def burst(clients: int) -> Workload:
    def run(session: Session) -> None:
        session.join(clients)
        session.warm_up(f"turns {WARM_UP_S}")
        session.measure_delivery(f"turns {session.seconds}")

    return Workload(
        name="burst",
        title=f"{clients:,} clients on {WATCHED} of {SYMBOLS} symbols, all change at once",
        clients=clients,
        symbols=SYMBOLS,
        per_client=WATCHED,
        run=run,
    )


def trickle(clients: int) -> Workload:
    def run(session: Session) -> None:
        session.join(clients)
        session.warm_up(f"rate {WARM_UP_S} {TRICKLE_HERTZ}")
        session.measure_delivery(f"rate {session.seconds} {TRICKLE_HERTZ}")

    return Workload(
        name="trickle",
        title=f"the same clients, {TRICKLE_HERTZ} updates a second evenly spread",
        clients=clients,
        symbols=SYMBOLS,
        per_client=WATCHED,
        run=run,
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
        delivers=False,
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
        delivers=False,
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
        session.sample.figures["kb_subscribed"] = (session.memory_kb() - empty) / (clients - first)
        session.warm_up(f"turns {WARM_UP_S}")
        session.measure_delivery(f"turns {session.seconds}")

    return Workload(
        name=f"scale {clients}",
        title=f"{clients:,} clients on {WATCHED} of {symbols:,} symbols, all change at once",
        clients=clients,
        symbols=symbols,
        per_client=WATCHED,
        run=run,
    )


#: Makes a workload for so many clients.
Make = Callable[[int], Workload]

SIMPLE = {make.__name__: make for make in (single, burst, trickle, connect, memory)}
NAMES = (*SIMPLE, "scale")


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
            chosen.append(
                SIMPLE[name](clients or (MEMORY_CLIENTS if name == "memory" else CLIENTS))
            )
    return chosen
