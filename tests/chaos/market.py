"""A market that plays recorded prices by its own clock, and writes down who asked for what.

It is the provider of a whole cluster: whatever node asks, and whenever, gets the price of now. So
every price that a node was told is known here, with the moment and the name of the node.
"""

import gzip
import time
from bisect import bisect_right
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import msgspec
from aiohttp import web

#: Recorded ticks are played so much faster than they came.
SPEED = 20.0
#: Of each recorded symbol so many are made, each of which begins at another place.
COPIES = 6


class Asked(NamedTuple):
    """One answer of the market."""

    #: Monotonic time in seconds.
    at: float
    node: str
    price: float


@dataclass(frozen=True, slots=True)
class Course:
    """Prices of a symbol, and when each begins, in ms since the first; played in a circle."""

    times: list[int]
    prices: list[float]

    def at(self, ms: float) -> float:
        return self.prices[bisect_right(self.times, ms % self.times[-1]) - 1]


@dataclass(slots=True)
class Market:
    """Prices of every symbol, and all answers so far."""

    paths: dict[str, Course]
    started: float = field(default_factory=time.monotonic)
    #: Of each symbol, in order.
    answers: defaultdict[str, list[Asked]] = field(default_factory=lambda: defaultdict(list))

    @property
    def symbols(self) -> list[str]:
        return list(self.paths)

    def ask(self, node: str, symbols: list[str]) -> dict[str, float]:
        """Answer a node."""
        at = time.monotonic()
        played = (at - self.started) * 1000 * SPEED
        prices = {symbol: self.paths[symbol].at(played) for symbol in symbols}
        for symbol, price in prices.items():
            self.answers[symbol].append(Asked(at, node, price))
        return prices

    def owner(self, symbol: str) -> str:
        """Return the node that asked for a symbol last."""
        return self.answers[symbol][-1].node

    def owned_by(self, node: str) -> list[str]:
        return [symbol for symbol in self.paths if self.owner(symbol) == node]


def recorded_market(recording: Path) -> Market:
    """Return a market of the middle prices of a recording."""
    paths: dict[str, Course] = {}
    for symbol, (times, prices) in _middles(recording).items():
        for copy in range(COPIES):
            turn = len(times) * copy // COPIES
            paths[f"{symbol}{copy or ''}"] = _turned(times, prices, turn)
    return Market(paths)


def _turned(times: list[int], prices: list[float], turn: int) -> Course:
    shift = times[turn]
    end = times[-1] + 1000
    later = [each - shift for each in times[turn:]]
    earlier = [each + end - shift for each in times[:turn]]
    return Course([*later, *earlier, end], [*prices[turn:], *prices[:turn], prices[turn]])


def _middles(recording: Path) -> dict[str, tuple[list[int], list[float]]]:
    found: defaultdict[str, tuple[list[int], list[float]]] = defaultdict(lambda: ([], []))
    with gzip.open(recording, "rt") as lines:
        next(lines)
        for line in lines:
            at, symbol, _, _, bid, ask = line.strip().split(",")
            times, prices = found[symbol]
            times.append(int(at))
            prices.append(round((float(bid) + float(ask)) / 2, 6))
    return {symbol: ([t - ts[0] for t in ts], ps) for symbol, (ts, ps) in found.items()}


@asynccontextmanager
async def open_market(market: Market) -> AsyncIterator[str]:
    """Serve a market over HTTP; yields its address."""

    async def quotes(request: web.Request) -> web.Response:
        prices = market.ask(request.query["node"], request.query["symbols"].split(","))
        return web.Response(body=msgspec.json.encode(prices))

    app = web.Application()
    app.router.add_get("/quotes", quotes)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


def changes(answers: list[Asked]) -> Iterator[Asked]:
    """Return of a symbol's answers those whose price was not that of the one before."""
    price: float | None = None
    for answer in answers:
        if answer.price != price:
            price = answer.price
            yield answer
