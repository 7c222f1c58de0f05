"""Listens, and takes connections as fast as they come, to be served one after the other."""

import asyncio
import logging
import socket
from collections import deque
from collections.abc import Callable
from errno import EMFILE, ENFILE, ENOBUFS, ENOMEM
from typing import Final, cast

from aiohttp import web

log = logging.getLogger("stockstream.engine")

#: Connections taken from the kernel in a turn of the event loop, and handed on in one: taking costs
#: microseconds, a client that is let in tenths of a millisecond.
_TAKEN: Final = 512
_HANDED_ON: Final = 8
#: Connections that wait in this process; while there are so many, the kernel's queue fills.
_WAITING: Final = 16_384
#: Seconds without taking any once the system has nothing left for one more.
_PAUSE: Final = 1.0
_EXHAUSTED: Final = frozenset({EMFILE, ENFILE, ENOBUFS, ENOMEM})
#: For the kernel to cut down to its own limit (net.core.somaxconn).
_BACKLOG: Final = 65_535


class Site(web.BaseSite):
    """A TCP address of a runner; in the place of `aiohttp.web.TCPSite`.

    A node that comes back is called upon by all its clients in the same second. What the kernel's
    queue has no room for (4,096 connections, mostly) it drops without a word, and its clients try
    again seconds later. An event loop takes one connection in a turn (uvloop), with the work of the
    turn in between; here all that wait are taken first, which is cheap, and wait in this process
    for their turn: to be let in, or to be told at once when to come back.

    Args:
        runner: Whose application is served.
        host: Name or address; of a name with several addresses, all.
        port: 0: any free one.
    """

    __slots__ = ("_host", "_port")

    def __init__(self, runner: web.BaseRunner, host: str, port: int) -> None:
        super().__init__(runner)
        self._host = host
        self._port = port

    @property
    def name(self) -> str:
        """The URL, as it was asked for."""
        return f"http://{self._host}:{self._port}"

    async def start(self) -> None:
        """Begin to listen.

        Raises:
            OSError: the address is taken, not ours, or (`socket.gaierror`) unknown.
        """
        await super().start()
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(
            self._host, self._port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        sockets: list[socket.socket] = []
        try:
            for family, address in dict.fromkeys((each[0], each[4]) for each in found):
                sockets.append(socket.create_server(address, family=family, backlog=_BACKLOG))
        except OSError:
            for each in sockets:
                each.close()
            raise
        # The base class has seen to it that the runner is set up.
        make_protocol = cast("Callable[[], asyncio.Protocol]", self._runner.server)
        self._server = cast("asyncio.AbstractServer", _Listener(make_protocol, sockets))


class _Listener:
    """Takes the connections of some sockets; has of a server what aiohttp's sites ask for."""

    def __init__(
        self, make_protocol: Callable[[], asyncio.Protocol], sockets: list[socket.socket]
    ) -> None:
        self.sockets = sockets
        self._make_protocol = make_protocol
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[socket.socket] = deque()
        self._next_turn: asyncio.Handle | None = None
        self._pause: asyncio.TimerHandle | None = None
        self._beginning: set[asyncio.Task[None]] = set()
        for each in sockets:
            each.setblocking(False)
            # Those taken from it inherit it: updates are small, and must not wait for each other.
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._listen()

    def close(self) -> None:
        """Listen no more, and let go of those whose turn has not come."""
        self._stop_listening()
        for each in (*self.sockets, *self._waiting):
            each.close()
        self.sockets = []
        self._waiting.clear()
        if self._pause is not None:
            self._pause.cancel()

    def _listen(self) -> None:
        self._pause = None
        for each in self.sockets:
            self._loop.add_reader(each.fileno(), self._take, each)

    def _stop_listening(self) -> None:
        for each in self.sockets:
            self._loop.remove_reader(each.fileno())

    def _take(self, listening: socket.socket) -> None:
        for _ in range(min(_TAKEN, _WAITING - len(self._waiting))):
            try:
                connection, _address = listening.accept()
            except OSError as error:
                # Most often that there is none; or that it has gone before it was taken.
                if error.errno in _EXHAUSTED:
                    log.warning("taking no connections for %g s: %s", _PAUSE, error.strerror)
                    self._stop_listening()
                    self._pause = self._loop.call_later(_PAUSE, self._listen)
                break
            connection.setblocking(False)
            self._waiting.append(connection)
        if self._next_turn is None:
            self._hand_on()

    def _hand_on(self) -> None:
        waiting = self._waiting
        for _ in range(min(_HANDED_ON, len(waiting))):
            task = self._loop.create_task(self._begin(waiting.popleft()))
            self._beginning.add(task)
            task.add_done_callback(self._beginning.discard)
        self._next_turn = self._loop.call_soon(self._hand_on) if waiting else None

    async def _begin(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._make_protocol, connection)
        except OSError:
            # It has gone meanwhile.
            connection.close()
