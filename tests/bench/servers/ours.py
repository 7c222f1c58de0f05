"""This server: the engine with the hot path of quotes on it, and nothing that fetches prices."""

import gc
from collections.abc import Sequence
from typing import Any

from aiohttp import web

from stockstream import __version__
from stockstream.engine import AsyncServer, Connection, Limits, Message
from stockstream.model import StockUpdate
from stockstream.wire import names
from stockstream.wire.packets import WireForm, encode_event
from tests.bench.servers.control import run
from tests.bench.servers.market import Market, now_ms


class Fanout:
    """Who watches which symbol; an update is encoded once for all of them."""

    def __init__(self) -> None:
        self._watchers: dict[str, list[Connection]] = {}

    def watch(self, event: str, connection: Connection) -> None:
        self._watchers.setdefault(event, []).append(connection)

    def publish(self, updates: Sequence[StockUpdate]) -> None:
        """A lone update goes straight to its watchers, a burst joined client by client."""
        waiting: dict[Connection, list[tuple[str, Message]]] = {}
        for update in updates:
            event = names.stock_update(update.symbol)
            envelope = {"type": event, "payload": update, "timestamp": now_ms()}
            message = Message(encode_event(WireForm.JSON, event, envelope))
            if len(updates) == 1:
                for connection in self._watchers.get(event, ()):
                    connection.offer(event, message)
                return
            item = (event, message)
            for connection in self._watchers.get(event, ()):
                waiting.setdefault(connection, []).append(item)
        for connection, items in waiting.items():
            connection.offer_many(items)


# The whole audience comes from one address, and as fast as it can.
LIMITS = Limits(
    connections_per_address=20_000, handshakes_per_second=1_000_000, handshake_burst=1_000_000
)

market = Market()
fanout = Fanout()
app = web.Application()
sio = AsyncServer(limits=LIMITS, ping_interval=25, ping_timeout=60)
sio.attach(app)


@sio.event  # type: ignore[untyped-decorator]
async def connect(sid: str, _environ: dict[str, Any]) -> None:
    greeting = {"clientId": sid, "serverTime": now_ms(), "availableEvents": []}
    await sio.emit("connected", greeting, to=sid)


@sio.event  # type: ignore[untyped-decorator]
async def subscribe(sid: str, data: dict[str, list[str]]) -> None:
    connection = sio.connection(sid)
    if connection is None:
        return
    for event in data["events"]:
        fanout.watch(event, connection)
    await sio.emit("subscribed", {"events": data["events"]}, to=sid)


async def publish(first: int, count: int) -> None:
    fanout.publish([market.next_update(index) for index in range(first, first + count)])


if __name__ == "__main__":
    gc.freeze()
    run(app, publish, __version__)
