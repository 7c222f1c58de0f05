"""Clients that lose no time between attempts, and what they got."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from random import Random
from typing import Any, Generic, TypeVar

from stockstream import StockClient
from stockstream.client import ConnectionState, StateChange, Stream
from stockstream.errors import StockstreamError
from stockstream.wire.replies import ErrorReply
from tests.support.processes import wait_until

T = TypeVar("T")


class Waits:
    """Waits between attempts, which pass when the test says so, or at once."""

    def __init__(self, *, passing: bool = True) -> None:
        self.seconds: list[float] = []
        self.passing = passing
        self._go_on = asyncio.Semaphore(0)

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        if self.passing:
            await asyncio.sleep(0)
        else:
            await self._go_on.acquire()

    def go_on(self) -> None:
        self._go_on.release()

    async def wait_for(self, count: int) -> None:
        await wait_until(lambda: len(self.seconds) >= count, f"wait {count}")


class Told:
    """What a client told its handlers."""

    def __init__(self, client: StockClient) -> None:
        self.changes: list[StateChange] = []
        self.errors: list[ErrorReply] = []
        client.on("state_changed", self.changes.append)
        client.on("error", self.errors.append)

    @property
    def states(self) -> list[ConnectionState]:
        return [change.state for change in self.changes]


class Reader(Generic[T]):
    """A task that takes all that a stream gives."""

    def __init__(self, stream: Stream[T]) -> None:
        self.stream = stream
        self.got: list[T] = []
        self.error: Exception | None = None
        #: While it is cleared, nothing is taken.
        self.taking = asyncio.Event()
        self.taking.set()
        self.task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            async for value in self.stream:
                self.got.append(value)
                await self.taking.wait()
        except StockstreamError as error:
            self.error = error

    async def until(self, condition: Callable[[list[T]], object], what: str) -> None:
        await wait_until(lambda: condition(self.got) or self.error, what)
        assert self.error is None, self.error


@asynccontextmanager
async def reading(stream: Stream[T]) -> AsyncIterator[Reader[T]]:
    reader = Reader(stream)
    try:
        yield reader
    finally:
        reader.task.cancel()
        with suppress(asyncio.CancelledError):
            await reader.task


def client_of(
    url: str, waits: Callable[[float], Awaitable[None]] | None = None, **options: Any
) -> StockClient:
    return StockClient(url, random=Random(1), sleep=waits or Waits(), **options)


async def in_state(client: StockClient, state: ConnectionState) -> None:
    await wait_until(lambda: client.state is state, state.value)
