"""Unmodified JavaScript clients that lose their connection, and what each of them saw."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from tests.support.fault_proxy import FaultProxy
from tests.support.npm import NodeProgram, run_node

#: Seconds that anything may take that a client waits for.
_PATIENCE = 40.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """How a client connects."""

    #: Major version of socket.io-client: 3 or 4.
    version: int = 4
    transports: tuple[str, ...] = ("websocket",)
    #: Whether it moves on from long-polling to WebSocket.
    upgrade: bool = False
    msgpack: bool = False

    def __str__(self) -> str:
        way = "upgrade" if self.upgrade else self.transports[0]
        return f"{self.version}.x-{way}{'-msgpack' if self.msgpack else ''}"


WEBSOCKET = Way()
MSGPACK = Way(msgpack=True)
POLLING = Way(transports=("polling",))
UPGRADE = Way(transports=("polling", "websocket"), upgrade=True)


class Heard(NamedTuple):
    """Something that happened to a client."""

    kind: str
    what: tuple[Any, ...]


class Connected(NamedTuple):
    """The beginning of one of a client's connections."""

    sid: str
    #: Whether the client believes that it got its session back.
    recovered: bool


class JsClient:
    """One client; all that happens to it is kept in order."""

    def __init__(self, crowd: "Crowd", number: int) -> None:
        self._crowd = crowd
        self._number = number
        #: Oldest first.
        self.heard: list[Heard] = []

    async def do(self, command: str, **options: object) -> int:
        """Give an order; returns the tag that an answer will carry."""
        return await self._crowd.do(command, self._number, **options)

    async def ask(self, event: str, *args: object) -> Any:
        """Emit, and return the acknowledgement's only argument."""
        tag = await self.do("ask", args=[event, *args])
        await self.until(lambda: self._answers(tag), f"the answer to {event}")
        return self._answers(tag)[0]

    async def subscribe(self, *symbols: str, **options: object) -> Any:
        events = [f"stock_update_{symbol}" for symbol in symbols]
        return await self.ask("subscribe", {"events": events, **options})

    async def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait until the condition, about what was heard, is true."""
        while not condition():
            await self._crowd.step(f"{what}; last heard {self.heard[-10:]}")

    async def hears(self, kind: str) -> None:
        """Wait until something of that kind has happened to it."""
        await self.until(lambda: any(each.kind == kind for each in self.heard), kind)

    async def has_changed_over(self, way: Way) -> None:
        """Wait until it has moved on to WebSocket, if that is its way.

        One whose WebSocket breaks in the middle of that notices only when no ping comes.
        """
        if way.upgrade:
            await self.hears("upgrade")

    async def connected(self, count: int) -> Connected:
        """Wait for its `count`-th connection, counted from 1."""
        await self.until(lambda: len(self.connections) >= count, f"connection {count}")
        return self.connections[count - 1]

    async def has(self, symbol: str, seq: int) -> None:
        """Wait until it has an update of that number or a later one."""
        await self.until(
            lambda: any(update["seq"] >= seq for update in self.updates(symbol)),
            f"update {seq} of {symbol}",
        )

    @property
    def losses(self) -> int:
        """How often it lost its connection."""
        return sum(each.kind == "disconnect" for each in self.heard)

    @property
    def connections(self) -> list[Connected]:
        return [Connected(*each.what) for each in self.heard if each.kind == "connect"]

    def events(self, name: str) -> list[tuple[Any, ...]]:
        """Return the arguments of all events of that name so far."""
        return [h.what[1:] for h in self.heard if h.kind == "event" and h.what[0] == name]

    def updates(self, symbol: str) -> list[dict[str, Any]]:
        """Return the payloads of all updates of a symbol, snapshots included."""
        return [args[0]["payload"] for args in self.events(f"stock_update_{symbol}")]

    def seqs(self, symbol: str) -> list[int]:
        """Return the number of each update of a symbol."""
        return [update["seq"] for update in self.updates(symbol)]

    def snapshots(self, symbol: str) -> list[int]:
        """Return the number of each update of a symbol that was a snapshot."""
        return [update["seq"] for update in self.updates(symbol) if "snapshot" in update]

    def _answers(self, tag: int) -> list[Any]:
        return [h.what[1] for h in self.heard if h.kind == "ack" and h.what[0] == tag]


class Crowd:
    """Clients in one process. What they report is read while somebody waits for it."""

    def __init__(self, program: NodeProgram) -> None:
        self._program = program
        self._clients: list[JsClient] = []
        self._tags = itertools.count(1)

    async def connect(self, port: int, way: Way = WEBSOCKET) -> JsClient:
        """Connect a client and wait for its welcome."""
        client = JsClient(self, len(self._clients))
        self._clients.append(client)
        await client.do(
            "connect",
            url=f"http://127.0.0.1:{port}",
            version=way.version,
            transports=way.transports,
            upgrade=way.upgrade,
            msgpack=way.msgpack,
        )
        await client.until(lambda: client.events("connected"), "the welcome")
        return client

    async def do(self, command: str, number: int, **options: object) -> int:
        """Give an order to a client; returns its tag."""
        tag = next(self._tags)
        await self._program.send({"do": command, "id": number, "tag": tag, **options})
        return tag

    async def step(self, what: str) -> None:
        """Take in the next report of any client."""
        try:
            number, kind, *rest = await self._program.read(_PATIENCE)
        except AssertionError as error:
            raise AssertionError(f"waited in vain for {what}: {error}") from None
        self._clients[number].heard.append(Heard(kind, tuple(rest)))


async def cut_off(client: JsClient, proxy: FaultProxy) -> None:
    """Cut all connections until the client has noticed; between two polls there is none."""
    before = client.losses

    async def keep_cutting() -> None:
        while True:
            proxy.abort()
            await asyncio.sleep(0.01)

    cutting = asyncio.create_task(keep_cutting())
    await client.until(lambda: client.losses > before, "the loss of the connection")
    cutting.cancel()


@asynccontextmanager
async def running_crowd() -> AsyncIterator[Crowd]:
    """Run a process for clients; those that are left when the context ends are cut off."""
    async with run_node("recovery_clients.js") as program:
        yield Crowd(program)


def assert_gapless(client: JsClient, symbol: str, last: int, *, conflated: int = 0) -> None:
    """Insist on one snapshot and then each update once, in order, up to `last`.

    Args:
        client: who got them.
        symbol: whose updates.
        last: number of the newest.
        conflated: how many may be missing because a later one took their place.
    """
    seqs = client.seqs(symbol)
    assert client.snapshots(symbol) == seqs[:1]
    assert seqs == sorted(set(seqs)), seqs
    assert seqs[-1] == last
    assert last - seqs[0] + 1 - len(seqs) <= conflated, seqs


def assert_recovered(connections: Sequence[Connected]) -> None:
    """Insist that the first connection began a session and that all others went on with it."""
    first, *others = connections
    assert not first.recovered
    assert others == [Connected(first.sid, recovered=True)] * len(others)
