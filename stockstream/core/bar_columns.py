"""Bars as columns of plain numbers: a year of minutes without an object for each."""

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import Any, Final, Self, overload

from stockstream.model import Bar

#: Start in ms; open, high, low, close, volume.
_TYPES: Final = "qddddd"
_PIECE: Final = 500
_fields: Final = attrgetter(*Bar.__struct_fields__)


class BarColumns(Sequence[Bar]):
    """Bars in order of time, 48 bytes each; a bar is made when it is looked at.

    A slice is of the same kind. Equal to any sequence of the same bars.
    """

    __slots__ = ("columns",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, columns: "Sequence[array[Any]]") -> None:
        """Take over columns, one for each field of a bar; they must not change any more."""
        self.columns = tuple(columns)

    @classmethod
    def of(cls, bars: Sequence[Bar]) -> Self:
        """Return these bars."""
        columns = [array(kind) for kind in _TYPES]
        # Piece by piece: other threads may come in between.
        for begin in range(0, len(bars), _PIECE):
            rows = zip(*map(_fields, bars[begin : begin + _PIECE]), strict=True)
            for column, values in zip(columns, rows, strict=True):
                column.extend(values)
        return cls(columns)

    def __len__(self) -> int:
        return len(self.columns[0])

    def __iter__(self) -> Iterator[Bar]:
        return map(Bar, *self.columns)

    @overload
    def __getitem__(self, place: int) -> Bar: ...
    @overload
    def __getitem__(self, place: slice) -> Self: ...
    def __getitem__(self, place: int | slice) -> Bar | Self:
        if isinstance(place, slice):
            if place.indices(len(self)) == (0, len(self), 1):
                return self
            return type(self)([column[place] for column in self.columns])
        return Bar(*(column[place] for column in self.columns))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, BarColumns):
            return self.columns == other.columns
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(map(Bar.__eq__, self, other))

    def followed_by(self, bars: Sequence[Bar]) -> Self:
        """Return these bars with later ones."""
        newer = bars if isinstance(bars, BarColumns) else self.of(bars)
        return type(self)(
            [mine + theirs for mine, theirs in zip(self.columns, newer.columns, strict=True)]
        )


def followed(older: Sequence[Bar], newer: Sequence[Bar]) -> Sequence[Bar]:
    """Return bars with later ones: as columns where the older ones are."""
    if not older or not newer:
        return older or newer
    return older.followed_by(newer) if isinstance(older, BarColumns) else [*older, *newer]


def place_of(bars: Sequence[Bar], start: int) -> int:
    """Return the place of the first bar that starts at ``start`` (ms) or later."""
    if isinstance(bars, BarColumns):
        return bisect_left(bars.columns[0], start)
    return bisect_left(bars, start, key=attrgetter("timestamp"))
