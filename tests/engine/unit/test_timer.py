"""The timer that all deadlines share, on a loop whose time the test turns."""

import asyncio
from collections.abc import Callable
from itertools import pairwise

import pytest

from stockstream.engine.shell.timer import SharedTimer

GRAIN = 0.005
#: What floating point may be off by.
NEARLY = 1e-9


class TurnedLoop:
    """The calls that were asked for, and the time at which they run."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        self._calls: list[tuple[float, Callable[[], None]]] = []
        monkeypatch.setattr(asyncio.get_running_loop(), "call_later", self._call_later)

    def _call_later(self, delay: float, call: Callable[[], None]) -> None:
        self._calls.append((self.now + delay, call))

    def run(self) -> None:
        while self._calls:
            self.now, call = self._calls.pop()
            call()


async def test_nothing_is_late_and_nothing_much_too_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = TurnedLoop(monkeypatch)
    due = [100.298, 100.2981, 100.3, 100.306, 100.4]
    done: dict[float, float] = {}

    def tick(until: float) -> float | None:
        while due and due[0] <= until:
            done[due.pop(0)] = loop.now
        return due[0] if due else None

    SharedTimer(tick, lambda: loop.now).arm(due[0])
    loop.run()
    assert not due
    assert all(when - GRAIN - NEARLY <= at <= when + NEARLY for when, at in done.items())


async def test_what_is_due_together_is_done_together(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = TurnedLoop(monkeypatch)
    due = [100.5 + number / 10_000 for number in range(1_000)]
    ticks: list[float] = []

    def tick(until: float) -> float | None:
        ticks.append(loop.now)
        while due and due[0] <= until:
            due.pop(0)
        return due[0] if due else None

    SharedTimer(tick, lambda: loop.now).arm(due[0])
    loop.run()
    assert len(ticks) <= 21
    assert all(after - before >= GRAIN - NEARLY for before, after in pairwise(ticks))
