"""What every QuoteStore gives to a client that comes back with the mark of its last update."""

import msgspec
import pytest

from stockstream.model import StockUpdate
from stockstream.ports import QuoteStore
from stockstream.storage.history import HISTORY_LIMIT
from tests.storage.quotes import AAPL, MSFT, update
from tests.storage.stores import StoreUnderTest


@pytest.fixture
def store(under_test: StoreUnderTest) -> QuoteStore:
    return under_test.store


def placed(seq: int, offset: int, epoch: str = "e1", timestamp: int | None = None) -> StockUpdate:
    """The ``seq``-th update of a symbol, at a place in the order of all symbols."""
    plain = update(seq, epoch=epoch, timestamp=timestamp)
    return msgspec.structs.replace(plain, offset=offset)


def run(first: int, last: int) -> list[StockUpdate]:
    """Updates of which each third place in the order is this symbol's."""
    return [placed(seq, 3 * seq) for seq in range(first, last + 1)]


async def seqs(store: QuoteStore, offset: int) -> list[int] | None:
    missed = await store.after(AAPL, offset)
    return None if missed is None else [each.seq for each in missed]


async def test_an_empty_store_can_rule_nothing_out(store: QuoteStore) -> None:
    assert await store.after(AAPL, 0) is None


async def test_those_that_are_beyond_come_in_order(store: QuoteStore) -> None:
    await store.append(run(1, 100))
    # Between two of this symbol's places stand those of others.
    for offset in (291, 292, 293):
        assert await seqs(store, offset) == [98, 99, 100]
    assert await seqs(store, 300) == []
    assert await seqs(store, 10_000) == []


async def test_the_update_itself_comes_back_as_it_was_sent(store: QuoteStore) -> None:
    await store.append(run(1, 3))
    assert await store.after(AAPL, 6) == [placed(3, 9)]


async def test_a_first_update_has_nothing_before_it(store: QuoteStore) -> None:
    await store.append(run(1, 3))
    assert await seqs(store, 0) == [1, 2, 3]


async def test_a_history_that_begins_later_leaves_a_gap(store: QuoteStore) -> None:
    await store.append(run(5, 9))
    assert await seqs(store, 14) is None
    assert await seqs(store, 15) == [6, 7, 8, 9]


async def test_the_whole_history_is_given_but_not_one_update_more(store: QuoteStore) -> None:
    await store.append(run(1, HISTORY_LIMIT + 200))
    everything = await seqs(store, 3 * 201)
    assert everything == list(range(202, HISTORY_LIMIT + 201))
    assert await seqs(store, 3 * 200) is None
    assert await seqs(store, 0) is None


async def test_a_gap_in_what_is_held_is_never_passed_over(store: QuoteStore) -> None:
    await store.append([*run(1, 4), *run(6, 8)])
    assert await seqs(store, 3 * 4) is None
    assert await seqs(store, 3 * 6) == [7, 8]


async def test_other_symbols_do_not_matter(store: QuoteStore) -> None:
    await store.append(run(1, 5))
    await store.append([msgspec.structs.replace(placed(1, 16), symbol=MSFT)])
    assert await seqs(store, 12) == [5]


async def test_many_updates_of_one_moment_come_in_order(store: QuoteStore) -> None:
    await store.append([placed(seq, seq, timestamp=1_709_649_000_000) for seq in range(1, 200)])
    assert await seqs(store, 50) == list(range(51, 200))


async def test_what_an_earlier_process_left_is_not_missed(store: QuoteStore) -> None:
    # Its order had come further than the new one has.
    await store.append([placed(seq, 5_000 + seq, epoch="e0") for seq in range(1, 5)])
    await store.append([placed(seq, seq, timestamp=1_709_650_000_000 + seq) for seq in range(1, 4)])
    assert await seqs(store, 0) == [1, 2, 3]
    assert await seqs(store, 2) == [3]


async def test_what_may_be_of_either_order_is_not_guessed(store: QuoteStore) -> None:
    await store.append([placed(seq, 10 + seq, epoch="e0") for seq in range(1, 5)])
    later = [placed(seq, 100 + seq, timestamp=1_709_650_000_000 + seq) for seq in range(1, 4)]
    await store.append(later)
    assert await seqs(store, 12) is None
    assert await seqs(store, 14) == [1, 2, 3]
    assert await seqs(store, 50) == [1, 2, 3]


async def test_a_new_epoch_whose_beginning_is_not_held_leaves_a_gap(store: QuoteStore) -> None:
    await store.append([placed(1, 1, epoch="e0")])
    await store.append([placed(seq, 10 + seq) for seq in range(3, 6)])
    assert await seqs(store, 5) is None
    assert await seqs(store, 13) == [4, 5]
