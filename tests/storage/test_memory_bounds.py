from stockstream.model import Symbol
from stockstream.storage.memory import MemoryQuoteStore
from tests.storage.quotes import AAPL, MSFT, update, updates
from tests.support.clock import ManualClock

IBM = Symbol("IBM")


async def test_the_symbol_that_was_unused_for_longest_gives_way() -> None:
    store = MemoryQuoteStore(ManualClock(), max_symbols=2)
    await store.append([update(1, symbol=AAPL), update(1, symbol=MSFT)])
    await store.get(AAPL)

    await store.append(updates(1, 2, symbol=IBM))

    assert await store.get(MSFT) is None
    assert await store.newest(MSFT, 5) == []
    assert await store.get(AAPL) is not None
    assert await store.get(IBM) is not None
    assert (store.symbols, store.updates) == (2, 3)
    assert (store.evicted_symbols, store.evicted_updates) == (1, 1)


async def test_a_touched_symbol_is_in_use() -> None:
    store = MemoryQuoteStore(ManualClock(), max_symbols=2)
    await store.append([update(1, symbol=AAPL), update(1, symbol=MSFT)])
    await store.touch([AAPL])

    await store.append([update(1, symbol=IBM)])

    assert await store.get(AAPL) is not None
    assert await store.get(MSFT) is None


async def test_asking_for_unknown_symbols_takes_no_room() -> None:
    store = MemoryQuoteStore(ManualClock(), max_symbols=2)
    await store.append([update(1)])

    for number in range(100):
        symbol = Symbol(f"S{number}")
        assert await store.get(symbol) is None
        assert await store.newest(symbol, 5) == []
        await store.touch([symbol])

    assert store.symbols == 1
    assert await store.get(AAPL) is not None


async def test_too_many_updates_shorten_the_history_that_is_unused_for_longest() -> None:
    store = MemoryQuoteStore(ManualClock(), max_updates=10)
    await store.append([*updates(1, 6, symbol=AAPL), *updates(1, 4, symbol=MSFT)])

    await store.append(updates(5, 7, symbol=MSFT))

    assert [held.seq for held in await store.newest(AAPL, 9)] == [6, 5, 4]
    assert [held.seq for held in await store.newest(MSFT, 9)] == [7, 6, 5, 4, 3, 2, 1]
    assert (store.updates, store.evicted_updates, store.evicted_symbols) == (10, 3, 0)


async def test_a_symbol_is_forgotten_with_its_last_update() -> None:
    store = MemoryQuoteStore(ManualClock(), max_updates=5)
    await store.append([update(1, symbol=AAPL), *updates(1, 4, symbol=MSFT)])

    await store.append(updates(5, 30, symbol=MSFT))

    assert await store.get(AAPL) is None
    assert [held.seq for held in await store.newest(MSFT, 9)] == [30, 29, 28, 27, 26]
    assert (store.symbols, store.updates, store.evicted_symbols) == (1, 5, 1)


async def test_symbols_under_even_load_keep_even_shares() -> None:
    store = MemoryQuoteStore(ManualClock(), max_updates=100)
    symbols = [Symbol(f"S{number}") for number in range(10)]

    for seq in range(1, 200):
        await store.append([update(seq, symbol=symbol) for symbol in symbols])

    shares = [len(await store.newest(symbol, 100)) for symbol in symbols]
    assert min(shares) >= 9
    assert max(shares) <= 11
    assert sum(shares) == store.updates == 100
