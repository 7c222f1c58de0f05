"""Which symbols are pushed and which are polled, and the loops that do it."""

import asyncio
from collections.abc import Callable, Container, Mapping, Sequence
from random import Random
from typing import Protocol

from stockstream.core.allocation import allocate
from stockstream.core.circuit_breaker import CircuitState
from stockstream.errors import ProviderError
from stockstream.model import Quote, Symbol
from stockstream.ports import Clock
from stockstream.provider_ports import QuoteProvider
from stockstream.services.feeding import FeedLoop
from stockstream.services.polling import PollingLoop


class SourcedSymbol(Protocol):
    """What matters here of a symbol that streams."""

    @property
    def seeded_at(self) -> float | None:
        """Since when its quotes may come in, in monotonic seconds; None: not yet."""
        ...

    @property
    def settled(self) -> bool:
        """Whether its price is known."""
        ...


class QuoteSources:
    """The two ways in which a provider's quotes come in.

    A feed carries what it can, the symbols that most clients want first; the rest is polled, and so
    is everything while the feed is lost.
    """

    def __init__(
        self,
        provider: QuoteProvider,
        *,
        streams: Mapping[Symbol, SourcedSymbol],
        elsewhere: Container[Symbol] = (),
        demand: Callable[[Symbol], int],
        interval: float,
        batch_size: int,
        clock: Clock,
        random: Random,
        on_quotes: Callable[[Sequence[Quote]], None],
        on_error: Callable[[Symbol, ProviderError], None],
    ) -> None:
        """Ask for nothing yet.

        Args:
            provider: whose quotes are wanted.
            streams: the symbols that stream, kept up by their owner, who calls :meth:`move`.
            elsewhere: those of them whose quotes do not come from the provider.
            demand: how many want one of them.
            interval: seconds between two requests for a polled symbol.
            batch_size: most symbols in one request.
            clock: the time.
            random: jitter of the pauses after failures.
            on_quotes: called with quotes, in the order in which they came in.
            on_error: called with each symbol that failed.
        """
        self._streams = streams
        self._elsewhere = elsewhere
        self._demand = demand
        self._on_quotes = on_quotes
        #: Set when symbols came, went or have to be carried another way; a burst is handled as one.
        self._moved = asyncio.Event()
        self._poll = provider.poller and PollingLoop(
            provider.poller,
            interval=interval,
            batch_size=batch_size,
            clock=clock,
            random=random,
            on_quotes=self._take_polled,
            on_error=on_error,
        )
        self._feed = provider.feed and FeedLoop(
            provider.feed,
            clock=clock,
            random=random,
            on_quotes=on_quotes,
            on_state=self.move,
        )

    @property
    def circuit(self) -> CircuitState:
        """Whether the provider may be polled."""
        return self._poll.circuit if self._poll else CircuitState.CLOSED

    @property
    def feed_connected(self) -> bool | None:
        """Whether the push connection is up; None where the provider has none."""
        return self._feed.connected if self._feed else None

    @property
    def traffic(self) -> dict[str, int]:
        """Requests to the provider, those that failed, and how often its connection was lost."""
        return {
            "requests": self._poll.requests if self._poll else 0,
            "failed_requests": self._poll.failures if self._poll else 0,
            "lost_connections": self._feed.losses if self._feed else 0,
        }

    def move(self) -> None:
        """Note that symbols came or went."""
        self._moved.set()

    def rebalance(self) -> None:
        """Note that they may be wanted more or less than before, where that matters."""
        if self._feed and self._feed.symbol_limit is not None:
            self._moved.set()

    def note_settled(self) -> None:
        """Note that the first price of a symbol is known, where that matters."""
        if self._feed:
            self._moved.set()

    async def run(self) -> None:
        """Have quotes come in until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            if self._poll:
                tasks.create_task(self._poll.run())
            if self._feed:
                tasks.create_task(self._feed.run())
            while True:
                await self._moved.wait()
                self._moved.clear()
                self._place()

    def _place(self) -> None:
        """Decide for each symbol whether it is pushed or polled."""
        symbols = {
            symbol
            for symbol, live in self._streams.items()
            if live.seeded_at is not None and symbol not in self._elsewhere
        }
        if self._feed:
            demand = {symbol: self._demand(symbol) for symbol in symbols}
            # Also while it is lost: that it is back shows only by quotes of what it carries.
            self._feed.want(allocate(demand, self._feed.symbol_limit, self._feed.carried))
        if self._poll:
            self._poll.assign({symbol for symbol in symbols if not self._is_pushed(symbol)})

    def _is_pushed(self, symbol: Symbol) -> bool:
        """Return whether all that is new of a symbol comes by itself.

        Where it is quiet a feed may say nothing for hours: its first price is asked for.
        """
        if not self._feed or not self._feed.connected:
            return False
        return symbol in self._feed.carried and self._streams[symbol].settled

    def _take_polled(self, quotes: Sequence[Quote], asked_at: float) -> None:
        self._on_quotes([q for q in quotes if self._is_news(q.symbol, asked_at)])

    def _is_news(self, symbol: Symbol, asked_at: float) -> bool:
        """Return whether an answer can't be older than what was emitted of a symbol."""
        stream = self._streams.get(symbol)
        if stream is None or stream.seeded_at is None or asked_at < stream.seeded_at:
            # It was on its way when the stream began, and another node may have gone on meanwhile.
            return False
        # Nor if it was on its way when pushing began.
        return not self._is_pushed(symbol)
