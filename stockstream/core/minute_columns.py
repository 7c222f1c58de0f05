"""Minutes as columns of plain numbers: small in memory, in a store, and quick to go through."""

import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from operator import add
from typing import Any, Final, Self

from stockstream.core.bar_columns import BarColumns
from stockstream.core.bar_parts import BarPart
from stockstream.core.spans import Spans
from stockstream.model import Bar

#: Start in ms; open, high, low, close, volume; milliseconds to the first and to the last quote.
_TYPES: Final = "qdddddHH"
_ROW: Final = sum(array(kind).itemsize for kind in _TYPES)


class MinuteColumns:
    """Minutes in order of time, each once: 52 bytes a minute."""

    __slots__ = (
        "_closed_after",
        "_closes",
        "_columns",
        "_highs",
        "_lows",
        "_opened_after",
        "_opens",
        "_volumes",
        "starts",
    )

    def __init__(self, columns: "Sequence[array[Any]] | None" = None) -> None:
        """Hold nothing, or take over columns, one for each of the kinds above."""
        self._columns = tuple(columns or (array(kind) for kind in _TYPES))
        self.starts: array[int] = self._columns[0]
        self._opens, self._highs, self._lows, self._closes, self._volumes = self._columns[1:6]
        self._opened_after, self._closed_after = self._columns[6:]

    @classmethod
    def of(cls, parts: Iterable[BarPart]) -> Self:
        """Return these minutes, which are in order of time."""
        result = cls()
        for part in parts:
            result.insert(len(result), part)
        return result

    def __len__(self) -> int:
        return len(self.starts)

    def insert(self, index: int, part: BarPart) -> None:
        """Put a minute in; ``index`` is where it belongs in the order of time."""
        start = part.timestamp
        self.starts.insert(index, start)
        self._opens.insert(index, part.open)
        self._highs.insert(index, part.high)
        self._lows.insert(index, part.low)
        self._closes.insert(index, part.close)
        self._volumes.insert(index, part.volume)
        self._opened_after.insert(index, part.opened - start)
        self._closed_after.insert(index, part.closed - start)

    def correct(self, minute: int, price: float, timestamp: int, traded: float) -> None:
        """Count a quote of a minute that may be there already; times in ms since the epoch."""
        index = bisect_left(self.starts, minute)
        if index == len(self.starts) or self.starts[index] != minute:
            part = BarPart(minute, price, price, price, price, traded, timestamp, timestamp)
            self.insert(index, part)
            return
        self._highs[index] = max(self._highs[index], price)
        self._lows[index] = min(self._lows[index], price)
        self._volumes[index] += traded
        after = timestamp - minute
        if after < self._opened_after[index]:
            self._opens[index], self._opened_after[index] = price, after
        if after >= self._closed_after[index]:
            self._closes[index], self._closed_after[index] = price, after

    def trim(self, count: int) -> None:
        """Let the oldest ``count`` minutes go."""
        for column in self._columns:
            del column[:count]

    def parts(self, begin: int = 0) -> list[BarPart]:
        """Return the minutes from the place ``begin`` on."""
        starts, *values, opened, closed = (column[begin:] for column in self._columns)
        return list(
            map(BarPart, starts, *values, map(add, starts, opened), map(add, starts, closed))
        )

    def volume(self, start: int, end: int) -> float:
        """Return the volume of the minutes from ``start`` to before ``end`` (ms)."""
        begin = bisect_left(self.starts, start)
        volumes: array[float] = self._volumes[begin : bisect_left(self.starts, end, begin)]
        return sum(volumes)

    def bars(self) -> BarColumns:
        """Return each minute as a bar; the columns are shared."""
        return BarColumns(self._columns[:6])

    def newest(self, spans: Spans, limit: int, since: int) -> list[Bar]:
        """Return the newest ``limit`` bars of these stretches of time, in order of time.

        Minutes before ``since`` (ms) are left out.
        """
        bars: list[Bar] = []
        end = len(self.starts)
        first = bisect_left(self.starts, since)
        while end > first and len(bars) < limit:
            label = spans.floor(self.starts[end - 1])
            start, _ = spans.bounds(label)
            begin = bisect_left(self.starts, start, first, end)
            bars.append(self._span(label, begin, end))
            end = begin
        bars.reverse()
        return bars

    def _span(self, label: int, begin: int, end: int) -> Bar:
        return Bar(
            timestamp=label,
            open=self._opens[begin],
            high=max(self._highs[begin:end]),
            low=min(self._lows[begin:end]),
            close=self._closes[end - 1],
            volume=sum(self._volumes[begin:end]),
        )

    # --- as bytes -----------------------------------------------------------------------------

    def pack(self) -> bytes:
        """Return everything as bytes, the same on every machine."""
        return b"".join(_little(column).tobytes() for column in self._columns)

    @staticmethod
    def count(page: bytes) -> int:
        """Return how many minutes a page has."""
        return len(page) // _ROW

    @classmethod
    def unpack(cls, *pages: bytes) -> Self:
        """Return the minutes of pages, which are in order of time.

        Raises:
            ValueError: these are no pages.
        """
        columns: list[array[Any]] = [array(kind) for kind in _TYPES]
        for page in pages:
            count, rest = divmod(len(page), _ROW)
            if rest:
                raise ValueError(f"{len(page)} bytes are no page of minutes")
            offset = 0
            for column in columns:
                size = count * column.itemsize
                column.frombytes(page[offset : offset + size])
                offset += size
        return cls([_little(column) for column in columns])

    def slice(self, start: int, end: int) -> Self:
        """Return the minutes from ``start`` to before ``end`` (ms)."""
        begin = bisect_left(self.starts, start)
        stop = bisect_left(self.starts, end, begin)
        return self.cut(begin, stop)

    def cut(self, begin: int, stop: int) -> Self:
        """Return the minutes from the place ``begin`` to before ``stop``."""
        return type(self)([column[begin:stop] for column in self._columns])


def _little(column: "array[Any]") -> "array[Any]":
    if sys.byteorder == "big":
        column = column[:]
        column.byteswap()
    return column
