"""The peer as one of many: python-socketio with its own Redis manager."""

import os
import time
from importlib.metadata import version
from typing import Any

import socketio
from aiohttp import web

from tests.bench.servers import plain
from tests.bench.servers.control import Order, run


class Manager(socketio.AsyncRedisManager):  # type: ignore[misc]
    """Counts what it hears, its own emits included."""

    heard = 0

    async def _handle_emit(self, message: dict[str, Any]) -> None:
        self.heard += 1
        await super()._handle_emit(message)


manager = Manager(os.environ["STOCKSTREAM_REDIS_URL"])
plain.sio.manager = manager
manager.set_server(plain.sio)


async def listen() -> None:
    """Listens from the start, and not from the first client on."""
    plain.sio.manager_initialized = True
    manager.initialize()


async def watch(_symbols: float) -> float:
    """Wants nothing: here every node hears everything."""
    return 0.0


async def flood(seconds: float, symbols: float, number: float, nodes: float) -> float:
    """Lets this node's share of the symbols change as fast as it can; returns the updates."""
    own = range(int(number), int(symbols), int(nodes))
    made = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        await plain.publish(own[made % len(own)], 1)
        made += 1
    return made


async def heard() -> float:
    """Returns how many updates this node has heard."""
    return manager.heard


async def owned() -> float:
    """Returns how much of all symbols is this node's: as much as it is told."""
    return 1.0


if __name__ == "__main__":
    orders: dict[str, Order] = {"watch": watch, "flood": flood, "heard": heard, "owned": owned}
    runner = web.AppRunner(plain.app, access_log=None)
    run(runner, plain.publish, version("python-socketio"), orders=orders, jobs=[listen()])
