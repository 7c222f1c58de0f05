"""A Socket.IO server that sends what a test tells it to, and counts what clients ask for."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import socketio
from aiohttp import web

from tests.support.ports import free_port
from tests.support.processes import wait_until


class QuoteServer:
    """Knows `subscribe` of the contract, with its acknowledgement; everything else by hand."""

    def __init__(self) -> None:
        self.port = free_port()
        #: What is refused, and with which message, by the name of the event.
        self.rejected: dict[str, str] = {}
        #: What `subscribe` is acknowledged with instead of the documented reply.
        self.answer: object = None
        #: Whether connections are refused, with a message of the server.
        self.refusing = False
        #: Whether `subscribe` is never acknowledged.
        self.silent = False
        #: Tokens that are let in; None: nobody is asked.
        self.tokens: set[str] | None = None
        #: The events of each subscription so far.
        self.subscriptions: list[list[str]] = []
        #: Everything that was asked for so far, by the name of the request.
        self.requests: list[tuple[str, Any]] = []
        self.sids: list[str] = []
        self._runner: web.AppRunner | None = None
        self._sio: Any = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._sio = socketio.AsyncServer(async_mode="aiohttp")
        self._sio.on("connect", self._connect)
        self._sio.on("disconnect", self._disconnect)
        self._sio.on("subscribe", self._subscribe)
        self._sio.on("unsubscribe", self._unsubscribe)
        self._sio.on("authenticate", self._authenticate)
        app = web.Application()
        self._sio.attach(app)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()

    async def stop(self) -> None:
        for sid in list(self.sids):
            await self._sio.disconnect(sid)
        await self._sio.shutdown()
        if self._runner is not None:
            await self._runner.cleanup()
        self._runner = None

    async def _connect(self, sid: str, _environ: Any, auth: Any = None) -> None:
        if self.refusing:
            raise socketio.exceptions.ConnectionRefusedError("full for today")
        if self.tokens is not None and (auth or {}).get("token") not in self.tokens:
            said = {"type": "connect_error", "code": "unauthorized", "message": "unknown token"}
            raise socketio.exceptions.ConnectionRefusedError("unknown token", said)
        self.sids.append(sid)

    async def _disconnect(self, sid: str, _reason: Any = None) -> None:
        self.sids.remove(sid)

    async def _subscribe(self, _sid: str, data: Mapping[str, Any]) -> object:
        self.subscriptions.append(data["events"])
        self.requests.append(("subscribe", data))
        if self.silent:
            await asyncio.Event().wait()
        if self.answer is not None:
            return self.answer
        rejected = [
            {"event": event, "code": "unknown", "message": self.rejected[event]}
            for event in data["events"]
            if event in self.rejected
        ]
        return {"events": data["events"], **({"rejected": rejected} if rejected else {})}

    async def _unsubscribe(self, _sid: str, data: Mapping[str, Any]) -> object:
        self.requests.append(("unsubscribe", data))
        return data

    async def _authenticate(self, _sid: str, data: Mapping[str, Any]) -> object:
        self.requests.append(("authenticate", data))
        if self.tokens is not None and data["token"] not in self.tokens:
            return {"type": "authenticate_error", "code": "unauthorized", "message": "no"}
        return {"user": "ann", "roles": ["user"]}

    async def hang_up(self) -> None:
        """End every connection with a goodbye."""
        for sid in list(self.sids):
            await self._sio.disconnect(sid)

    async def wait_for_requests(self, *names: str) -> None:
        await wait_until(
            lambda: [name for name, _ in self.requests] == list(names), f"the requests {names}"
        )

    async def wait_for_subscriptions(self, count: int) -> None:
        await wait_until(lambda: len(self.subscriptions) >= count, f"subscription {count}")

    async def emit(self, event: str, data: Any) -> None:
        await self._sio.emit(event, data)

    async def send(self, symbol: str, price: float, seq: int, **fields: Any) -> None:
        payload = {
            "symbol": symbol,
            "price": price,
            "change": 0.5,
            "changePercent": 0.25,
            "volume": 1000.0,
            "timestamp": 1_709_649_000_000,
            "seq": seq,
            "epoch": "e1",
            **fields,
        }
        name = f"stock_update_{symbol}"
        await self.emit(name, {"type": name, "payload": payload, "timestamp": 0})


@asynccontextmanager
async def quote_server() -> AsyncIterator[QuoteServer]:
    server = QuoteServer()
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
