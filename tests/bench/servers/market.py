"""The made-up market that every server publishes: nothing random, so that all write the same."""

import time
from collections import defaultdict

from stockstream.model.quote import StockUpdate
from stockstream.model.symbol import Symbol


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Market:
    """Numbers the updates of each symbol from 1, as the load generator expects them."""

    def __init__(self) -> None:
        self._published: defaultdict[int, int] = defaultdict(int)

    def next_update(self, index: int) -> StockUpdate:
        self._published[index] = seq = self._published[index] + 1
        return StockUpdate(
            symbol=Symbol(f"S{index:05}"),
            price=100 + seq % 1000 / 100,
            change=1.25,
            change_percent=1.26,
            volume=1234567.0,
            timestamp=now_ms(),
            seq=seq,
            epoch="bench",
            bid=99.99,
            ask=100.01,
            day_high=112.5,
            day_low=98.75,
            open=99.5,
            previous_close=98.75,
        )
