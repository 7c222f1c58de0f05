"""One connection to a server, from its being let in to its loss."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, NoReturn

import aiohttp

from stockstream.client import packets
from stockstream.client.packets import Accepted, Answer, Ended, Event, Refused

#: Seconds until a server must have let a client in, and must have answered a request.
OPEN_TIMEOUT: Final = 15.0
ANSWER_TIMEOUT: Final = 15.0
# Seconds that a goodbye may take.
_GOODBYE_TIMEOUT: Final = 1.0
# Longest frame that is read: far above any answer of the contract.
_MAX_FRAME_BYTES: Final = 16_000_000


class LostError(Exception):
    """There is no connection, or no more; its text says why."""

    def __init__(self, reason: str, *, code: str = "") -> None:
        #: Why the server refuses, for a machine; empty where it did not refuse.
        self.code = code
        super().__init__(reason)


class Connection:
    """Speaks with a server that has let the client in; see :func:`connected`."""

    def __init__(
        self, websocket: aiohttp.ClientWebSocketResponse, on_event: Callable[[Event], None]
    ) -> None:
        self._websocket = websocket
        self._on_event = on_event
        self._numbers = itertools.count()
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._lost: LostError | None = None
        #: Seconds of silence after which the server is gone.
        self._patience = OPEN_TIMEOUT
        #: The connection's id at the server.
        self.sid = ""

    @property
    def lost(self) -> bool:
        """Whether it is known to be lost."""
        return self._lost is not None

    async def open(self, auth: object) -> None:
        """Ask to be let in.

        Raises:
            LostError: the server refuses, or is none.
        """
        with _lost_instead():
            handshake = packets.decode_handshake(await self._receive())
            await self._websocket.send_str(packets.encode_connect(auth))
        while True:
            packet = await self._packet()
            if isinstance(packet, Refused):
                raise LostError(packet.message or "refused", code=packet.code or "refused")
            if isinstance(packet, Accepted):
                self.sid = packet.sid
                self._patience = (handshake.ping_interval + handshake.ping_timeout) / 1_000
                return

    async def run(self) -> NoReturn:
        """Read until the connection is lost; events are handed on in order.

        Raises:
            LostError: it is lost; every request that waits for its answer fails as well.
        """
        try:
            while True:
                packet = await self._packet()
                if isinstance(packet, Event):
                    self._on_event(packet)
                elif isinstance(packet, Answer):
                    self._answered(packet)
        except LostError as error:
            self._lost = error
            raise
        finally:
            self._lost = self._lost or LostError("disconnected")
            for answer in self._answers.values():
                if not answer.done():
                    answer.set_exception(self._lost)

    async def call(self, event: str, payload: object) -> Any:
        """Send an event and return its answer.

        Cancelling it is safe; the server may have done what it was asked for.

        Raises:
            LostError: there is no answer, and nobody knows what the server has done.
        """
        if self._lost is not None:
            raise self._lost
        number = next(self._numbers)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT):
                with _lost_instead():
                    await self._websocket.send_str(packets.encode_event(number, event, payload))
                return await answer
        except TimeoutError:
            raise LostError(f"the server does not answer to {event}") from None
        finally:
            del self._answers[number]

    async def part(self) -> None:
        """Say goodbye; a server that does not answer is left without one."""
        try:
            async with asyncio.timeout(_GOODBYE_TIMEOUT):
                if not self._websocket.closed:
                    await self._websocket.send_str(packets.DISCONNECT)
                await self._websocket.close()
        except (TimeoutError, OSError, aiohttp.ClientError):
            return
        finally:
            # aiohttp lets go of it in every case but that of a connection that broke.
            self._websocket._response.close()  # noqa: SLF001

    def _answered(self, packet: Answer) -> None:
        answer = self._answers.get(packet.number)
        if answer is not None and not answer.done():
            answer.set_result(packet.payload)

    async def _packet(self) -> packets.Packet:
        while True:
            with _lost_instead():
                text = await self._receive()
                if text.startswith(packets.PING):
                    await self._websocket.send_str(packets.PONG + text[1:])
                    continue
                packet = packets.decode_packet(text)
            if isinstance(packet, Ended):
                raise LostError("the server ended the connection")
            if packet is not None:
                return packet

    async def _receive(self) -> str:
        try:
            message = await self._websocket.receive(self._patience)
        except TimeoutError:
            raise LostError("the server is silent") from None
        if message.type is aiohttp.WSMsgType.TEXT:
            text: str = message.data
            return text
        if message.type is aiohttp.WSMsgType.ERROR:
            silent = isinstance(message.data, TimeoutError)
            raise LostError("the server is silent" if silent else "connection lost")
        if message.type is aiohttp.WSMsgType.BINARY:
            raise packets.ProtocolError("a binary frame")
        raise LostError("connection lost")


@asynccontextmanager
async def connected(
    session: aiohttp.ClientSession,
    url: str,
    *,
    auth: object,
    on_event: Callable[[Event], None],
    heartbeat: float,
) -> AsyncIterator[Connection]:
    """Connect, and say goodbye in the end.

    Args:
        session: whose cookies and TLS settings are used.
        url: of the server, such as ``http://127.0.0.1:8000``.
        auth: what it is told about who is coming; None: nothing.
        on_event: called with each event, in order; must not raise.
        heartbeat: seconds between two pings of the client; a server that leaves one unanswered
            for half of that is gone.

    Raises:
        LostError: the server can't be reached, refuses, is none, or breaks the protocol.
    """
    try:
        async with asyncio.timeout(OPEN_TIMEOUT):
            websocket = await session.ws_connect(
                url + "/socket.io/?EIO=4&transport=websocket",
                heartbeat=heartbeat,
                max_msg_size=_MAX_FRAME_BYTES,
                timeout=aiohttp.ClientWSTimeout(ws_close=_GOODBYE_TIMEOUT),
            )
    except TimeoutError:
        raise LostError("the server does not answer") from None
    except aiohttp.WSServerHandshakeError as error:
        raise LostError(f"the server answers {error.status}: {error.message}") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        # aiohttp adds its TLS settings and the same address once more.
        raise LostError(str(error).partition(" ssl:")[0]) from error
    connection = Connection(websocket, on_event)
    try:
        await connection.open(auth)
        yield connection
    finally:
        await connection.part()


@contextmanager
def _lost_instead() -> Iterator[None]:
    """Whatever ends a connection is one error to those who use it."""
    try:
        yield
    except packets.ProtocolError as error:
        raise LostError(f"the server breaks the protocol: {error}") from error
    except (OSError, aiohttp.ClientError) as error:
        raise LostError("connection lost") from error
