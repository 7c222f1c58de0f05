import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from random import Random
from unittest.mock import Mock, patch

import pytest
from structlog.testing import capture_logs

from stockstream.core.circuit_breaker import CircuitState
from stockstream.errors import PermanentProviderError, ProviderError
from stockstream.model import Quote, Symbol
from stockstream.provider_ports import PollLimits
from stockstream.services.polling import PollingLoop
from tests.support.clock import ManualClock
from tests.support.providers import FakePoller, down, unknown

A, B, C, D = (Symbol(name) for name in "ABCD")


class Polled:
    """A loop with what it reports."""

    def __init__(self, poller: FakePoller, *, batch_size: int = 100, timeout: float = 60) -> None:
        self.clock = ManualClock()
        self.poller = poller
        self.quotes: list[Quote] = []
        self.asked_at: list[float] = []
        self.errors: list[tuple[Symbol, ProviderError]] = []
        self.loop = PollingLoop(
            poller,
            interval=1.0,
            batch_size=batch_size,
            clock=self.clock,
            random=Random(1),
            on_quotes=self._take,
            on_error=lambda symbol, error: self.errors.append((symbol, error)),
            request_timeout=timeout,
        )

    def _take(self, quotes: Sequence[Quote], asked_at: float) -> None:
        self.quotes += quotes
        self.asked_at.append(asked_at)

    @asynccontextmanager
    async def running(self, *symbols: Symbol) -> AsyncIterator[None]:
        """Run it until the block ends."""
        self.loop.assign(symbols)
        task = asyncio.create_task(self.loop.run())
        await self.clock.advance(0)
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait((task,))
        assert task.cancelled()

    async def pass_seconds(self, seconds: float) -> None:
        await self.clock.advance(seconds)


def poller_of(*symbols: Symbol, limits: PollLimits | None = None) -> FakePoller:
    poller = FakePoller(limits) if limits else FakePoller()
    poller.prices = dict.fromkeys(symbols, 10.0)
    return poller


async def test_each_symbol_is_asked_for_once_an_interval() -> None:
    polled = Polled(poller_of(A, B))
    async with polled.running(A, B):
        await polled.pass_seconds(5)
    # At once, and on each of the five seconds after.
    assert [sorted(request) for request in polled.poller.requests] == [[A, B]] * 6


async def test_quotes_are_handed_on() -> None:
    polled = Polled(poller_of(A))
    async with polled.running(A):
        await polled.pass_seconds(1.0)
    assert [(quote.symbol, quote.price) for quote in polled.quotes] == [(A, 10.0)] * 2
    # With the moment at which they were asked for.
    assert polled.asked_at[1] - polled.asked_at[0] == 1.0


async def test_a_symbol_that_is_added_is_asked_for_at_once() -> None:
    polled = Polled(poller_of(A, B))
    async with polled.running(A):
        await polled.pass_seconds(0.3)
        polled.loop.assign([A, B])
        await polled.pass_seconds(0)
        assert polled.poller.requests == [[A], [B]]


async def test_a_symbol_that_is_removed_is_asked_for_no_more() -> None:
    polled = Polled(poller_of(A, B))
    async with polled.running(A, B):
        polled.loop.assign([B])
        await polled.pass_seconds(3)
        assert polled.poller.count(A) == 1
        assert polled.poller.count(B) == 4


@pytest.mark.parametrize(("batch_size", "max_symbols", "expected"), [(3, None, 3), (3, 2, 2)])
async def test_no_batch_is_larger_than_the_setting_or_the_provider_allows(
    batch_size: int, max_symbols: int | None, expected: int
) -> None:
    symbols = [Symbol(f"S{number}") for number in range(7)]
    limits = PollLimits(max_symbols=max_symbols, max_concurrent=100)
    polled = Polled(poller_of(*symbols, limits=limits), batch_size=batch_size)
    async with polled.running(*symbols):
        sizes = [len(request) for request in polled.poller.requests]
    assert max(sizes) == expected
    assert sum(sizes) == 7
    assert len(sizes) == -(-7 // expected)


async def test_a_batch_that_hangs_holds_back_its_own_symbols_alone() -> None:
    polled = Polled(poller_of(A, B), batch_size=1)
    polled.poller.hanging = {A}
    async with polled.running(A, B):
        await polled.pass_seconds(5)
        assert polled.poller.count(A) == 1
        assert polled.poller.count(B) == 6


async def test_a_symbol_is_asked_for_again_after_its_answer_and_never_before() -> None:
    polled = Polled(poller_of(A))
    polled.poller.hanging = {A}
    async with polled.running(A):
        await polled.pass_seconds(2.5)
        polled.loop.assign([])
        polled.loop.assign([A])
        await polled.pass_seconds(2)
        polled.poller.hanging.clear()
        await polled.pass_seconds(1)
        assert polled.poller.count(A) == 2
    assert polled.poller.overlaps == []


async def test_a_request_that_is_never_answered_fails_in_time() -> None:
    polled = Polled(poller_of(A), timeout=0.01)
    polled.poller.hanging = {A}
    async with polled.running(A):
        while not polled.errors:
            await asyncio.sleep(0.001)
        ((symbol, error),) = polled.errors
        assert symbol == A
        assert error.retryable
        assert "no answer" in str(error)
        assert polled.poller.cancelled == [[A]]
        polled.poller.hanging.clear()
        await polled.pass_seconds(1)
        assert polled.poller.count(A) == 2


async def test_no_more_requests_are_under_way_than_the_provider_allows() -> None:
    symbols = [A, B, C, D]
    polled = Polled(poller_of(*symbols, limits=PollLimits(max_concurrent=2)), batch_size=1)
    polled.poller.hanging = set(symbols)
    async with polled.running(*symbols):
        assert polled.poller.busy == 2
        polled.poller.hanging = set()
        await polled.pass_seconds(0)
        assert sum(map(polled.poller.count, symbols)) == 4
    assert polled.poller.busiest == 2


async def test_no_more_requests_a_minute_than_the_provider_allows() -> None:
    symbols = [A, B, C]
    limits = PollLimits(max_concurrent=100, requests_per_minute=6)
    polled = Polled(poller_of(*symbols, limits=limits), batch_size=1)
    async with polled.running(*symbols):
        await polled.pass_seconds(59.9)
        assert len(polled.poller.requests) == 6
        # All of them get their turn.
        assert [polled.poller.count(symbol) for symbol in symbols] == [2, 2, 2]
        await polled.pass_seconds(0.1)
        assert len(polled.poller.requests) == 7


async def test_a_provider_that_keeps_failing_is_left_alone_for_growing_pauses() -> None:
    polled = Polled(poller_of(A))
    polled.poller.failure = down()
    async with polled.running(A):
        await polled.pass_seconds(300)
        assert polled.loop.circuit is not CircuitState.CLOSED
        # Five in a row, then pauses that grow to 15 to 30 s: a request every second would be 300.
        assert 15 <= len(polled.poller.requests) <= 30
        assert polled.loop.failures == len(polled.poller.requests)
        assert {symbol for symbol, _ in polled.errors} == {A}


async def test_a_provider_that_is_well_again_is_asked_as_before() -> None:
    polled = Polled(poller_of(A))
    polled.poller.failure = down()
    async with polled.running(A):
        await polled.pass_seconds(60)
        polled.poller.failure = None
        await polled.pass_seconds(30)
        assert polled.loop.circuit is CircuitState.CLOSED
        before = len(polled.poller.requests)
        await polled.pass_seconds(10)
        assert len(polled.poller.requests) == before + 10


async def test_after_the_pause_one_request_alone_tries_the_provider() -> None:
    symbols = [Symbol(f"S{number}") for number in range(6)]
    polled = Polled(poller_of(*symbols), batch_size=1)
    polled.poller.failure = down()
    async with polled.running(*symbols):
        before = len(polled.poller.requests)
        assert polled.loop.circuit is CircuitState.OPEN
        polled.poller.hanging = set(symbols)
        sleep = Mock(wraps=polled.clock.sleep)
        with patch.object(polled.clock, "sleep", sleep):
            await polled.pass_seconds(20)
        assert len(polled.poller.requests) == before + 1
        # The loop does not look again and again for what only an answer can bring.
        assert sleep.call_count <= 2
        polled.poller.hanging, polled.poller.failure = set(), None
        await polled.pass_seconds(1)
        assert len(polled.poller.requests) >= before + 6


async def test_a_pause_that_the_provider_asks_for_is_kept() -> None:
    polled = Polled(poller_of(A))
    polled.poller.failure = down(retry_after=90)
    async with polled.running(A):
        polled.poller.failure = None
        await polled.pass_seconds(89)
        assert len(polled.poller.requests) == 1
        await polled.pass_seconds(2)
        assert len(polled.poller.requests) >= 2


async def test_a_pause_that_was_asked_for_is_kept_though_another_request_is_answered() -> None:
    polled = Polled(poller_of(A, B), batch_size=1)
    polled.poller.hanging = {B}
    polled.poller.failure = down(retry_after=90)
    async with polled.running(A, B):
        polled.poller.failure = None
        polled.poller.hanging = set()
        await polled.pass_seconds(80)
        assert len(polled.poller.requests) == 2


async def test_a_symbol_that_the_provider_does_not_know_is_asked_for_once_a_minute() -> None:
    polled = Polled(poller_of(A))
    polled.poller.errors = {B: unknown(B)}
    async with polled.running(A, B):
        await polled.pass_seconds(59)
        assert polled.poller.count(B) == 1
        assert polled.poller.count(A) == 60
        await polled.pass_seconds(2)
        assert polled.poller.count(B) == 2
        assert [symbol for symbol, _ in polled.errors] == [B, B]
    assert polled.loop.circuit is CircuitState.CLOSED
    assert len(polled.quotes) == polled.poller.count(A)


async def test_a_symbol_that_fails_for_now_is_asked_for_again_at_once() -> None:
    polled = Polled(poller_of(A))
    polled.poller.errors = {B: down()}
    async with polled.running(A, B):
        await polled.pass_seconds(3)
        assert polled.poller.count(B) == 4


async def test_a_request_that_will_never_work_is_made_once_a_minute() -> None:
    polled = Polled(poller_of(A))
    polled.poller.failure = PermanentProviderError("fake", "the key is refused")
    async with polled.running(A):
        await polled.pass_seconds(59)
        assert len(polled.poller.requests) == 1
        await polled.pass_seconds(2)
        assert len(polled.poller.requests) == 2


async def test_a_fault_within_the_provider_is_logged_and_does_not_end_the_loop() -> None:
    polled = Polled(poller_of(A))
    polled.poller.failure = ValueError("the vendor changed a field")
    with capture_logs() as logs:
        async with polled.running(A):
            assert [(symbol, error.retryable) for symbol, error in polled.errors] == [(A, True)]
            polled.poller.failure = None
            await polled.pass_seconds(1)
            assert [quote.price for quote in polled.quotes] == [10.0]
    assert [line["event"] for line in logs] == ["provider_crashed"]


async def test_an_answer_that_is_none_does_not_end_the_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    polled = Polled(poller_of(A))
    monkeypatch.setattr(polled.poller, "_answer", lambda _: None)
    with capture_logs() as logs:
        async with polled.running(A):
            monkeypatch.undo()
            await polled.pass_seconds(1)
            assert [quote.price for quote in polled.quotes] == [10.0]
    assert [line["event"] for line in logs] == ["provider_crashed"]


async def test_ending_gives_up_the_requests_under_way() -> None:
    polled = Polled(poller_of(A, B), batch_size=1)
    polled.poller.hanging = {A, B}
    async with polled.running(A, B):
        assert polled.poller.busy == 2
    assert polled.poller.busy == 0
    assert sorted(polled.poller.cancelled) == [[A], [B]]
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_symbol_without_a_quote_is_no_failure() -> None:
    polled = Polled(FakePoller())
    async with polled.running(A):
        await polled.pass_seconds(3)
        assert polled.poller.count(A) == 4
    assert (polled.quotes, polled.errors) == ([], [])
