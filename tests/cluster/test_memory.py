"""The log and the bus of a lone node keep to what those in Redis do."""

import asyncio

from stockstream.cluster.memory import MemoryQuoteBus, MemoryQuoteLog
from stockstream.model import Position, Symbol
from tests.cluster.quotes import AAPL, MSFT, Collector, change, group, seqs


async def commit(log: MemoryQuoteLog, symbol: Symbol, *prices: float) -> str:
    result = await log.commit([group(symbol, 0, *map(change, prices))])
    return result.committed[0].epoch


async def test_updates_are_numbered_and_unchanged_prices_are_not_updates() -> None:
    log = MemoryQuoteLog()
    result = await log.commit([group(AAPL, 0, change(1.0), change(1.0), change(2.0))])
    assert result.committed[0].seqs == [1, 0, 2]
    assert not result.stale
    epoch = result.committed[0].epoch
    assert seqs(await log.since(AAPL, Position(epoch=epoch, seq=1))) == [2]
    assert await log.since(AAPL, Position(epoch=epoch, seq=3)) is None
    assert await log.since(AAPL, Position(epoch="another", seq=1)) is None


async def test_changes_offered_again_happen_once_and_restart_begins_a_new_epoch() -> None:
    log = MemoryQuoteLog()
    before = await commit(log, AAPL, 2.0)
    groups = [group(AAPL, 0, change(2.0), change(3.0), restart=True)]
    first = (await log.commit(groups)).committed[0]
    again = (await log.commit(groups)).committed[0]
    assert first.epoch != before
    assert (first.seqs, again.seqs, again.epoch) == ([1, 2], [0, 0], first.epoch)


async def test_only_what_is_kept_completely_is_told() -> None:
    log = MemoryQuoteLog(max_symbols=2)
    await commit(log, AAPL, 0.5)
    offset = await log.current_offset()
    assert await log.after(MSFT, offset) == []
    assert await log.after(MSFT, 1) is None
    await commit(log, AAPL, *(float(price) for price in range(1, 1_003)))
    assert await log.after(AAPL, offset) is None
    newest = await log.current_offset()
    assert await log.after(AAPL, newest) == []
    # A third symbol pushes out the one that was updated longest ago.
    await commit(log, MSFT, 1.0)
    await commit(log, Symbol("NVDA"), 1.0)
    assert await log.state(AAPL) is None
    assert await log.after(AAPL, newest) is None


async def test_watched_symbol_begins_with_its_state_and_goes_on_without_a_gap() -> None:
    log, got = MemoryQuoteLog(), Collector()
    bus = MemoryQuoteBus(log=log, receiver=got)
    await commit(log, AAPL, 1.0)
    bus.watch(AAPL)
    await commit(log, AAPL, 2.0)
    await asyncio.sleep(0)
    await commit(log, AAPL, 3.0)
    await commit(log, MSFT, 1.0)
    assert [seqs([u]) for _, u in got.snapshots if u] == [[2]]
    assert got.seqs(AAPL) == [3]
    assert got.seqs(MSFT) == []
    bus.unwatch(AAPL)
    await commit(log, AAPL, 4.0)
    assert got.seqs(AAPL) == [3]
