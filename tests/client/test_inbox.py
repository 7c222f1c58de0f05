import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stockstream.client.inbox import Inbox, InboxClosedError, Overflow
from stockstream.errors import NotConnectedError, SlowConsumerError

Item = tuple[str, int]


def inbox(limit: int, overflow: Overflow = Overflow.CONFLATE) -> Inbox[Item]:
    return Inbox(limit, overflow, lambda item: item[0])


async def taken(box: Inbox[Item]) -> list[Item]:
    return [await box.get() for _ in range(len(box))]


async def test_what_fits_comes_out_as_it_went_in() -> None:
    box = inbox(5)
    items = [("a", 1), ("b", 1), ("a", 2), ("a", 3)]
    for item in items:
        box.put(item)

    assert await taken(box) == items
    assert (box.conflated, box.dropped) == (0, 0)


async def test_at_the_limit_a_newer_value_stands_for_the_older_ones() -> None:
    box = inbox(3)
    for number in range(10):
        box.put(("a", number))
    box.put(("b", 0))

    assert await taken(box) == [("a", 9), ("b", 0)]
    assert box.conflated == 9


async def test_who_wants_to_be_told_is_told_after_what_was_there() -> None:
    box = inbox(2, Overflow.RAISE)
    for number in range(5):
        box.put(("a", number))

    assert await taken(box) == [("a", 0), ("a", 1)]
    with pytest.raises(SlowConsumerError, match="2 updates were not taken"):
        await box.get()


async def test_the_end_comes_after_what_is_left() -> None:
    box = inbox(2)
    box.put(("a", 1))
    box.close()
    box.put(("a", 2))

    assert await box.get() == ("a", 1)
    with pytest.raises(InboxClosedError):
        await box.get()


async def test_a_reader_that_waits_is_told_of_the_end() -> None:
    box = inbox(2)
    waiting = asyncio.ensure_future(box.get())
    await asyncio.sleep(0)
    box.close(NotConnectedError("gone"))

    with pytest.raises(NotConnectedError):
        await waiting


async def test_a_cancelled_reader_loses_nothing() -> None:
    box = inbox(2)
    waiting = asyncio.ensure_future(box.get())
    await asyncio.sleep(0)
    box.put(("a", 1))
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)

    assert await box.get() == ("a", 1)


@given(
    st.lists(st.sampled_from("abc") | st.just(None), max_size=60),
    st.integers(3, 6),
)
def test_the_latest_of_each_symbol_is_never_lost_and_order_is_kept(
    steps: list[Any], limit: int
) -> None:
    """A letter is an update of that symbol; None is a program that takes one."""

    async def run() -> None:
        box = inbox(limit)
        got: list[Item] = []
        last: dict[str, int] = {}
        for number, step in enumerate(steps):
            if step is not None:
                box.put((step, number))
                last[step] = number
            elif len(box):
                got.append(await box.get())
            assert len(box) <= limit
        got += await taken(box)
        for symbol, newest in last.items():
            numbers = [number for name, number in got if name == symbol]
            assert numbers == sorted(set(numbers))
            assert numbers[-1] == newest
        assert len(got) + box.conflated == sum(step is not None for step in steps)
        assert box.dropped == 0

    asyncio.run(run())


@given(st.lists(st.integers(0, 50), max_size=80), st.integers(1, 5))
def test_more_keys_than_room_push_out_the_oldest(keys: list[int], limit: int) -> None:
    async def run() -> None:
        box = inbox(limit)
        for number, key in enumerate(keys):
            box.put((str(key), number))
            assert len(box) <= limit
        got = await taken(box)
        assert got == sorted(got, key=lambda item: item[1])
        assert len(got) + box.conflated + box.dropped == len(keys)
        assert not keys or got[-1] == (str(keys[-1]), len(keys) - 1)

    asyncio.run(run())
