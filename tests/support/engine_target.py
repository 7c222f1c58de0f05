"""Our engine as a process of its own, with the events that the conformance cases use.

Prints one JSON line {profile: port} once it listens and ends when its standard input ends,
as tests/js/reference_server.js does, whose handlers these are.
"""

import asyncio
import contextlib
import json
import sys
from collections import defaultdict
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import web

from stockstream.engine import AppRunner, AsyncServer, EngineError, Limits

#: Lifecycle calls by Socket.IO id, so that one connection can ask what happened to another.
lifecycles: dict[str, list[str]] = defaultdict(list)
#: Numbers received by `record`, by run, in order of arrival.
records: dict[str, list[int]] = defaultdict(list)

#: Constructor arguments by profile; the names and meanings are those of the reference server.
PROFILES: dict[str, dict[str, Any]] = {
    "ordinary": {},
    "short": {"ping_interval": 0.3, "ping_timeout": 0.2},
    "brisk": {"ping_interval": 3.0, "ping_timeout": 3.0},
    "deadlines": {
        "limits": Limits(
            connect_seconds=0.5, upgrade_seconds=0.5, body_seconds=0.5, header_seconds=0.5
        ),
    },
    "corsList": {"cors_allowed_origins": ["https://good.example"]},
    "corsAny": {"cors_allowed_origins": "*"},
    "msgpack": {"serializer": "msgpack"},
}


class Handlers:
    """The events of the cases, for one server and one namespace."""

    def __init__(self, server: AsyncServer, namespace: str) -> None:
        """Remember where the events go to; nothing is registered yet."""
        self._server = server
        self._namespace = namespace
        self._auth: dict[str, object] = {}

    def install(self) -> None:
        """Register every event with the server."""
        events = {
            "connect": self.connect,
            "disconnect": self.disconnect,
            "echo": self.echo,
            "echoAck": self.echo_ack,
            "noReturn": self.no_return,
            "whoAmI": self.who_am_i,
            "handshake": self.handshake,
            "burst": self.burst,
            "binaryOut": self.binary_out,
            "emitNan": self.emit_nan,
            "askMe": self.ask_me,
            "lifecycle": self.lifecycle,
            "record": self.record,
            "recorded": self.recorded,
            "leave": self.leave,
            "leaveAll": self.leave_all,
        }
        for name, handler in events.items():
            self._server.on(name, handler, namespace=self._namespace)

    async def connect(self, sid: str, _environ: dict[str, Any], auth: object = None) -> None:
        self._auth[sid] = {} if auth is None else auth
        lifecycles[sid].append("connect")
        if isinstance(auth, dict) and "greet" in auth:
            await self._emit(sid, "greeting", auth["greet"])

    async def disconnect(self, sid: str, _reason: str) -> None:
        self._auth.pop(sid, None)
        lifecycles[sid].append("disconnect")

    async def echo(self, sid: str, *args: object) -> None:
        await self._emit(sid, "echo", *args)

    async def echo_ack(self, _sid: str, *args: object) -> tuple[object, ...]:
        return args

    async def no_return(self, _sid: str, *_args: object) -> None:
        pass

    async def who_am_i(self, sid: str) -> tuple[object, ...]:
        return sid, self._auth[sid], self._server.transport(sid, namespace=self._namespace)

    async def handshake(self, sid: str) -> dict[str, object]:
        environ = self._server.get_environ(sid, namespace=self._namespace)
        assert environ is not None
        query = dict(parse_qsl(environ["QUERY_STRING"], keep_blank_values=True))
        return {"query": query, "auth": self._auth[sid], "extra": environ.get("HTTP_X_EXTRA")}

    async def burst(self, sid: str, count: int, size: int) -> None:
        for n in range(count):
            await self._emit(sid, "tick", n, "x" * size)

    async def binary_out(self, sid: str) -> None:
        await self._emit(sid, "bytes", b"\x01\x02\x03\x04")

    async def emit_nan(self, sid: str) -> None:
        # Refusing the emit is allowed; what matters is that no such word gets on the wire.
        with contextlib.suppress(EngineError, ValueError):
            await self._emit(sid, "numbers", [float("nan"), float("inf")])

    async def ask_me(self, sid: str) -> None:
        async def answered(*answer: object) -> None:
            await self._emit(sid, "answered", *answer)

        await self._emit(sid, "question", "why", callback=answered)

    async def lifecycle(self, _sid: str, of: str) -> list[str]:
        return lifecycles.get(of, [])

    async def record(self, _sid: str, run: str, n: int, _padding: str) -> int:
        records[run].append(n)
        return n

    async def recorded(self, _sid: str, run: str) -> list[int]:
        return records.get(run, [])

    async def leave(self, sid: str) -> None:
        await self._server.disconnect(sid, namespace=self._namespace)

    async def leave_all(self, sid: str) -> None:
        connection = self._server.connection(sid, namespace=self._namespace)
        assert connection is not None
        connection.close("asked to")

    async def _emit(self, sid: str, event: str, *args: object, callback: Any = None) -> None:
        await self._server.emit(event, args, to=sid, namespace=self._namespace, callback=callback)


async def refuse(_sid: str, _environ: dict[str, Any], _auth: object = None) -> None:
    """Turn away whoever connects to the namespace."""
    raise ConnectionRefusedError("Not authorized", {"reason": "closed"})


async def start(settings: dict[str, Any]) -> int:
    """Serve one profile and return its port."""
    server = AsyncServer(namespaces=["/", "/custom", "/refused"], **settings)
    for namespace in ("/", "/custom"):
        Handlers(server, namespace).install()
    server.on("connect", refuse, namespace="/refused")
    app = web.Application()
    server.attach(app, socketio_path="socket.io")
    # Told to, it leaves every request to aiohttp.
    fronted = [] if "attached" in sys.argv else [server]
    runner = AppRunner(app, fronted, keepalive_timeout=server.limits.header_seconds)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port: int = runner.addresses[0][1]
    return port


async def main() -> None:
    """Serve all profiles until standard input ends."""
    ports = {name: await start(settings) for name, settings in PROFILES.items()}
    sys.stdout.write(json.dumps(ports) + "\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
