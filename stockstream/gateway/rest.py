"""The HTTP door to prices and bars (contract, section 2)."""

from collections.abc import Sequence
from typing import Final

from aiohttp import web
from msgspec import UNSET

from stockstream.errors import (
    InvalidSymbolError,
    PermanentProviderError,
    RateLimitedError,
    StoreUnavailableError,
    UnavailableError,
)
from stockstream.gateway.long_answers import LongAnswers
from stockstream.gateway.responses import conditional_response
from stockstream.gateway.routes import Answer, Call, Route
from stockstream.gateway.throttle import Throttle
from stockstream.model import Bar, StockUpdate, Symbol, parse_symbol, parse_timeframe
from stockstream.ports import Clock
from stockstream.services.bars import BarService
from stockstream.services.contract import Streaming
from stockstream.services.lookups import Lookups
from stockstream.wire.parameters import (
    MAX_SYMBOLS,
    BarsParameters,
    HistoryParameters,
    QuotesParameters,
)

#: Symbols that nobody streams which an address may ask for a second, over time.
_WANTED_PER_SECOND: Final = 10.0

_UNCHANGED: Final = Answer("Nothing has changed since the answer that `If-None-Match` names.")
_CONDITION: Final = {"If-None-Match": "`ETag` of an answer that the client still has."}


class RestDoor:
    """Answers for one moment what Socket.IO clients are told all the time."""

    def __init__(
        self,
        *,
        streaming: Streaming,
        bars: BarService,
        lookups: Lookups,
        clock: Clock,
    ) -> None:
        self._streaming = streaming
        self._bars = bars
        self._lookups = lookups
        self._answers = LongAnswers()
        # Of symbols that nobody streams: each costs the provider a request.
        self._wanting = Throttle(_WANTED_PER_SECOND, MAX_SYMBOLS, clock.monotonic)

    def routes(self) -> list[Route]:
        """Return what there is to be asked."""
        return [
            Route(
                name="quotes",
                path="/api/quotes",
                handler=self._quotes,
                summary="The latest price of one or more symbols.",
                description="A symbol that nobody watches is asked for; one that has no price "
                "after 3 s is left out.",
                parameters=QuotesParameters,
                headers=_CONDITION,
                answers={
                    200: Answer("In the order of the request.", body=list[StockUpdate]),
                    304: _UNCHANGED,
                },
                errors=frozenset({404, 503}),
            ),
            Route(
                name="history",
                path="/api/history/{symbol}",
                handler=self._history,
                summary="The newest updates of a symbol.",
                parameters=HistoryParameters,
                headers=_CONDITION,
                answers={
                    200: Answer("The newest first.", body=list[StockUpdate]),
                    304: _UNCHANGED,
                },
                errors=frozenset({404, 503}),
            ),
            Route(
                name="bars",
                path="/api/bars/{symbol}",
                handler=self._get_bars,
                summary="Bars of a symbol: first, highest, lowest and last price, and volume.",
                parameters=BarsParameters,
                headers=_CONDITION,
                answers={
                    200: Answer(
                        "In order of time; the last one may still be forming.", body=list[Bar]
                    ),
                    304: _UNCHANGED,
                },
                errors=frozenset({404, 503}),
            ),
        ]

    async def _quotes(self, call: Call[QuotesParameters]) -> web.Response:
        symbols = call.parameters.names()
        found = await self._lookups.known(symbols)
        unknown = [symbol for symbol in symbols if symbol not in found]
        if unknown:
            found |= await self._want(call.address, unknown, alone=len(symbols) == 1)
        quotes = [found[symbol] for symbol in symbols if symbol in found]
        return conditional_response(call.request, quotes)

    async def _history(self, call: Call[HistoryParameters]) -> web.Response:
        symbol = parse_symbol(call.parameters.symbol)
        try:
            updates = await self._streaming.history(symbol, call.parameters.limit)
        except StoreUnavailableError as error:
            raise UnavailableError("the history can't be read right now") from error
        if not updates:
            known = await self._lookups.known([symbol])
            known = known or await self._want(call.address, [symbol], alone=True)
            updates = list(known.values())
        return conditional_response(call.request, updates)

    async def _want(
        self, address: str, symbols: Sequence[Symbol], *, alone: bool
    ) -> dict[Symbol, StockUpdate]:
        if any(self._wanting.take(address) for _ in symbols):
            raise RateLimitedError("too many symbols that nobody watches were asked for from here")
        try:
            return await self._lookups.first(symbols)
        except PermanentProviderError as error:
            if not alone:
                return {}
            raise InvalidSymbolError(f"there are no prices of {symbols[0]}") from error

    async def _get_bars(self, call: Call[BarsParameters]) -> web.StreamResponse:
        asked = call.parameters
        start = None if asked.from_ is UNSET else asked.from_
        end = None if asked.to is UNSET else asked.to
        async with self._answers.place(asked.limit):
            bars = await self._bars.range(
                parse_symbol(asked.symbol),
                parse_timeframe(asked.timeframe),
                start_ms=start,
                end_ms=end,
                limit=asked.limit,
            )
            link = ""
            if start is not None and len(bars) == asked.limit:
                # What follows begins after the last one; there may be none.
                following = call.request.rel_url.update_query({"from": bars[-1].timestamp + 1})
                link = f'<{following}>; rel="next"'
            return await self._answers.send(call.request, bars, link)
