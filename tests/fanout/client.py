"""A client that does what a test wants, also in the middle of what a browser's would do."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from itertools import count
from typing import Any, NamedTuple

import aiohttp

from stockstream.wire.packets import WireForm
from tests.fanout import packets
from tests.fanout.packets import Frame, Packet
from tests.fanout.websocket import Message, RawSocket
from tests.support.processes import wait_until

_PATHS = {WireForm.JSON: "/socket.io/", WireForm.MSGPACK: "/socket.io-msgpack/"}
_SEPARATOR = "\x1e"
_STOCK_UPDATE = "stock_update_"
#: Seconds that anything may take that a client waits for.
_PATIENCE = 40.0


class Request(NamedTuple):
    """What a client asked for; its acknowledgement carries its place among the requests."""

    name: str
    body: Mapping[str, Any]


class Client:
    """One session: polling, WebSocket, or the way from one to the other.

    Orders are given at once and carried out in the background, one after the other.
    """

    def __init__(self, port: int, form: WireForm = WireForm.JSON, *, narrow: bool = True) -> None:
        self._port = port
        self._form = form
        self._narrow = narrow
        self._session: aiohttp.ClientSession | None = None
        self._socket: RawSocket | None = None
        self._sid = ""
        self._tasks: list[asyncio.Task[None]] = []
        self._outgoing: asyncio.Queue[Frame] = asyncio.Queue()
        self._numbers = count()
        self._reading = asyncio.Event()
        self._reading.set()
        self._opened = asyncio.Event()
        self._welcomed = asyncio.Event()
        self._probed = asyncio.Event()
        # A browser's client begins no request while it upgrades.
        self._poll_lock = asyncio.Lock()
        self._post_lock = asyncio.Lock()
        self._upgrade: asyncio.Task[None] | None = None
        #: In the order of sending.
        self.requests: list[Request] = []
        #: All that came, in order.
        self.heard: list[Packet] = []

    # Orders.

    def start(self, *, polling: bool = False) -> None:
        """Connect; orders may be given already."""
        self._run(self._live_polling() if polling else self._live_on_websocket())

    def subscribe(self, *symbols: str, **options: object) -> None:
        self.ask("subscribe", {"events": [_STOCK_UPDATE + s for s in symbols], **options})

    def unsubscribe(self, *symbols: str) -> None:
        self.ask("unsubscribe", {"events": [_STOCK_UPDATE + s for s in symbols]})

    def ask(self, name: str, body: Mapping[str, Any]) -> None:
        """Send a request that will be acknowledged."""
        self.requests.append(Request(name, body))
        self._outgoing.put_nowait(packets.request(self._form, next(self._numbers), name, body))

    def stop_reading(self) -> None:
        self._reading.clear()
        if self._socket is not None:
            self._socket.stop_reading()

    def read_on(self) -> None:
        self._reading.set()
        if self._socket is not None:
            self._socket.read_on()

    def upgrade(self) -> None:
        """Move on to WebSocket, as soon as the session is open; once is enough."""
        if self._upgrade is None:
            self._run(self._move_to_websocket())
            self._upgrade = self._tasks[-1]

    def leave(self) -> None:
        """Say goodbye."""
        self._outgoing.put_nowait(packets.disconnect(self._form))

    async def cut(self) -> None:
        """Vanish without a word, whatever is under way."""
        if self._socket is not None:
            self._socket.cut()
        for task in self._tasks:
            task.cancel()
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
        for result in results:
            if isinstance(result, Exception):
                raise result

    # What it has seen.

    def __str__(self) -> str:
        heard = "\n".join(map(str, self.heard[-10:]))
        return f"a client that asked {self.requests} and heard\n{heard}"

    @property
    def id(self) -> str:
        """Its Socket.IO id."""
        client_id: str = next(p.body["clientId"] for p in self.heard if p.name == "connected")
        return client_id

    @property
    def acks(self) -> list[Packet]:
        return [packet for packet in self.heard if packet.name == "ack"]

    @property
    def ended(self) -> bool:
        """Whether its WebSocket has ended."""
        return self._socket is not None and self._socket.ended.is_set()

    @property
    def upgrading(self) -> bool:
        return self._upgrade is not None and not self._upgrade.done()

    def updates(self, symbol: str) -> list[dict[str, Any]]:
        """Return the payload of each update of a symbol."""
        return [p.body["payload"] for p in self.heard if p.name == _STOCK_UPDATE + symbol]

    def seqs(self, symbol: str) -> list[int]:
        """Return the number of each update of a symbol."""
        return [update["seq"] for update in self.updates(symbol)]

    async def until(self, condition: Callable[[], object], what: str) -> None:
        try:
            await wait_until(condition, what, within=_PATIENCE)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self}") from None

    async def answered(self) -> None:
        """Wait until all that it asked for so far is acknowledged."""
        asked = len(self.requests)
        await self.until(lambda: len(self.acks) >= asked, f"{asked} acknowledgements")

    # The session.

    def _run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(coroutine))

    def _target(self, transport: str) -> str:
        sid = f"&sid={self._sid}" if self._sid else ""
        return f"{_PATHS[self._form]}?EIO=4&transport={transport}{sid}"

    async def _open_socket(self) -> RawSocket:
        return await RawSocket.open(
            self._port, self._target("websocket"), self._take, narrow=self._narrow
        )

    async def _live_on_websocket(self) -> None:
        self._use(await self._open_socket())
        await self._opened.wait()
        await self._write()

    async def _live_polling(self) -> None:
        self._session = aiohttp.ClientSession(f"http://127.0.0.1:{self._port}")
        await self._poll()
        self._run(self._write())
        while self._socket is None:
            await self._reading.wait()
            async with self._poll_lock:
                if self._socket is None:
                    await self._poll()

    async def _poll(self) -> None:
        assert self._session is not None
        async with self._session.get(self._target("polling")) as response:
            body = await response.text()
        assert response.status == 200, body
        for packet in body.split(_SEPARATOR):
            self._take(packets.from_polling(packet))

    async def _write(self) -> None:
        await self._send(packets.connect(self._form))
        # An event before the server's welcome would break the protocol.
        await self._welcomed.wait()
        while True:
            await self._send(await self._outgoing.get())

    async def _send(self, frame: Frame) -> None:
        async with self._post_lock:
            if self._socket is not None:
                self._socket.send(frame)
                return
            assert self._session is not None
            data = packets.for_polling(frame)
            async with self._session.post(self._target("polling"), data=data) as response:
                assert response.status == 200, await response.text()

    async def _move_to_websocket(self) -> None:
        await self._opened.wait()
        socket = await self._open_socket()
        try:
            socket.send("2probe")
            await self._probed.wait()
            async with self._poll_lock, self._post_lock:
                socket.send("5")
                self._use(socket)
        except BaseException:
            socket.cut()
            raise

    def _use(self, socket: RawSocket) -> None:
        self._socket = socket
        if not self._reading.is_set():
            socket.stop_reading()

    def _take(self, message: Message) -> None:
        if isinstance(message, bytes) or message.startswith("4"):
            self.heard.append(packets.read(message))
            self._welcomed.set()
        elif message.startswith("0"):
            handshake = json.loads(message[1:])
            self._sid = handshake["sid"]
            self._opened.set()
        elif message == "3probe":
            self._probed.set()
        elif message == "2":
            self._outgoing.put_nowait("3")
        else:
            assert message in {"1", "6"}, message


@asynccontextmanager
async def connected(
    port: int, form: WireForm = WireForm.JSON, *, narrow: bool = True, polling: bool = False
) -> AsyncIterator[Client]:
    """Connect a client, and cut it off when the context ends."""
    client = Client(port, form, narrow=narrow)
    client.start(polling=polling)
    try:
        await client.until(lambda: any(p.name == "connected" for p in client.heard), "a welcome")
        yield client
    finally:
        await client.cut()
