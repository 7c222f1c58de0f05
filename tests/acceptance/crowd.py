"""Unmodified JavaScript clients of the server, and what each of them saw."""

import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from tests.support.npm import NodeProgram, run_node

#: Seconds that anything may take that a client waits for.
PATIENCE = 40.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """How a client connects."""

    #: Major version of socket.io-client: 3 or 4.
    version: int = 4
    #: The first is tried first; the client moves on to a second by an upgrade.
    transports: tuple[str, ...] = ("websocket",)

    def __str__(self) -> str:
        return f"{self.version}.x-{'-then-'.join(self.transports)}"


WEBSOCKET = Way()
#: Newest 4.x and 3.x, over WebSocket and over polling with upgrade.
WAYS = [
    Way(version=version, transports=transports)
    for version in (4, 3)
    for transports in (("websocket",), ("polling", "websocket"))
]


class Heard(NamedTuple):
    """Something that happened to a client."""

    #: "event", "ack", "connect", "disconnect", "connect_error", "upgrade" or "garbage".
    kind: str
    #: For events, their name and arguments.
    what: tuple[Any, ...]


class JsClient:
    """One client; all that happens to it is kept in order."""

    def __init__(self, crowd: "Crowd", number: int) -> None:
        self._crowd = crowd
        self._number = number
        #: Oldest first.
        self.heard: list[Heard] = []

    async def emit(self, event: str, *args: object) -> None:
        await self.tell("emit", args=[event, *args])

    async def ask(self, event: str, *args: object) -> Any:
        """Emit, and return the acknowledgement's only argument."""
        tag = await self._crowd.tell("ask", self._number, args=[event, *args])
        acknowledgement = await self.hear("ack", lambda what: what[0] == tag)
        assert len(acknowledgement) == 2, acknowledgement
        return acknowledgement[1]

    async def subscribe(self, *events: str, **options: object) -> Any:
        return await self.ask("subscribe", {"events": list(events), **options})

    async def close(self) -> None:
        """Disconnect politely and wait until that is done."""
        await self.tell("close")
        await self.hear("disconnect")

    async def tell(self, command: str, **options: object) -> int:
        return await self._crowd.tell(command, self._number, **options)

    async def hear(
        self,
        kind: str,
        condition: Callable[[tuple[Any, ...]], object] = lambda _: True,
        start: int = 0,
    ) -> tuple[Any, ...]:
        """Wait for the first such thing, from the `start`-th on, and return it."""
        place = start
        while True:
            for heard in self.heard[place:]:
                if heard.kind == kind and condition(heard.what):
                    return heard.what
            place = max(start, len(self.heard))
            await self._crowd.step(f"{kind} among {self.heard[-10:]}")

    async def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait until the condition, about what was heard, is true."""
        while not condition():
            await self._crowd.step(f"{what}; last heard {self.heard[-10:]}")

    async def event(self, name: str, start: int = 0) -> Any:
        """Wait for the first event of that name and return its payload."""
        what = await self.hear("event", lambda what: what[0] == name, start)
        # Beside the payload there is at most a mark for connection state recovery.
        assert len(what) == 2 or (len(what) == 3 and isinstance(what[2], str)), what
        return what[1]

    async def updates_of(self, symbol: str, count: int) -> list[dict[str, Any]]:
        """Wait until there are so many updates of a symbol, and return all there are."""
        await self.until(lambda: len(self.updates(symbol)) >= count, f"{count} updates of {symbol}")
        return self.updates(symbol)

    def updates(self, symbol: str) -> list[dict[str, Any]]:
        """Return the payloads of all updates of a symbol, snapshots included."""
        return [args[0]["payload"] for args in self.events(f"stock_update_{symbol}")]

    def events(self, name: str) -> list[tuple[Any, ...]]:
        """Return the arguments of all events of that name so far."""
        return [h.what[1:] for h in self.heard if h.kind == "event" and h.what[0] == name]

    def kinds(self) -> list[str]:
        """Return what happened, events by their names, in order."""
        return [h.what[0] if h.kind == "event" else h.kind for h in self.heard]


class Crowd:
    """Clients in one process. What they report is read while somebody waits for it."""

    def __init__(self, program: NodeProgram) -> None:
        self._program = program
        self._clients: list[JsClient] = []
        self._tags = itertools.count(1)

    async def connect(
        self, url: str, way: Way = WEBSOCKET, *, reconnection: bool = False, token: str = ""
    ) -> JsClient:
        """Connect a client and wait for its welcome."""
        client = await self.begin(url, way, reconnection=reconnection, token=token)
        await client.event("connected")
        return client

    async def begin(
        self, url: str, way: Way = WEBSOCKET, *, reconnection: bool = False, token: str = ""
    ) -> JsClient:
        """Have a client connect, and do not wait for anything."""
        client = JsClient(self, len(self._clients))
        self._clients.append(client)
        await client.tell(
            "connect",
            url=url,
            version=way.version,
            transports=way.transports,
            reconnection=reconnection,
            auth={"token": token} if token else {},
        )
        return client

    async def tell(self, command: str, number: int, **options: object) -> int:
        """Give an order to a client; returns the tag that an answer will carry."""
        tag = next(self._tags)
        await self._program.send({"do": command, "id": number, "tag": tag, **options})
        return tag

    async def step(self, what: str) -> None:
        """Take in the next report of any client."""
        try:
            number, kind, *rest = await self._program.read(PATIENCE)
        except AssertionError as error:
            raise AssertionError(f"waited in vain for {what}: {error}") from None
        self._clients[number].heard.append(Heard(kind, tuple(rest)))


@asynccontextmanager
async def running_crowd() -> AsyncIterator[Crowd]:
    """Run a process for clients; those that are left when the context ends are cut off."""
    async with run_node("acceptance_clients.js") as program:
        yield Crowd(program)


def assert_complete(updates: Sequence[dict[str, Any]], conflated: int = 0) -> None:
    """Insist on one epoch, each number once and in order, and no price twice in a row.

    Args:
        updates: payloads of one symbol, in the order of their arrival.
        conflated: how many may be missing because a later one took their place. A client that
            polls can't take an update between two polls.
    """
    assert len({update["epoch"] for update in updates}) == 1, updates
    numbers = [update["seq"] for update in updates]
    assert numbers == sorted(set(numbers)), numbers
    assert numbers[-1] - numbers[0] + 1 - len(numbers) <= conflated, numbers
    repeated = [
        a
        for a, b in itertools.pairwise(updates)
        if a["seq"] + 1 == b["seq"] and a["price"] == b["price"]
    ]
    assert not repeated
