"""The latest price of a symbol for somebody who does not stay to watch it."""

import asyncio
from collections.abc import Sequence
from typing import Final

import structlog

from stockstream.errors import (
    PermanentProviderError,
    StoreUnavailableError,
    SubscriptionLimitError,
    UnavailableError,
)
from stockstream.model import StockUpdate, Symbol
from stockstream.ports import QuoteCache
from stockstream.services.contract import Streaming

log = structlog.get_logger(__name__)

#: Symbols that are waited for at once, for all who ask.
_MOST_WAITING: Final = 1_000
#: Seconds that the first price of a symbol is waited for.
_TIMEOUT: Final = 3.0


class Lookups:
    """Answers from what streams, else from the cache, else it wants the symbol for a moment."""

    def __init__(self, streaming: Streaming, cache: QuoteCache) -> None:
        self._streaming = streaming
        self._cache = cache
        self._waiting = 0
        #: Symbols that had to be wanted, and those that were not because too many were.
        self.wanted = 0
        self.shed = 0

    async def known(self, symbols: Sequence[Symbol]) -> dict[Symbol, StockUpdate]:
        """Return what is known of symbols now, without the provider."""
        found: dict[Symbol, StockUpdate] = {}
        answers = True
        for symbol in symbols:
            update = self._streaming.snapshot(symbol)
            if update is None and answers:
                try:
                    update = await self._cache.get(symbol)
                except StoreUnavailableError as error:
                    # Who waits for it once for each symbol would wait for minutes.
                    answers = False
                    log.warning("cache_not_read", symbol=symbol, error=str(error))
            if update is not None:
                found[symbol] = update
        return found

    async def first(self, symbols: Sequence[Symbol]) -> dict[Symbol, StockUpdate]:
        """Want symbols until each has a price, or says that it never will; at most for 3 s.

        What has none by then is left out. Cancelling is safe.

        Raises:
            UnavailableError: too many symbols are waited for, or stream, to want these as well.
            PermanentProviderError: it was one symbol alone, and the provider knows of none such.
        """
        if self._waiting + len(symbols) > _MOST_WAITING:
            self.shed += len(symbols)
            raise UnavailableError("too many symbols are being asked for, try again soon")
        self._waiting += len(symbols)
        self.wanted += len(symbols)
        acquired: list[Symbol] = []
        try:
            for symbol in symbols:
                self._streaming.acquire(symbol)
                acquired.append(symbol)
            found = await asyncio.gather(*(self._first(symbol) for symbol in symbols))
        except SubscriptionLimitError as error:
            raise UnavailableError(str(error)) from error
        finally:
            self._waiting -= len(symbols)
            for symbol in acquired:
                self._streaming.release(symbol)
        if len(found) == 1 and isinstance(found[0], PermanentProviderError):
            raise found[0]
        return {each.symbol: each for each in found if isinstance(each, StockUpdate)}

    async def _first(self, symbol: Symbol) -> StockUpdate | PermanentProviderError | None:
        try:
            return await self._streaming.current(symbol, _TIMEOUT)
        except PermanentProviderError as error:
            return error
