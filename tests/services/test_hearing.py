"""What a node hears, where it was alone before."""

from random import Random

import msgspec
import pytest

from stockstream.cluster.watch import BusUpdate
from stockstream.model import StockUpdate, Symbol
from stockstream.services.bars import BarService
from stockstream.services.event_bus import EventBus
from stockstream.services.hearing import Hearing
from stockstream.services.live_symbol import LiveSymbol
from tests.support.clock import ManualClock
from tests.support.sinks import RecordingSink

AAPL = Symbol("AAPL")


def update(epoch: str, seq: int) -> StockUpdate:
    """Return an update whose price says its number."""
    return StockUpdate(
        symbol=AAPL,
        price=float(seq),
        change=0,
        change_percent=0,
        volume=0,
        timestamp=seq,
        epoch=epoch,
        seq=seq,
    )


class Node:
    """A node with a client that watches one symbol."""

    def __init__(self) -> None:
        clock = ManualClock()
        self.sink = RecordingSink()
        self.live = LiveSymbol()
        self.apart: list[bool] = []
        self.hearing = Hearing(
            {AAPL: self.live},
            sink=self.sink,
            bus=EventBus(clock=clock, random=Random(1)),
            bars=BarService(None, clock),
            clock=clock,
            is_produced=lambda _: True,
            on_apart=self.apart.append,
        )
        self._offset = 0

    def hear(self, *updates: StockUpdate) -> None:
        """Have the bus bring updates in one read."""
        heard = []
        for each in updates:
            self._offset += 1
            heard.append(BusUpdate(AAPL, self._offset, msgspec.json.encode(each)))
        self.hearing.quotes(heard)

    def alone(self, *updates: StockUpdate) -> None:
        self.hearing.deliver_alone(updates, 0.0)

    @property
    def got(self) -> list[tuple[str, int]]:
        """What the client got as updates."""
        return [(each.epoch, each.seq) for each in self.sink.published]

    @property
    def told_again(self) -> list[tuple[str, int]]:
        """What the client got as snapshots."""
        return [(each.epoch, each.seq) for each in self.sink.settled]

    @property
    def stands(self) -> tuple[str, int]:
        """What a new client would get."""
        assert self.live.last is not None
        return self.live.last.epoch, self.live.last.seq


@pytest.fixture
def node() -> Node:
    node = Node()
    node.hear(update("e", 1))
    node.alone(update("a", 1), update("a", 2))
    return node


def test_what_clients_were_given_is_not_given_twice(node: Node) -> None:
    node.hear(update("a", 1))
    assert node.apart == [True]
    node.hear(update("a", 2), update("a", 3))
    assert node.got == [("e", 1), ("a", 1), ("a", 2), ("a", 3)]
    assert node.told_again == []
    assert node.apart == [True, False]
    assert node.stands == ("a", 3)


@pytest.mark.parametrize("together", [True, False])
def test_what_had_been_missed_before_does_not_stay_the_last_word(
    node: Node, *, together: bool
) -> None:
    heard = [update("e", 2), update("a", 1), update("a", 2)]
    for part in [heard] if together else [[each] for each in heard]:
        node.hear(*part)
    assert node.got == [("e", 1), ("a", 1), ("a", 2), ("e", 2)]
    assert node.told_again == [("a", 2)]
    assert node.stands == ("a", 2)


def test_newer_one_needs_no_word_of_the_last(node: Node) -> None:
    node.hear(update("e", 2), update("a", 1), update("a", 2), update("a", 3))
    assert node.got[-2:] == [("e", 2), ("a", 3)]
    assert node.told_again == []
    assert node.stands == ("a", 3)


def test_other_owner_has_the_last_word(node: Node) -> None:
    node.hear(update("e", 2), update("e", 3))
    node.hearing.forget_apart(AAPL)
    node.hear(update("e", 4))
    assert node.got[-3:] == [("e", 2), ("e", 3), ("e", 4)]
    assert node.told_again == []
    assert node.apart == [True, False]
