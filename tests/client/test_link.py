"""The loop that connects and reconnects."""

import asyncio
from random import Random
from typing import Any

from stockstream.client.connection import LostError
from stockstream.client.link import Link
from stockstream.core.backoff import Backoff


class Breaking:
    """A connection that breaks when it is told to."""

    def __init__(self) -> None:
        self.running = asyncio.Event()
        self.breaks = asyncio.Event()

    async def run(self) -> None:
        self.running.set()
        await self.breaks.wait()
        raise LostError("connection lost")


class LinkToIt(Link):
    """A link whose every connection is that one."""

    def __init__(self, connection: Any) -> None:
        async def forever(_: object) -> None:
            await asyncio.Event().wait()

        super().__init__(
            "http://127.0.0.1:1",
            token=None,
            on_event=lambda _: None,
            on_change=lambda _: None,
            keep=forever,
            backoff=Backoff(initial=1.0, maximum=1.0),
            max_attempts=None,
            heartbeat=1.0,
            random=Random(1),
            sleep=asyncio.sleep,
        )
        self._only = connection

    async def _connect(self) -> LostError:
        return await self._serve(self._only, None)


async def test_a_link_that_is_closed_while_its_connection_breaks_ends() -> None:
    connection = Breaking()
    link = LinkToIt(connection)
    running = asyncio.create_task(link.run())
    await connection.running.wait()
    # In the same turn of the loop: the group of tasks sees the one before the other.
    connection.breaks.set()
    link.close(running)
    done, _ = await asyncio.wait({running}, timeout=50)
    assert done
    assert running.cancelled()
