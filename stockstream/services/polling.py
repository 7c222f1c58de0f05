"""Asks a provider for the quotes of due symbols, in batches, within its limits."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from random import Random
from typing import Final

import structlog

from stockstream.clock import wait_until
from stockstream.core.backoff import Backoff
from stockstream.core.circuit_breaker import CircuitBreaker, CircuitState
from stockstream.core.poll_schedule import PollSchedule
from stockstream.errors import PermanentProviderError, ProviderError, TemporaryProviderError
from stockstream.model import Quote, Symbol
from stockstream.ports import Clock
from stockstream.provider_ports import QuoteBatch, QuotePoller

log = structlog.get_logger(__name__)

#: Seconds after which an unanswered request counts as failed.
REQUEST_TIMEOUT: Final = 10.0
#: Seconds until a symbol that the provider does not know is asked for again: it may be listed.
_UNKNOWN_SYMBOL_DELAY: Final = 60.0
_BACKOFF: Final = Backoff(initial=1.0, maximum=30.0)


class PollingLoop:
    """One loop that never overlaps itself: a symbol is asked for again only after its answer.

    Batches are under way side by side as far as the provider allows, so that one that hangs holds
    back its own symbols alone. A provider that keeps failing is left alone for a while.
    """

    def __init__(
        self,
        poller: QuotePoller,
        *,
        interval: float,
        batch_size: int,
        clock: Clock,
        random: Random,
        on_quotes: Callable[[Sequence[Quote], float], None],
        on_error: Callable[[Symbol, ProviderError], None],
        request_timeout: float = REQUEST_TIMEOUT,
    ) -> None:
        """Make a loop that does nothing yet.

        Args:
            poller: whom to ask.
            interval: seconds between two requests for a symbol.
            batch_size: most symbols in one request, where the provider does not take fewer.
            clock: the time.
            random: jitter of the pauses after failures.
            on_quotes: called with each answer's quotes, in the order of the answers, and with the
                monotonic time at which they were asked for.
            on_error: called with each symbol that failed.
            request_timeout: seconds after which an unanswered request counts as failed.
        """
        limits = poller.limits
        self._poller = poller
        self._clock = clock
        self._on_quotes = on_quotes
        self._on_error = on_error
        self._timeout = request_timeout
        self._batch_size = min(batch_size, limits.max_symbols or batch_size)
        self._max_concurrent = limits.max_concurrent
        self._pause = 60.0 / limits.requests_per_minute if limits.requests_per_minute else 0.0
        self._free_at = float("-inf")
        self._schedule = PollSchedule(interval)
        self._breaker = CircuitBreaker(_BACKOFF, random)
        self._requests: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        #: Requests sent, and those of them that failed as a whole.
        self.requests = 0
        self.failures = 0

    @property
    def circuit(self) -> CircuitState:
        """Whether the provider is being asked at all."""
        return self._breaker.state

    def assign(self, symbols: Collection[Symbol]) -> None:
        """Replace the symbols to ask for; a new one is asked for at once."""
        if self._schedule.replace(symbols, self._clock.monotonic()):
            self._wake.set()

    async def run(self) -> None:
        """Poll until cancelled; requests under way are then cancelled too."""
        try:
            while True:
                self._wake.clear()
                self._send_due()
                await self._wait()
        finally:
            for request in self._requests:
                request.cancel()
            await asyncio.gather(*self._requests, return_exceptions=True)

    def _send_due(self) -> None:
        while len(self._requests) < self._max_concurrent:
            now = self._clock.monotonic()
            due = self._schedule.next_due()
            if due is None or max(due, self._free_at) > now or not self._breaker.allow(now):
                return
            self._free_at = now + self._pause
            request = asyncio.create_task(self._request(self._schedule.take(now, self._batch_size)))
            self._requests.add(request)
            request.add_done_callback(self._finished)

    def _finished(self, request: asyncio.Task[None]) -> None:
        self._requests.discard(request)
        self._wake.set()

    async def _wait(self) -> None:
        """Return when something may be due, or has changed."""
        due = self._schedule.next_due()
        full = len(self._requests) >= self._max_concurrent
        # With a trial request under way nothing goes out before it has come back.
        if due is None or full or self._breaker.state is CircuitState.HALF_OPEN:
            await self._wake.wait()
            return
        at = max(due, self._free_at, self._breaker.retry_at() or due)
        await wait_until(self._clock, at, self._wake)

    async def _request(self, symbols: list[Symbol]) -> None:
        delay = 0.0
        self.requests += 1
        asked_at = self._clock.monotonic()
        try:
            async with asyncio.timeout(self._timeout):
                batch = await self._poller.fetch_quotes(symbols)
            self._breaker.succeeded()
            unknown = self._answered(batch, asked_at)
        except ProviderError as error:
            self._failed(symbols, error)
            delay = _UNKNOWN_SYMBOL_DELAY if isinstance(error, PermanentProviderError) else 0.0
        except TimeoutError:
            message = f"no answer within {self._timeout:g} s"
            self._failed(symbols, TemporaryProviderError("poll", message))
        except asyncio.CancelledError:
            self._breaker.abandoned()
            raise
        except Exception as error:
            # The border of the task: a fault in a provider must not end the loop for all symbols.
            log.exception("provider_crashed", symbols=len(symbols))
            self._failed(symbols, TemporaryProviderError("poll", repr(error)))
        else:
            self._schedule.done(unknown, self._clock.monotonic(), delay=_UNKNOWN_SYMBOL_DELAY)
            symbols = [symbol for symbol in symbols if symbol not in unknown]
        self._schedule.done(symbols, self._clock.monotonic(), delay=delay)

    def _answered(self, batch: QuoteBatch, asked_at: float) -> list[Symbol]:
        """Hand an answer on; return the symbols that the provider does not know."""
        self._on_quotes(batch.quotes, asked_at)
        self._report(batch.errors.items())
        return [s for s, e in batch.errors.items() if isinstance(e, PermanentProviderError)]

    def _failed(self, symbols: Sequence[Symbol], error: ProviderError) -> None:
        self.failures += 1
        now = self._clock.monotonic()
        retry_after = error.retry_after if isinstance(error, TemporaryProviderError) else None
        self._breaker.failed(now, retry_after=retry_after)
        # Beside the breaker, which another answer may close before the pause is over.
        self._free_at = max(self._free_at, now + (retry_after or 0.0))
        self._report((symbol, error) for symbol in symbols)

    def _report(self, errors: Iterable[tuple[Symbol, ProviderError]]) -> None:
        for symbol, error in errors:
            self._on_error(symbol, error)
