"""Which stretches of time the bars of a symbol are."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import structlog

from stockstream.core.calendars import ALWAYS, calendar_of
from stockstream.core.spans import SessionDays, SessionWeeks, Spans
from stockstream.errors import UnavailableError
from stockstream.model import Symbol, Timeframe

_log = structlog.get_logger(__name__)

_UTC_DAYS: Final = SessionDays((), ())


class Calendars:
    """The trading days of each symbol's exchange, loaded when they are first needed.

    Args:
        by_suffix: names of calendars by the end of a symbol; none: days are those of UTC.
        load: computes the days of a calendar, which takes seconds; raises UnavailableError.
    """

    def __init__(
        self, by_suffix: Mapping[str, str], load: Callable[[str], Awaitable[SessionDays]]
    ) -> None:
        self._by_suffix = by_suffix
        self._load = load
        self._days = {ALWAYS: _UTC_DAYS}
        self._loading: dict[str, asyncio.Task[SessionDays]] = {}

    async def spans(self, symbol: Symbol, timeframe: Timeframe) -> Spans:
        """Return the stretches that the bars of a timeframe are. Cancelling is safe.

        Raises:
            UnavailableError: the exchange's calendar can't be had now.
        """
        known = self.known(symbol, timeframe)
        if known is not None:
            return known
        days = await self.days(symbol)
        return days if timeframe is Timeframe.D1 else SessionWeeks(days)

    def known(self, symbol: Symbol, timeframe: Timeframe) -> Spans | None:
        """Return the same where it is known already."""
        if timeframe not in (Timeframe.D1, Timeframe.W1):
            return timeframe
        days = self._days.get(calendar_of(symbol, self._by_suffix))
        if days is None or days is _UTC_DAYS:
            return None if days is None else timeframe
        return days if timeframe is Timeframe.D1 else SessionWeeks(days)

    async def days(self, symbol: Symbol) -> SessionDays:
        """Return the trading days of a symbol.

        Raises:
            UnavailableError: the exchange's calendar can't be had now.
        """
        name = calendar_of(symbol, self._by_suffix)
        if name not in self._days:
            self._days[name] = await self._loaded(name)
        return self._days[name]

    async def check(self) -> None:
        """Load all calendars; those that can't be had now are loaded later.

        Raises:
            ConfigError: there is no calendar of that name.
        """
        for name in sorted(set(self._by_suffix.values()) - self._days.keys()):
            try:
                self._days[name] = await self._loaded(name)
            except UnavailableError as error:
                _log.warning("calendar_not_loaded", calendar=name, error=str(error))

    async def aclose(self) -> None:
        """Give up what is being loaded."""
        for task in self._loading.values():
            task.cancel()
        if self._loading:
            await asyncio.wait(self._loading.values())

    async def _loaded(self, name: str) -> SessionDays:
        """Load a calendar once, however many want it."""
        task = self._loading.get(name)
        if task is None:
            task = asyncio.ensure_future(self._load(name))
            self._loading[name] = task
            task.add_done_callback(lambda _: self._loading.pop(name))
        await asyncio.wait((task,))
        if task.cancelled():
            raise UnavailableError("the server is shutting down")
        return task.result()
