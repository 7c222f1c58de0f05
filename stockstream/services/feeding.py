"""Keeps a provider's push connection up and tells it which symbols are wanted."""

import asyncio
from collections.abc import Callable, Collection, Sequence
from contextlib import aclosing
from random import Random
from typing import Final

import structlog

from stockstream.core.backoff import Backoff
from stockstream.errors import PermanentProviderError, ProviderError, TemporaryProviderError
from stockstream.model import Quote, Symbol
from stockstream.ports import Clock
from stockstream.provider_ports import QuoteFeed

log = structlog.get_logger(__name__)

# A reconnect loop can get a key or an address blocked by a vendor.
_BACKOFF: Final = Backoff(initial=1.0, maximum=60.0)


class FeedLoop:
    """Streams from a feed until cancelled, and connects again with backoff when it is lost."""

    def __init__(
        self,
        feed: QuoteFeed,
        *,
        clock: Clock,
        random: Random,
        on_quotes: Callable[[Sequence[Quote]], None],
        on_state: Callable[[], None],
    ) -> None:
        self._feed = feed
        self._clock = clock
        self._random = random
        self._on_quotes = on_quotes
        #: Called when ``connected`` changed.
        self._on_state = on_state
        self._wanted: frozenset[Symbol] = frozenset()
        self._changed = asyncio.Event()
        self._failures = 0
        #: False from a failure until quotes come again, and for good after the last one.
        self.connected = True
        #: How often the connection was lost.
        self.losses = 0

    @property
    def symbol_limit(self) -> int | None:
        """Most symbols that may be wanted; None: any number."""
        return self._feed.symbol_limit

    @property
    def carried(self) -> frozenset[Symbol]:
        """The symbols wanted from it."""
        return self._wanted

    def want(self, symbols: Collection[Symbol]) -> None:
        """Replace the symbols wanted; changes in quick succession reach the feed as one."""
        wanted = frozenset(symbols)
        if wanted != self._wanted:
            self._wanted = wanted
            self._changed.set()

    async def run(self) -> None:
        """Stream until cancelled, or until nothing will ever come again."""
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(self._keep_watching())
            await self._keep_streaming()
            watching.cancel()

    async def _keep_watching(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self._feed.watch(self._wanted)
            except ProviderError as error:
                log.warning("feed_watch_failed", error=str(error))
            except Exception:
                # The border of the task, as with the stream.
                log.exception("feed_crashed")
            else:
                continue
            await self._clock.sleep(_BACKOFF.delay(1, self._random))
            self._changed.set()

    async def _keep_streaming(self) -> None:
        while True:
            try:
                async with aclosing(self._feed.stream()) as stream:
                    async for quotes in stream:
                        self._set_connected(connected=True)
                        self._failures = 0
                        self._on_quotes(quotes)
            except PermanentProviderError as error:
                log.error("feed_refused", error=str(error))  # noqa: TRY400 - its sentence says it all
                break
            except TemporaryProviderError as error:
                await self._back_off(error)
            except Exception as error:
                # The border of the task: a fault in a feed must not end the node.
                log.exception("feed_crashed")
                await self._back_off(TemporaryProviderError("feed", repr(error)))
            else:
                log.info("feed_ended")
                break
        self._set_connected(connected=False)

    async def _back_off(self, error: TemporaryProviderError) -> None:
        self._failures += 1
        self.losses += 1
        self._set_connected(connected=False)
        pause = max(_BACKOFF.delay(self._failures, self._random), error.retry_after or 0.0)
        log.warning("feed_lost", error=str(error), retry_in_s=round(pause, 1))
        await self._clock.sleep(pause)

    def _set_connected(self, *, connected: bool) -> None:
        if connected is not self.connected:
            self.connected = connected
            self._on_state()
