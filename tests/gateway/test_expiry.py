"""Sessions end when their tokens do."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stockstream.gateway.expiry import Expiry
from tests.support.clock import ManualClock

_LEEWAY = 500


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def expiry(clock: ManualClock) -> AsyncIterator[Expiry]:
    expiry = Expiry(clock, _LEEWAY)
    task = asyncio.create_task(expiry.run())
    yield expiry
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def noting(ended: list[str], name: str) -> Callable[[], Awaitable[None]]:
    async def end() -> None:
        ended.append(name)

    return end


async def test_each_ends_at_its_time_and_not_before(clock: ManualClock, expiry: Expiry) -> None:
    ended: list[str] = []
    start = clock.time_ms()
    for name, seconds in (("c", 90), ("a", 1), ("b", 2)):
        expiry.watch(name, start + 1000 * seconds, noting(ended, name))
    await clock.advance(1.499)
    assert ended == []
    await clock.advance(0.002)
    assert ended == ["a"]
    await clock.advance(88.99)
    assert ended == ["a", "b"]
    await clock.advance(0.1)
    assert (ended, expiry.ended, len(expiry)) == (["a", "b", "c"], 3, 0)


async def test_a_fresh_token_and_a_goodbye_count(clock: ManualClock, expiry: Expiry) -> None:
    ended: list[str] = []
    start = clock.time_ms()
    for name in "abcd":
        expiry.watch(name, start + 1000, noting(ended, name))
    expiry.renew("a", start + 3000)
    expiry.renew("b", None)
    expiry.forget("c")
    expiry.renew("c", start + 2000)
    await clock.advance(2)
    assert ended == ["d"]
    await clock.advance(2)
    assert ended == ["d", "a"]
    # Too late.
    expiry.renew("a", clock.time_ms() + 1000)
    await clock.advance(5)
    assert ended == ["d", "a"]


async def test_the_wall_clock_may_jump(clock: ManualClock, expiry: Expiry) -> None:
    ended: list[str] = []
    expiry.watch("a", clock.time_ms() + 3_600_000, noting(ended, "a"))
    await clock.advance(1)
    clock.jump(3_600)
    await clock.advance(30)
    assert ended == ["a"]


async def test_one_that_fails_holds_up_nobody(clock: ManualClock, expiry: Expiry) -> None:
    async def fail() -> None:
        raise LookupError("on purpose")

    ended: list[str] = []
    expiry.watch("a", clock.time_ms(), fail)
    expiry.watch("b", clock.time_ms() + 1, noting(ended, "b"))
    await clock.advance(1)
    assert ended == ["b"]


async def test_what_is_kept_depends_on_the_sessions_there_are(clock: ManualClock) -> None:
    expiry = Expiry(clock, _LEEWAY)
    for number in range(10_000):
        expiry.watch("a", clock.time_ms() + number, noting([], "a"))
        expiry.watch(f"gone {number}", clock.time_ms(), noting([], ""))
        expiry.forget(f"gone {number}")
    assert len(expiry) == 1
    assert len(expiry._queue) < 200


@given(
    st.lists(st.tuples(st.integers(0, 5), st.none() | st.integers(0, 50)), max_size=30),
    st.integers(0, 50),
)
def test_whatever_is_asked_for_last_holds(
    wishes: list[tuple[int, int | None]], seconds: int
) -> None:
    async def live() -> None:
        clock = ManualClock()
        expiry = Expiry(clock, 0)
        ended: list[str] = []
        for number, due in wishes:
            at = None if due is None else clock.time_ms() + due * 1000
            expiry.watch(number, at, noting(ended, str(number)))
        task = asyncio.create_task(expiry.run())
        await clock.advance(seconds)
        task.cancel()
        last = dict(wishes)
        due_by_now = [str(n) for n, due in last.items() if due is not None and due <= seconds]
        assert sorted(ended) == sorted(due_by_now)

    asyncio.run(live())
