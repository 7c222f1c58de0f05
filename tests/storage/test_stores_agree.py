"""Memory and Redis give the same answers, whatever happens to them."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import ClassVar, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from stockstream.model import Position, StockUpdate, Symbol
from stockstream.storage import memory, redis
from tests.storage.quotes import AAPL, MSFT, START_MS, update
from tests.storage.stores import StoreUnderTest, memory_store, redis_store
from tests.support.redis_server import RedisServer

T = TypeVar("T")

SYMBOLS = (AAPL, MSFT)

#: Instead of 1,000, so that short stories reach it.
LIMIT = 8


EXAMPLES = 50


class TwoStores(RuleBasedStateMachine):
    """Does the same to both stores, and compares what they say."""

    server: ClassVar[RedisServer]

    def __init__(self) -> None:
        super().__init__()
        self.server.flush()
        self._runner = asyncio.Runner()
        self._open = AsyncExitStack()
        self._stores = [
            self._runner.run(self._open.enter_async_context(opened))
            for opened in (memory_store(), redis_store(self.server.url))
        ]
        self._last = {
            symbol: update(0, symbol=symbol, epoch="0", timestamp=START_MS) for symbol in SYMBOLS
        }
        self._batches: list[list[StockUpdate]] = []

    @rule(
        symbols=st.lists(st.sampled_from(SYMBOLS), min_size=1, max_size=12),
        step_ms=st.sampled_from([0, 0, 1, 1_000]),
        gap=st.sampled_from([0, 0, 0, 2]),
    )
    def append(self, symbols: Sequence[Symbol], step_ms: int, gap: int) -> None:
        batch = []
        for symbol in symbols:
            last = self._last[symbol]
            batch.append(
                update(
                    last.seq + 1,
                    symbol=symbol,
                    epoch=last.epoch,
                    timestamp=last.timestamp + step_ms,
                )
            )
            self._last[symbol] = batch[-1]
        self._batches.append(batch)
        self._on_both(lambda each: each.store.append(batch))
        for symbol in set(symbols):
            last = self._last[symbol]
            self._last[symbol] = update(
                last.seq + gap, symbol=symbol, epoch=last.epoch, timestamp=last.timestamp
            )

    @rule(symbol=st.sampled_from(SYMBOLS), jump_ms=st.integers(-6_000, 6_000))
    def start_anew(self, symbol: Symbol, jump_ms: int) -> None:
        last = self._last[symbol]
        self._last[symbol] = update(
            0, symbol=symbol, epoch=str(int(last.epoch) + 1), timestamp=last.timestamp + jump_ms
        )

    @rule(back=st.integers(0, 3))
    def append_again(self, back: int) -> None:
        if back < len(self._batches):
            batch = self._batches[-1 - back]
            self._on_both(lambda each: each.store.append(batch))

    @rule(symbols=st.lists(st.sampled_from(SYMBOLS)))
    def touch(self, symbols: Sequence[Symbol]) -> None:
        self._on_both(lambda each: each.store.touch(symbols))

    @rule(seconds=st.integers(1, 200))
    def let_time_pass(self, seconds: int) -> None:
        self._on_both(lambda each: each.pass_time(seconds))

    @rule(symbol=st.sampled_from(SYMBOLS), limit=st.integers(0, LIMIT + 2))
    def read_newest(self, symbol: Symbol, limit: int) -> None:
        self._agree(lambda each: each.store.newest(symbol, limit))

    @rule(symbol=st.sampled_from(SYMBOLS), back=st.integers(-1, LIMIT + 2))
    def read_since(self, symbol: Symbol, back: int) -> None:
        last = self._last[symbol]
        position = Position(epoch=last.epoch, seq=last.seq - back)
        self._agree(lambda each: each.store.since(symbol, position))

    @invariant()
    def both_hold_the_same(self) -> None:
        for symbol in SYMBOLS:
            self._hold_the_same(symbol)

    def teardown(self) -> None:
        self._runner.run(self._open.aclose())
        self._runner.close()

    def _on_both(self, act: Callable[[StoreUnderTest], Awaitable[T]]) -> list[T]:
        async def on_both() -> list[T]:
            return [await act(store) for store in self._stores]

        return self._runner.run(on_both())

    def _hold_the_same(self, symbol: Symbol) -> None:
        self._agree(lambda each: each.store.get(symbol))
        self._agree(lambda each: each.store.newest(symbol, LIMIT))

    def _agree(self, ask: Callable[[StoreUnderTest], Awaitable[object]]) -> None:
        in_memory, in_redis = self._on_both(ask)
        assert in_memory == in_redis


@pytest.mark.timeout(240)
def test_memory_and_redis_agree_under_random_use(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "HISTORY_LIMIT", LIMIT)
    monkeypatch.setattr(redis, "HISTORY_LIMIT", LIMIT)
    monkeypatch.setattr(redis, "_USUALLY_MISSED", 3)
    monkeypatch.setattr(redis, "_CALL_SIZE", 5)

    class AgainstThisRedis(TwoStores):
        server = redis_server

    run_state_machine_as_test(
        AgainstThisRedis,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
