"""The provider's bars: asked for once, however many want them, and remembered for a while."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import structlog

from stockstream.core.bar_rules import aggregate, is_sound
from stockstream.core.bars import Mark
from stockstream.errors import ProviderError, TemporaryProviderError, UnavailableError
from stockstream.model import Bar, Symbol, Timeframe
from stockstream.ports import Clock
from stockstream.provider_ports import BarSource

#: The numbers of bars that are asked for: few sizes, so that most askers share an answer.
DEPTHS: Final = (100, 1_000)

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class BarHistoryLimits:
    """What the memory of the provider's bars, and the asking, may cost."""

    #: Seconds to wait for an answer, the waiting for other requests included.
    timeout: float = 10.0
    #: Most requests under way at once.
    concurrent: int = 4
    #: Most requests under way or waiting; who comes on top is refused with ``unavailable``.
    pending: int = 1_000
    #: Most seconds that an answer counts as fresh; less where its last bar ends before.
    max_age: float = 300.0
    #: Seconds until a provider that failed, or refused the symbol for good, is asked again.
    retry: float = 5.0
    refused_retry: float = 60.0
    #: Most bars remembered; the answers that were used least recently leave first.
    bars: int = 200_000


@dataclass(slots=True, kw_only=True)
class Answer:
    """What the provider said about one symbol and timeframe."""

    #: In order of time; empty where there are none, or none could be had.
    bars: list[Bar]
    #: How many bars were asked for.
    depth: int
    #: Where our own counting stood then.
    mark: Mark
    #: Until when it counts as fresh, in monotonic seconds.
    expires: float
    #: Why the provider could not be asked; ``bars`` may then be from the time before.
    error: ProviderError | None = None
    #: The same continued by our own, as these were at that revision.
    joined: list[Bar] = field(default_factory=list)
    joined_revision: int = 0
    #: What was stored then.
    joined_stored: object = None


class _Key(NamedTuple):
    symbol: Symbol
    timeframe: Timeframe
    depth: int


class BarHistory:
    """Answers of a provider, remembered within limits.

    All who ask for the same while a request is under way wait for that one request; it goes on when
    some or all of them are cancelled.
    """

    def __init__(
        self,
        source: BarSource | None,
        clock: Clock,
        *,
        mark: Callable[[Symbol], Mark],
        limits: BarHistoryLimits,
        on_answer: Callable[[Symbol, Timeframe, "Answer"], None] = lambda *_: None,
    ) -> None:
        self._source = source
        self._on_answer = on_answer
        self._clock = clock
        self._mark = mark
        self._limits = limits
        self._answers: OrderedDict[_Key, Answer] = OrderedDict()
        self._weight = 0
        self._requests: dict[_Key, asyncio.Task[Answer]] = {}
        self._turn = asyncio.Semaphore(limits.concurrent)
        self._closed = False
        #: Requests made, requests that failed, and askers refused because too many were waiting.
        self.asked = 0
        self.failed = 0
        self.shed = 0

    async def get(self, symbol: Symbol, timeframe: Timeframe, limit: int) -> Answer:
        """Return at least the newest ``limit`` bars there are. Cancelling harms no other asker.

        Raises:
            UnavailableError: too many requests are waiting, or the service is closing.
        """
        key = _Key(symbol, timeframe, next(depth for depth in DEPTHS if limit <= depth))
        answer = self._answers.get(key)
        if answer is not None and self._clock.monotonic() < answer.expires:
            self._answers.move_to_end(key)
            return answer
        request = self._requests.get(key) or self._request(key)
        # Unlike awaiting the task itself, this leaves it alone when the asker is cancelled.
        await asyncio.wait((request,))
        if request.cancelled():
            raise UnavailableError("the server is shutting down", symbol=symbol)
        return request.result()

    def drop(self, symbol: Symbol) -> None:
        """Forget the answers about ``symbol``: our own bars don't continue them without a gap."""
        for timeframe in Timeframe:
            for depth in DEPTHS:
                self._remove(_Key(symbol, timeframe, depth))

    async def aclose(self) -> None:
        """Give up the requests under way; calling it twice does no harm."""
        self._closed = True
        requests = list(self._requests.values())
        for request in requests:
            request.cancel()
        if requests:
            await asyncio.wait(requests)

    def _request(self, key: _Key) -> asyncio.Task[Answer]:
        if self._closed:
            raise UnavailableError("the server is shutting down", symbol=key.symbol)
        if len(self._requests) >= self._limits.pending:
            self.shed += 1
            raise UnavailableError("too many bars are being asked for", symbol=key.symbol)
        request = asyncio.create_task(self._answer(key), name=f"bars {key.symbol} {key.timeframe}")
        self._requests[key] = request
        request.add_done_callback(lambda _: self._requests.pop(key))
        return request

    async def _answer(self, key: _Key) -> Answer:
        try:
            bars = await self._ask(key)
        except ProviderError as error:
            answer = self._failure(key, error)
        except Exception:  # noqa: BLE001 - the border to code of the provider
            # A fault of the provider's code: those who wait hear that bars are unavailable.
            _log.exception("bars_failed", symbol=key.symbol, timeframe=key.timeframe)
            answer = self._failure(key, TemporaryProviderError("bars", "failed unexpectedly"))
        else:
            expires = self._clock.monotonic() + self._fresh_for(key.timeframe)
            answer = Answer(
                bars=bars, depth=key.depth, mark=self._mark(key.symbol), expires=expires
            )
            self._on_answer(key.symbol, key.timeframe, answer)
        self._remember(key, answer)
        return answer

    async def _ask(self, key: _Key) -> list[Bar]:
        if self._source is None:
            return []
        try:
            async with asyncio.timeout(self._limits.timeout), self._turn:
                self.asked += 1
                bars = await self._source.fetch_bars(
                    key.symbol, key.timeframe, end_ms=self._clock.time_ms() + 1, limit=key.depth
                )
        except TimeoutError:
            seconds = f"{self._limits.timeout:g} s"
            raise TemporaryProviderError("bars", f"no answer within {seconds}") from None
        return cleaned(bars, key.symbol, key.timeframe)

    def _failure(self, key: _Key, error: ProviderError) -> Answer:
        self.failed += 1
        _log.warning(
            "bars_unavailable", symbol=key.symbol, timeframe=key.timeframe, error=str(error)
        )
        wait = self._limits.retry if error.retryable else self._limits.refused_retry
        if isinstance(error, TemporaryProviderError) and error.retry_after is not None:
            wait = min(max(wait, error.retry_after), self._limits.max_age)
        before = self._answers.get(key)
        return Answer(
            # What was true stays true, and our own bars continue it.
            bars=before.bars if before else [],
            depth=key.depth,
            mark=before.mark if before else Mark(),
            expires=self._clock.monotonic() + wait,
            error=error,
        )

    def _fresh_for(self, timeframe: Timeframe) -> float:
        now = self._clock.time_ms()
        end = timeframe.floor(now) + timeframe.duration_ms
        return min(self._limits.max_age, (end - now) / 1_000)

    def _remember(self, key: _Key, answer: Answer) -> None:
        self._remove(key)
        self._answers[key] = answer
        self._weight += key.depth
        while self._weight > self._limits.bars:
            self._remove(next(iter(self._answers)))

    def _remove(self, key: _Key) -> None:
        if self._answers.pop(key, None) is not None:
            self._weight -= key.depth


def cleaned(bars: Sequence[Bar], symbol: Symbol, timeframe: Timeframe) -> list[Bar]:
    """Return the sound ones of a provider's bars, in order of time, labelled as ours are."""
    # Vendors send a bar twice, rows of nothing, and bars labelled by the opening of an exchange.
    sound = {bar.timestamp: bar for bar in bars if is_sound(bar)}
    unsound = sum(not is_sound(bar) for bar in bars)
    if unsound:
        _log.warning("unsound_bars_dropped", symbol=symbol, timeframe=timeframe, count=unsound)
    return aggregate((sound[start] for start in sorted(sound)), timeframe)
