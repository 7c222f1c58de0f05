"""Emits, rooms and disconnects of Socket.IO between nodes, and from other programs.

python-socketio's managers say what is told, and this module how it travels: what others say is
heard on the connection that hears the quotes, which proves all the time that it is not deaf; what
is told to them waits while Redis is out of reach, in order, and nobody who emits waits for it.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from random import Random
from typing import Any, Final

import msgspec
import structlog
from socketio.async_pubsub_manager import AsyncPubSubManager

from stockstream.cluster.outflow import keep_sending
from stockstream.core.backoff import Backoff
from stockstream.errors import StoreUnavailableError
from stockstream.ports import Clock

log = structlog.get_logger(__name__)

#: Messages that wait in either direction, at most; the oldest give way.
MOST: Final = 10_000
_BACKOFF: Final = Backoff(initial=0.05, maximum=2.0, jitter=0.9)
_decoder: Final = msgspec.json.Decoder(dict[str, Any])


class SharedRooms:
    """The way between the managers of this node's servers, those of other nodes, and programs.

    Args:
        publish: tells a message to everybody, this node included.
        clock: times what is tried again.
        random: spreads it.
    """

    def __init__(
        self, publish: Callable[[bytes], Awaitable[None]], clock: Clock, random: Random
    ) -> None:
        self._publish = publish
        self._clock = clock
        self._random = random
        self._managers: list[RoomsManager] = []
        self._untold: deque[bytes] = deque()
        self._wake = asyncio.Event()
        #: Messages told, heard, given up because too many waited, and heard that make no sense.
        self.told = 0
        self.heard = 0
        self.shed = 0
        self.undecodable = 0

    @property
    def pending(self) -> int:
        """Messages that wait to be told."""
        return len(self._untold)

    def manager(self) -> "RoomsManager":
        """Return a manager for one more server of this node."""
        manager = RoomsManager(self)
        self._managers.append(manager)
        return manager

    def tell(self, message: bytes) -> None:
        """Have a message told; waits for nothing."""
        self._untold.append(message)
        if len(self._untold) > MOST:
            self._untold.popleft()
            self.shed += 1
        self._wake.set()

    def hear(self, message: bytes) -> None:
        """Take in what anybody has told."""
        try:
            content = _decoder.decode(message)
        except (msgspec.DecodeError, UnicodeDecodeError):
            self.undecodable += 1
            return
        self.heard += 1
        for manager in self._managers:
            self.shed += manager.hear(content)

    async def run(self) -> None:
        """Tell until cancelled."""
        await keep_sending(
            self._wake,
            self._tell_one,
            self._failed,
            backoff=_BACKOFF,
            clock=self._clock,
            random=self._random,
        )

    def _failed(self, error: StoreUnavailableError) -> None:
        log.debug("rooms_not_told", pending=self.pending, error=str(error))

    async def _tell_one(self) -> bool:
        if self._untold:
            # Whether one was told of which no answer came is not known: it is told again.
            message = self._untold[0]
            await self._publish(message)
            self.told += 1
            # Unless it has given way meanwhile.
            if self._untold and self._untold[0] is message:
                self._untold.popleft()
        return bool(self._untold)


class RoomsManager(AsyncPubSubManager):
    """python-socketio's manager for several servers, on the way of this module."""

    name = "shared"

    def __init__(self, rooms: SharedRooms) -> None:
        super().__init__()
        self._rooms = rooms
        self._heard: deque[dict[str, Any]] = deque()
        self._come = asyncio.Event()

    def hear(self, content: dict[str, Any]) -> bool:
        """Take over a message; returns whether another one was given up for it."""
        self._heard.append(content)
        self._come.set()
        if len(self._heard) <= MOST:
            return False
        self._heard.popleft()
        return True

    async def _publish(self, data: Any) -> None:
        self._rooms.tell(self.json.dumps(data).encode())

    async def _listen(self) -> AsyncIterator[dict[str, Any]]:
        while True:
            await self._come.wait()
            self._come.clear()
            while self._heard:
                yield self._heard.popleft()
