"""What keeps the history of a node: the store, and the tasks around it."""

import asyncio
from random import Random
from types import TracebackType
from typing import Final, Self

from stockstream.ports import Clock, HistoryStore
from stockstream.services.calendars import Calendars
from stockstream.services.history_upkeep import HistoryUpkeep
from stockstream.services.history_writer import HistoryWriter
from stockstream.services.inheriting import Inheritance
from stockstream.storage.memory_history import MemoryHistory
from stockstream.storage.sessions import load_sessions

#: Seconds that storing what waits may take at the end, at most.
_FLUSH_TIMEOUT: Final = 5.0


class History:
    """The store of a node's history, written and kept small behind the hot path.

    Everything is stored when the ``async with`` block ends; nothing is before :meth:`run`.

    Args:
        store: where to; it is closed at the end.
        calendars: where trading days end.
        clock: the time.
        random: scatters what many nodes do.
        tick_days: how many days ticks are kept; 0: none are stored.
        minute_days: how many days minutes are kept.
    """

    def __init__(
        self,
        store: HistoryStore,
        calendars: Calendars,
        *,
        clock: Clock,
        random: Random,
        tick_days: float,
        minute_days: float,
    ) -> None:
        self.store = store
        #: Whether others may store what this process does not stream.
        self.is_shared = not isinstance(store, MemoryHistory)
        self.calendars = calendars
        self.writer = HistoryWriter(store, clock=clock, random=random, keep_ticks=tick_days > 0)
        self.inheritance = Inheritance(store, clock, random)
        self.upkeep = HistoryUpkeep(
            store,
            calendars,
            clock=clock,
            random=random,
            tick_days=tick_days,
            minute_days=minute_days,
        )

    @classmethod
    def in_memory(cls, clock: Clock) -> Self:
        """Return one that ends with the process, and whose days are those of UTC."""
        return cls(
            MemoryHistory(),
            Calendars({}, load_sessions),
            clock=clock,
            random=Random(0),
            tick_days=0,
            minute_days=1,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            await self.writer.aclose(_FLUSH_TIMEOUT)
        finally:
            await self.calendars.aclose()
            await self.store.aclose()

    async def run(self) -> None:
        """Write, inherit and keep small, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.writer.run())
            tasks.create_task(self.inheritance.run())
            tasks.create_task(self.upkeep.run())
