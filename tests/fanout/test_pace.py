"""`maxRate`: at most so many updates a second of each symbol, and never without the last one."""

from collections.abc import AsyncIterator

import pytest

from stockstream.model import Symbol
from tests.fanout.client import Client, connected
from tests.fanout.market import Exchange, open_exchange
from tests.support.clock import ManualClock
from tests.support.processes import wait_until

#: Seconds between two updates at two a second, a bit less than that, and the rest.
ALMOST, REST = 0.49, 0.02


class Scene:
    """A node whose time passes when a test says so, and one client of it."""

    def __init__(self, exchange: Exchange, clock: ManualClock, client: Client) -> None:
        self.exchange = exchange
        self.clock = clock
        self.client = client

    async def change(self, *symbols: str) -> None:
        """Change prices, and wait until that has reached the fan-out."""
        streaming, market = self.exchange.node.streaming, self.exchange.market
        self.exchange.change(*symbols)
        wanted = {Symbol(name): market.seqs[name] for name in symbols}
        await wait_until(
            lambda: all(
                (state := streaming.snapshot(s)) is not None and state.seq == seq
                for s, seq in wanted.items()
            ),
            "the change",
        )

    async def subscribe(self, symbol: str, **options: object) -> None:
        """Subscribe, and wait until that is done."""
        self.client.subscribe(symbol, **options)
        await self.client.answered()

    async def seqs(self, symbol: str) -> list[int]:
        """Return what has been sent to the client: all of it comes before an answer does."""
        self.client.ask("unsubscribe", {"events": ["performance_metrics"]})
        await self.client.answered()
        return self.client.seqs(symbol)


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    clock = ManualClock()
    async with (
        open_exchange(["A", "B"], clock=clock) as exchange,
        connected(exchange.port) as client,
    ):
        yield Scene(exchange, clock, client)


async def test_what_comes_too_fast_is_conflated_to_the_latest(scene: Scene) -> None:
    await scene.subscribe("A", maxRate=2)
    for _ in range(9):
        await scene.change("A")
    assert await scene.seqs("A") == [1, 2]

    await scene.clock.advance(ALMOST)
    assert await scene.seqs("A") == [1, 2]

    await scene.clock.advance(REST)
    assert await scene.seqs("A") == [1, 2, 10]

    await scene.clock.advance(60)
    assert await scene.seqs("A") == [1, 2, 10]


async def test_rate_is_kept_over_time_and_the_last_update_is_not_lost(scene: Scene) -> None:
    await scene.subscribe("A", maxRate=2)
    for _ in range(100):
        await scene.change("A")
        await scene.clock.advance(0.1)
    # Ten seconds at two a second, and the one at their beginning.
    before = await scene.seqs("A")
    assert len(before) - 1 in {20, 21}

    await scene.clock.advance(0.5)

    assert (await scene.seqs("A"))[-1] == scene.exchange.market.seqs["A"] == 101


async def test_each_symbol_has_a_pace_of_its_own(scene: Scene) -> None:
    await scene.subscribe("A", maxRate=2)
    await scene.subscribe("B", maxRate=1)
    await scene.change("A", "B")
    await scene.change("A", "B")
    assert (await scene.seqs("A"), await scene.seqs("B")) == ([1, 2], [1, 2])

    await scene.clock.advance(ALMOST + REST)
    assert (await scene.seqs("A"), await scene.seqs("B")) == ([1, 2, 3], [1, 2])

    await scene.clock.advance(ALMOST + REST)
    assert (await scene.seqs("A"), await scene.seqs("B")) == ([1, 2, 3], [1, 2, 3])


async def test_pace_changes_by_subscribing_again(scene: Scene) -> None:
    await scene.subscribe("A", maxRate=2)
    await scene.change("A", "A")
    assert await scene.seqs("A") == [1, 2]

    # A new subscription begins with a snapshot, and what waited for the old one is in it.
    await scene.subscribe("A", maxRate=10)
    assert await scene.seqs("A") == [1, 2, 3]
    await scene.change("A", "A")
    assert await scene.seqs("A") == [1, 2, 3, 4]
    await scene.clock.advance(0.11)
    assert await scene.seqs("A") == [1, 2, 3, 4, 5]

    await scene.subscribe("A")
    await scene.change("A", "A", "A")
    assert await scene.seqs("A") == [1, 2, 3, 4, 5, 5, 6, 7, 8]


async def test_what_waits_for_its_time_does_not_come_after_unsubscribed(scene: Scene) -> None:
    await scene.subscribe("A", maxRate=2)
    await scene.change("A", "A")
    scene.client.unsubscribe("A")
    await scene.seqs("A")

    await scene.clock.advance(60)

    assert await scene.seqs("A") == [1, 2]
    assert [p.name for p in scene.client.heard if p.name == "unsubscribed"]
