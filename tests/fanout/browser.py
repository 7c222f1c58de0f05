"""npm's socket.io-client, and what it has heard."""

import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from tests.support.npm import NodeProgram, run_node

Line = list[Any]


class Browser:
    """One unmodified JavaScript client. What it says is read while somebody waits for it."""

    def __init__(self, program: NodeProgram) -> None:
        self._program = program
        #: All that it said, in order; see tests/js/fanout_client.js.
        self.heard: list[Line] = []

    async def ask(self, event: str, payload: object) -> Any:
        """Emit an event; returns its acknowledgement's only argument."""
        number = len([line for line in self.heard if line[0] == "ack"])
        await self._program.send([event, payload])
        await self.until(lambda: self.heard[-1][:2] == ["ack", number])
        _, _, answer = self.heard[-1]
        return answer

    async def subscribe(self, *symbols: str, **options: object) -> Any:
        events = [f"stock_update_{symbol}" for symbol in symbols]
        return await self.ask("subscribe", {"events": events, **options})

    async def hear(self, *beginning: object) -> Line:
        """Wait for the next line that begins like this."""
        wanted = list(beginning)
        await self.until(lambda: self.heard[-1][: len(wanted)] == wanted)
        return self.heard[-1]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Read at least one line, and on until the condition is true."""
        self.heard.append(await self._program.read())
        while not condition():
            self.heard.append(await self._program.read())

    def names(self) -> list[str]:
        """Return what happened, events by their names."""
        return [line[1] if line[0] == "event" else line[0] for line in self.heard]

    def updates(self, symbol: str) -> list[dict[str, Any]]:
        """Return the payload of each update of a symbol."""
        name = f"stock_update_{symbol}"
        return [line[2]["payload"] for line in self.heard if line[:2] == ["event", name]]

    async def until_price(self, symbol: str, price: float) -> None:
        """Wait until the last update of a symbol has that price; it may have it already."""

        def reached() -> bool:
            return [update["price"] for update in self.updates(symbol)][-1:] == [price]

        if not reached():
            await self.until(reached)


@asynccontextmanager
async def browser(
    url: str, transports: Sequence[str] = ("websocket",), *, msgpack: bool = False
) -> AsyncIterator[Browser]:
    """Connect a client and wait for its welcome."""
    options = {"url": url, "transports": transports, "msgpack": msgpack}
    async with run_node("fanout_client.js", json.dumps(options)) as program:
        client = Browser(program)
        await client.hear("event", "connected")
        yield client
