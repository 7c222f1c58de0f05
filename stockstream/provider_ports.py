"""What a source of market data keeps to; each docstring is the contract of a port."""

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from stockstream.errors import ProviderError
from stockstream.model import Bar, Quote, Symbol, Timeframe


@dataclass(frozen=True, slots=True, kw_only=True)
class PollLimits:
    """How often and how much a provider may be asked."""

    #: Most symbols in one request; None: any number.
    max_symbols: int | None = None
    #: Most requests under way at once.
    max_concurrent: int = 4
    #: Most requests a minute; None: any number.
    requests_per_minute: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class QuoteBatch:
    """The answer to one request: what is known, and which symbols failed and why."""

    quotes: Sequence[Quote] = ()
    #: Failures of single symbols; they say nothing about the others.
    errors: Mapping[Symbol, ProviderError] = field(default_factory=dict)


class QuotePoller(Protocol):
    """Quotes that have to be asked for."""

    @property
    def limits(self) -> PollLimits:
        """What the caller keeps to."""
        ...

    async def fetch_quotes(self, symbols: Sequence[Symbol]) -> QuoteBatch:
        """Ask for the latest quote of each symbol, in one request.

        Every symbol is either in ``quotes``, or in ``errors``, or has no quote yet. One bad symbol
        never spoils the batch.

        Raises:
            TemporaryProviderError: the request as a whole failed; trying again may help.
            PermanentProviderError: the request as a whole failed and always will.
        """
        ...


class QuoteFeed(Protocol):
    """Quotes that come by themselves, over one connection.

    The caller decides which symbols it carries: where there is a ``symbol_limit``, those that most
    clients want. What does not fit is polled.
    """

    @property
    def symbol_limit(self) -> int | None:
        """Most symbols that the connection carries; None: any number."""
        ...

    async def watch(self, symbols: Collection[Symbol]) -> None:
        """Replace the set of symbols that are wanted; may be called before and while streaming."""
        ...

    def stream(self) -> AsyncGenerator[Sequence[Quote], None]:
        """Connect, and yield quotes of the watched symbols in the order of their receipt.

        Pulling is what drives it: while the caller does not pull, a feed holds a bounded number of
        quotes. Ends when nothing will ever come again (a recording's end). Closing the iterator
        disconnects; there is at most one at a time. After an error it may be called again, and
        then goes on with the same symbols.

        Raises:
            TemporaryProviderError: the connection was lost or refused for now.
            PermanentProviderError: the provider will never accept this connection.
        """
        ...


class BarSource(Protocol):
    """History that can be asked for."""

    async def fetch_bars(
        self, symbol: Symbol, timeframe: Timeframe, *, end_ms: int, limit: int
    ) -> Sequence[Bar]:
        """Return the newest ``limit`` bars that start before ``end_ms``, in order of time.

        Fewer, or none, where history does not go back that far. The last one may still be forming.

        Raises:
            TemporaryProviderError: trying again may help.
            PermanentProviderError: it won't (an unknown symbol).
        """
        ...


class QuoteProvider(Protocol):
    """A source of market data: what it can do is what is not None.

    A provider may push over one connection with a symbol limit and be polled for the rest.
    """

    @property
    def name(self) -> str:
        """Stable name for logs, metrics and settings."""
        ...

    @property
    def poller(self) -> QuotePoller | None:
        """How to ask for quotes."""
        ...

    @property
    def feed(self) -> QuoteFeed | None:
        """How to have them pushed."""
        ...

    @property
    def bars(self) -> BarSource | None:
        """How to ask for history."""
        ...

    async def aclose(self) -> None:
        """Let go of connections and files; calling it twice does no harm."""
        ...
