"""What unmodified JavaScript clients saw, and whether it is all there."""

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.support.npm import NodeProgram, run_node


class Update(NamedTuple):
    """A price as a client got it."""

    epoch: str
    seq: int
    price: float
    snapshot: bool
    #: Monotonic time in seconds.
    at: float


class Connected(NamedTuple):
    """A connection of a client."""

    recovered: bool
    at: float


@dataclass(slots=True)
class Watcher:
    """One client."""

    number: int
    updates: defaultdict[str, list[Update]] = field(default_factory=lambda: defaultdict(list))
    connections: list[Connected] = field(default_factory=list)
    #: When it lost a connection, and why.
    losses: list[tuple[float, str]] = field(default_factory=list)

    def faults(self) -> Iterable[str]:
        """Return a sentence for each gap, duplicate or disorder in what it saw."""
        for symbol, updates in self.updates.items():
            # A node that is cut off goes on in an epoch of its own, and then in the common one.
            last: dict[str, Update] = {}
            for update in updates:
                fault = _fault(last.get(update.epoch), update)
                if fault is not None:
                    yield f"client {self.number}, {symbol}: {fault} between {last} and {update}"
                last[update.epoch] = update

    def recoveries(self) -> list[float]:
        """Return how long each loss kept it from prices, in seconds."""
        times = sorted(update.at for updates in self.updates.values() for update in updates)
        found = []
        for at, _ in self.losses:
            later = next((each for each in times if each > at), None)
            if later is not None:
                found.append(later - at)
        return found


def _fault(before: Update | None, after: Update) -> str | None:
    if before is None:
        return None if after.seq == 1 or after.snapshot else "an epoch begins in the middle"
    if after.snapshot:
        return None if after.seq == before.seq else "a snapshot skips updates"
    if after.seq <= before.seq:
        return "a duplicate" if after.seq == before.seq else "disorder"
    return None if after.seq == before.seq + 1 else "a gap"


class ChaosCrowd:
    """All that clients have said so far."""

    def __init__(self, watchers: Sequence[Watcher]) -> None:
        self.watchers = watchers
        self.updates = sum(len(each) for w in watchers for each in w.updates.values())
        self._heard = asyncio.Event()
        # Their clock is that of the wall; here everything is on the monotonic one.
        self._shift = time.monotonic() - time.time()

    async def read(self, program: NodeProgram) -> None:
        """Take in what they say until cancelled; they are in one process."""
        stdout = program.process.stdout
        assert stdout is not None
        async for line in stdout:
            self._take(json.loads(line))
            self._heard.set()
        raise AssertionError(f"the clients have ended\n{program.errors()}")

    def _take(self, line: list[object]) -> None:
        kind, number, *rest, at_ms = line
        assert isinstance(number, int)
        assert isinstance(at_ms, int)
        at = at_ms / 1000 + self._shift
        watcher = self.watchers[number]
        match kind, rest:
            case "update", [str(symbol), str(epoch), int(seq), int() | float() as price, snapshot]:
                update = Update(epoch, seq, float(price), bool(snapshot), at)
                watcher.updates[symbol].append(update)
                self.updates += 1
            case "connect", [recovered]:
                watcher.connections.append(Connected(bool(recovered), at))
            case "disconnect", [reason]:
                watcher.losses.append((at, str(reason)))
            case _:
                raise AssertionError(f"unknown line {line}")

    async def until(self, condition: Callable[[], bool], what: str, within: float = 60.0) -> None:
        """Wait until something is true of what they have said."""
        try:
            async with asyncio.timeout(within):
                while not condition():
                    self._heard.clear()
                    await self._heard.wait()
        except TimeoutError:
            raise AssertionError(f"waited {within} s in vain for {what}") from None

    async def until_all_have_moved_on(self, symbols: Sequence[str]) -> None:
        """Wait until each client has a newer update of each symbol than now."""
        counts = [{s: len(w.updates[s]) for s in symbols} for w in self.watchers]

        def moved() -> bool:
            return all(
                len(watcher.updates[symbol]) > count
                for watcher, before in zip(self.watchers, counts, strict=True)
                for symbol, count in before.items()
            )

        await self.until(moved, "news of every symbol for every client")


@asynccontextmanager
async def chaos_crowd(url: str, symbols: Sequence[str], count: int) -> AsyncIterator[ChaosCrowd]:
    """Connect clients through a balancer, and take in what they say while the block lasts."""
    options = {"url": url, "symbols": symbols, "count": count}
    async with run_node("chaos_clients.js", json.dumps(options)) as program:
        crowd = ChaosCrowd([Watcher(number) for number in range(count)])
        reading = asyncio.create_task(crowd.read(program))
        try:
            yield crowd
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
