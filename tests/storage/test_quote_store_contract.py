"""What every QuoteStore does; see `stockstream.ports` for the words."""

import pytest

from stockstream.model import Position, StockUpdate, Symbol
from stockstream.ports import QuoteStore
from tests.storage.quotes import AAPL, MSFT, START_MS, update, updates
from tests.storage.stores import StoreUnderTest


@pytest.fixture
def store(under_test: StoreUnderTest) -> QuoteStore:
    return under_test.store


def seqs(held: object) -> list[int]:
    assert isinstance(held, list)
    return [each.seq for each in held]


async def test_an_empty_store_answers_and_knows_nothing(store: QuoteStore) -> None:
    await store.ping()
    assert await store.get(AAPL) is None
    assert seqs(await store.newest(AAPL, 10)) == []
    assert await store.since(AAPL, Position(epoch="e1", seq=1)) is None


async def test_appending_nothing_and_touching_nothing_does_nothing(store: QuoteStore) -> None:
    await store.append([])
    await store.touch([])
    await store.touch([AAPL])

    assert await store.get(AAPL) is None


async def test_the_last_update_appended_is_the_current_value(store: QuoteStore) -> None:
    await store.append([update(1), update(1, symbol=MSFT), update(2)])

    assert await store.get(AAPL) == update(2)
    assert await store.get(MSFT) == update(1, symbol=MSFT)


async def test_symbols_with_signs_are_kept_apart(store: QuoteStore) -> None:
    odd = [Symbol(name) for name in ("^GSPC", "BRK.B", "EURUSD=X", "M&M.NS", "BTC-USD")]
    await store.append([update(1, symbol=symbol) for symbol in odd])

    assert [await store.get(symbol) for symbol in odd] == [update(1, symbol=s) for s in odd]


async def test_every_field_comes_back_and_the_unknown_ones_stay_unknown(store: QuoteStore) -> None:
    full = StockUpdate(
        symbol=AAPL,
        price=170.123456789012,
        change=-0.1,
        change_percent=-0.05874,
        volume=1e15,
        timestamp=START_MS,
        seq=2**40,
        epoch="ü-1",
        bid=170.1,
        day_high=171.0,
        previous_close=170.2,
    )
    await store.append([full])

    assert await store.get(AAPL) == full
    assert await store.newest(AAPL, 1) == [full]


async def test_history_is_read_newest_first_up_to_the_limit(store: QuoteStore) -> None:
    await store.append(updates(1, 5))

    assert seqs(await store.newest(AAPL, 3)) == [5, 4, 3]
    assert seqs(await store.newest(AAPL, 5)) == [5, 4, 3, 2, 1]
    assert seqs(await store.newest(AAPL, 5_000)) == [5, 4, 3, 2, 1]
    assert seqs(await store.newest(AAPL, 0)) == []


async def test_history_keeps_the_last_thousand(store: QuoteStore) -> None:
    await store.append(updates(1, 990))
    await store.append(updates(991, 1_500))

    held = await store.newest(AAPL, 2_000)

    assert seqs(held) == list(range(1_500, 500, -1))


@pytest.mark.parametrize("batch", [1, 7, 2_000])
async def test_updates_of_one_millisecond_keep_their_order(store: QuoteStore, batch: int) -> None:
    burst = [update(seq, timestamp=START_MS) for seq in range(1, 1_025)]
    early, late = burst[:980], burst[980:]
    await store.append(early)
    for start in range(0, len(late), batch):
        await store.append(late[start : start + batch])

    assert seqs(await store.newest(AAPL, 3)) == [1_024, 1_023, 1_022]
    assert seqs(await store.newest(AAPL, 1_000)) == list(range(1_024, 24, -1))
    assert seqs(await store.since(AAPL, Position(epoch="e1", seq=24))) == list(range(25, 1_025))
    assert await store.since(AAPL, Position(epoch="e1", seq=23)) is None


async def test_appending_again_changes_nothing(store: QuoteStore) -> None:
    await store.append(updates(1, 5))

    await store.append(updates(1, 5))
    await store.append(updates(2, 3))

    assert seqs(await store.newest(AAPL, 10)) == [5, 4, 3, 2, 1]
    assert await store.get(AAPL) == update(5)


async def test_a_batch_that_was_stored_in_part_is_completed(store: QuoteStore) -> None:
    await store.append(updates(1, 3))

    await store.append(updates(1, 5))

    assert seqs(await store.newest(AAPL, 10)) == [5, 4, 3, 2, 1]
    assert await store.get(AAPL) == update(5)


async def test_appending_again_what_was_trimmed_brings_nothing_back(store: QuoteStore) -> None:
    await store.append(updates(1, 1_010))

    await store.append(updates(1, 1_010))
    await store.append(updates(5, 6))

    assert seqs(await store.newest(AAPL, 1_000)) == list(range(1_010, 10, -1))
    assert await store.get(AAPL) == update(1_010)


async def test_since_gives_what_was_missed_in_order(store: QuoteStore) -> None:
    await store.append(updates(1, 100))

    assert seqs(await store.since(AAPL, Position(epoch="e1", seq=97))) == [98, 99, 100]
    assert seqs(await store.since(AAPL, Position(epoch="e1", seq=100))) == []
    assert seqs(await store.since(AAPL, Position(epoch="e1", seq=0))) == list(range(1, 101))


async def test_since_gives_a_whole_history_but_not_one_update_more(store: QuoteStore) -> None:
    await store.append(updates(1, 1_200))

    everything = await store.since(AAPL, Position(epoch="e1", seq=200))

    assert seqs(everything) == list(range(201, 1_201))
    assert await store.since(AAPL, Position(epoch="e1", seq=199)) is None


async def test_since_does_not_answer_for_another_epoch(store: QuoteStore) -> None:
    await store.append(updates(1, 5))

    assert await store.since(AAPL, Position(epoch="e0", seq=3)) is None


async def test_since_does_not_answer_for_a_position_ahead_of_the_store(store: QuoteStore) -> None:
    await store.append(updates(1, 5))

    assert await store.since(AAPL, Position(epoch="e1", seq=6)) is None


async def test_since_does_not_answer_across_a_gap(store: QuoteStore) -> None:
    await store.append([*updates(1, 5), *updates(8, 9)])

    assert await store.since(AAPL, Position(epoch="e1", seq=5)) is None
    assert await store.since(AAPL, Position(epoch="e1", seq=6)) is None
    assert seqs(await store.since(AAPL, Position(epoch="e1", seq=7))) == [8, 9]


async def test_a_new_epoch_goes_on_where_the_old_one_ended(store: QuoteStore) -> None:
    later = [update(seq, epoch="e2", timestamp=START_MS + 60_000 + seq) for seq in (1, 2)]
    await store.append([*updates(1, 2), *later])

    assert [u.epoch for u in await store.newest(AAPL, 9)] == ["e2", "e2", "e1", "e1"]
    assert seqs(await store.since(AAPL, Position(epoch="e2", seq=1))) == [2]
    assert await store.since(AAPL, Position(epoch="e1", seq=1)) is None


async def test_an_epoch_that_starts_at_an_earlier_time_replaces_what_came_later(
    store: QuoteStore,
) -> None:
    await store.append(updates(1, 5))
    again = [update(seq, epoch="e2", timestamp=update(3).timestamp + seq - 1) for seq in (1, 2)]

    await store.append(again)

    assert [(u.epoch, u.seq) for u in await store.newest(AAPL, 9)] == [
        ("e2", 2),
        ("e2", 1),
        ("e1", 2),
        ("e1", 1),
    ]
    assert await store.get(AAPL) == again[-1]


async def test_appending_again_what_an_epoch_before_said_changes_nothing(store: QuoteStore) -> None:
    later = update(1, epoch="e2", timestamp=START_MS + 60_000)
    await store.append([*updates(1, 3), later])

    await store.append(updates(2, 3))

    assert await store.get(AAPL) == later
    assert [(u.epoch, u.seq) for u in await store.newest(AAPL, 9)] == [
        ("e2", 1),
        ("e1", 3),
        ("e1", 2),
        ("e1", 1),
    ]


async def test_a_value_expires_but_its_history_stays(under_test: StoreUnderTest) -> None:
    store = under_test.store
    await store.append(updates(1, 2))

    await under_test.pass_time(290)
    assert await store.get(AAPL) == update(2)
    await under_test.pass_time(10)

    assert await store.get(AAPL) is None
    assert seqs(await store.newest(AAPL, 5)) == [2, 1]
    assert seqs(await store.since(AAPL, Position(epoch="e1", seq=1))) == [2]


async def test_a_touched_value_lives_on(under_test: StoreUnderTest) -> None:
    store = under_test.store
    await store.append([update(1), update(1, symbol=MSFT)])
    await under_test.pass_time(200)

    await store.touch([AAPL])
    await under_test.pass_time(200)

    assert await store.get(AAPL) == update(1)
    assert await store.get(MSFT) is None


async def test_touching_does_not_bring_an_expired_value_back(under_test: StoreUnderTest) -> None:
    await under_test.store.append([update(1)])
    await under_test.pass_time(301)

    await under_test.store.touch([AAPL])

    assert await under_test.store.get(AAPL) is None


async def test_appending_again_does_not_bring_an_expired_value_back(
    under_test: StoreUnderTest,
) -> None:
    await under_test.store.append([update(1)])
    await under_test.pass_time(301)

    await under_test.store.append([update(1)])

    assert await under_test.store.get(AAPL) is None


async def test_a_snapshot_is_stored_as_the_change_that_it_was(store: QuoteStore) -> None:
    await store.append([update(1, snapshot=True)])

    assert await store.get(AAPL) == update(1)
    assert await store.newest(AAPL, 1) == [update(1)]


async def test_many_symbols_are_stored_in_one_call(store: QuoteStore) -> None:
    symbols = [Symbol(f"S{number}") for number in range(1_300)]

    await store.append([update(1, symbol=symbol) for symbol in symbols])
    await store.touch(symbols)

    assert await store.get(symbols[0]) == update(1, symbol=symbols[0])
    assert await store.get(symbols[-1]) == update(1, symbol=symbols[-1])


async def test_closing_twice_does_no_harm(store: QuoteStore) -> None:
    await store.append([update(1)])

    await store.aclose()
    await store.aclose()
