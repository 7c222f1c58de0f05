"""The peer: python-socketio as its documentation shows it, on aiohttp, uvloop and orjson."""

from importlib.metadata import version
from typing import Any

import orjson
import socketio
from aiohttp import web

from stockstream.model.quote import StockUpdate
from tests.bench.servers.control import run
from tests.bench.servers.market import Market, now_ms


class Json:
    """orjson in the shape that python-socketio asks for."""

    @staticmethod
    def dumps(value: object, **_: object) -> str:
        return orjson.dumps(value).decode()

    @staticmethod
    def loads(text: str | bytes) -> Any:
        return orjson.loads(text)


market = Market()
app = web.Application()
sio = socketio.AsyncServer(async_mode="aiohttp", json=Json, ping_interval=25, ping_timeout=60)
sio.attach(app)


@sio.event  # type: ignore[untyped-decorator]
async def connect(sid: str, _environ: dict[str, Any]) -> None:
    greeting = {"clientId": sid, "serverTime": now_ms(), "availableEvents": []}
    await sio.emit("connected", greeting, to=sid)


@sio.event  # type: ignore[untyped-decorator]
async def subscribe(sid: str, data: dict[str, list[str]]) -> None:
    for event in data["events"]:
        await sio.enter_room(sid, event)
    await sio.emit("subscribed", {"events": data["events"]}, to=sid)


def envelope(event: str, update: StockUpdate) -> dict[str, Any]:
    payload = {
        "symbol": update.symbol,
        "price": update.price,
        "change": update.change,
        "changePercent": update.change_percent,
        "volume": update.volume,
        "timestamp": update.timestamp,
        "seq": update.seq,
        "epoch": update.epoch,
        "bid": update.bid,
        "ask": update.ask,
        "dayHigh": update.day_high,
        "dayLow": update.day_low,
        "open": update.open,
        "previousClose": update.previous_close,
    }
    return {"type": event, "payload": payload, "timestamp": now_ms()}


async def publish(first: int, count: int) -> None:
    for index in range(first, first + count):
        update = market.next_update(index)
        event = f"stock_update_{update.symbol}"
        await sio.emit(event, envelope(event, update), room=event)


if __name__ == "__main__":
    run(web.AppRunner(app, access_log=None), publish, version("python-socketio"))
