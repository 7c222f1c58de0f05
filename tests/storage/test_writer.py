import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise
from random import Random

import pytest

from stockstream.core.backoff import Backoff
from stockstream.model import Symbol
from stockstream.storage.writer import WriteBehind
from tests.storage.flaky import FlakyStore
from tests.storage.quotes import AAPL, MSFT, update, updates
from tests.support.clock import ManualClock
from tests.support.processes import wait_until

#: Waits of exactly 1, 2, 4 and 8 seconds.
_BACKOFF = Backoff(initial=1, maximum=8, jitter=0)

#: Seconds that nothing in a test takes.
_AMPLE = 30.0


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(clock: ManualClock) -> FlakyStore:
    return FlakyStore(clock)


def write_behind(
    store: FlakyStore, clock: ManualClock, *, max_pending: int = 1_000, batch_size: int = 10
) -> WriteBehind:
    return WriteBehind(
        store,
        clock=clock,
        random=Random(0),
        backoff=_BACKOFF,
        max_pending=max_pending,
        batch_size=batch_size,
    )


@pytest.fixture
async def writer(store: FlakyStore, clock: ManualClock) -> AsyncIterator[WriteBehind]:
    async with write_behind(store, clock) as writer:
        yield writer
        # Whatever a test did to the store, closing is not what it is about.
        store.answers.set()
        store.come_back()


async def newest_seqs(store: FlakyStore, symbol: Symbol = AAPL) -> list[int]:
    return [each.seq for each in await store.newest(symbol, 1_000)]


async def test_submitted_updates_reach_the_store_in_order_and_in_batches(
    writer: WriteBehind, store: FlakyStore
) -> None:
    writer.submit(updates(1, 25))
    writer.submit([update(1, symbol=MSFT)])

    assert await writer.flush(_AMPLE)

    assert [len(batch) for batch in store.stored] == [10, 10, 6]
    assert await newest_seqs(store) == list(range(25, 0, -1))
    assert await newest_seqs(store, MSFT) == [1]
    assert writer.state.stored == 26
    assert writer.state.pending == 0


async def test_updates_that_come_in_during_a_write_go_out_together_after_it(
    writer: WriteBehind, store: FlakyStore
) -> None:
    store.answers.clear()
    writer.submit([update(1)])
    await wait_until(lambda: store.tried, "the first write")
    for seq in range(2, 7):
        writer.submit([update(seq)])
    store.answers.set()

    assert await writer.flush(_AMPLE)

    assert [len(batch) for batch in store.stored] == [1, 5]


async def test_submitting_does_not_wait_for_a_store_that_hangs(
    writer: WriteBehind, store: FlakyStore
) -> None:
    store.answers.clear()
    writer.submit(updates(1, 5))
    await wait_until(lambda: store.tried, "the first write")

    writer.submit(updates(6, 9))

    assert writer.state.pending == 9
    assert not await writer.flush(0.01)


async def test_a_failed_batch_is_tried_again_with_growing_waits(
    writer: WriteBehind, store: FlakyStore, clock: ManualClock
) -> None:
    store.go_down()
    writer.submit([update(1)])
    await clock.wait_for_sleepers()

    await clock.advance(20)

    waits = [later - earlier for earlier, later in pairwise(store.tried_at)]
    assert waits == [1, 2, 4, 8]
    assert store.tried == [[update(1)]] * 5


async def test_an_outage_shows_in_the_state_and_ends_with_the_first_success(
    writer: WriteBehind, store: FlakyStore, clock: ManualClock
) -> None:
    assert writer.state.healthy
    store.go_down()
    await clock.advance(5)
    began = clock.time_ms()
    writer.submit([update(1)])
    await clock.wait_for_sleepers()

    down = writer.state
    assert (down.healthy, down.since, down.error) == (False, began, "flaky: down")
    assert (down.pending, down.failures) == (1, 1)

    store.come_back()
    await clock.advance(1)
    assert await writer.flush(_AMPLE)

    up = writer.state
    assert (up.healthy, up.since, up.error) == (True, began + 1_000, None)
    assert (up.pending, up.stored, up.dropped, up.failures) == (0, 1, 0, 1)


async def test_nothing_is_lost_or_reordered_by_a_short_outage(
    writer: WriteBehind, store: FlakyStore, clock: ManualClock
) -> None:
    store.go_down()
    for seq in range(1, 61):
        writer.submit([update(seq)])
        await asyncio.sleep(0)
    await clock.wait_for_sleepers()
    store.come_back()
    await clock.advance(1)

    assert await writer.flush(_AMPLE)

    assert await newest_seqs(store) == list(range(60, 0, -1))
    assert writer.state.dropped == 0


async def test_flush_does_not_wait_for_a_store_that_is_known_to_be_down(
    writer: WriteBehind, store: FlakyStore, clock: ManualClock
) -> None:
    store.go_down()
    writer.submit([update(1)])
    await clock.wait_for_sleepers()

    assert not await writer.flush(_AMPLE)


async def test_flush_with_nothing_to_store_is_done(writer: WriteBehind) -> None:
    assert await writer.flush(0)


async def test_flush_does_not_wait_for_what_is_submitted_after_it(
    writer: WriteBehind, store: FlakyStore
) -> None:
    store.answers.clear()
    writer.submit(updates(1, 10))
    flushed = asyncio.create_task(writer.flush(_AMPLE))
    await wait_until(lambda: store.tried, "the first write")
    writer.submit(updates(11, 20))
    # Lets the write under way end, and none after it.
    store.answers.set()
    store.answers.clear()

    assert await flushed
    assert [len(batch) for batch in store.stored] == [10]


async def test_a_full_queue_keeps_the_newer_half_of_each_symbol(
    store: FlakyStore, clock: ManualClock
) -> None:
    writer = write_behind(store, clock, max_pending=10)
    writer.submit([*updates(1, 8), update(1, symbol=MSFT), update(2, symbol=MSFT)])
    assert writer.state.dropped == 0

    writer.submit([update(9)])

    assert writer.state.dropped == 5
    async with writer:
        assert await writer.flush(_AMPLE)
    assert await newest_seqs(store) == [9, 8, 7, 6, 5]
    assert await newest_seqs(store, MSFT) == [2]


async def test_a_queue_full_of_symbols_gives_up_those_that_waited_longest(
    store: FlakyStore, clock: ManualClock
) -> None:
    writer = write_behind(store, clock, max_pending=8)
    symbols = [Symbol(f"S{number}") for number in range(9)]

    writer.submit([update(1, symbol=symbol) for symbol in symbols])

    assert (writer.state.pending, writer.state.dropped) == (6, 3)
    async with writer:
        assert await writer.flush(_AMPLE)
    assert [await store.get(symbol) is not None for symbol in symbols] == [False] * 3 + [True] * 6


async def test_the_queue_stays_bounded_however_long_the_outage(
    writer: WriteBehind, store: FlakyStore, clock: ManualClock
) -> None:
    store.go_down()
    for seq in range(1, 20_001):
        writer.submit([update(seq)])
        assert writer.state.pending <= 1_010
    await clock.wait_for_sleepers()
    store.come_back()
    await clock.advance(1)
    assert await writer.flush(_AMPLE)

    assert await store.get(AAPL) == update(20_000)
    assert writer.state.stored + writer.state.dropped == 20_000


async def test_an_error_that_no_store_documents_costs_its_batch_and_not_the_writer(
    writer: WriteBehind, store: FlakyStore
) -> None:
    store.error = ValueError("a bug")
    writer.submit([update(1)])
    assert await writer.flush(_AMPLE)
    store.come_back()
    writer.submit([update(2)])

    assert await writer.flush(_AMPLE)

    assert await newest_seqs(store) == [2]
    assert writer.state.dropped == 1


async def test_closing_stores_what_was_accepted(store: FlakyStore, clock: ManualClock) -> None:
    async with write_behind(store, clock) as writer:
        writer.submit(updates(1, 35))

    assert len(await newest_seqs(store)) == 35
    assert await writer.aclose() == 0


async def test_closing_tries_at_once_instead_of_waiting_for_its_turn(
    store: FlakyStore, clock: ManualClock
) -> None:
    writer = write_behind(store, clock)
    async with writer:
        store.go_down()
        writer.submit(updates(1, 3))
        await clock.wait_for_sleepers()
        store.come_back()

        assert await writer.aclose(_AMPLE) == 0

    assert await newest_seqs(store) == [3, 2, 1]


async def test_closing_says_what_could_not_be_stored_in_time(
    store: FlakyStore, clock: ManualClock
) -> None:
    writer = write_behind(store, clock)
    async with writer:
        store.answers.clear()
        writer.submit(updates(1, 12))

        assert await writer.aclose(within=0.01) == 12

    assert (writer.state.pending, writer.state.dropped) == (0, 12)
    assert [task.get_name() for task in asyncio.all_tasks()].count("write-behind") == 0


async def test_what_is_submitted_after_closing_is_counted_as_dropped(
    store: FlakyStore, clock: ManualClock
) -> None:
    async with write_behind(store, clock) as writer:
        pass

    writer.submit(updates(1, 3))

    assert (writer.state.pending, writer.state.dropped) == (0, 3)
