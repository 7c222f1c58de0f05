"""A random walk that can be asked for any step, and for the extremes of any stretch of it.

Each stretch of 16 steps follows one of the ways of 16 unit steps that lead from 0 to 4 without
leaving 0 to 4; each of those 16 is itself such a stretch, four times smaller, and so on. Like a
Brownian motion the walk moves in proportion to the root of time, and a stretch never leaves the
box between its ends, which makes extremes as cheap as single values. The construction is the
"cartoon" of B. Mandelbrot, A Multifractal Walk down Wall Street, Scientific American, 1999.
"""

from typing import Final, NamedTuple

#: A walk stays within 0 to ``HEIGHT`` units, and takes ``SPAN`` steps from one end to the other.
HEIGHT: Final = 4**6
SPAN: Final = 16**6

_LEVELS: Final = 6
_MASK: Final = (1 << 64) - 1


def scramble(key: int, number: int) -> int:
    """Return 64 bits that look random and depend on nothing but ``key`` and ``number``.

    The output function of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
    """
    bits = (key ^ number * 0x9E3779B97F4A7C15) & _MASK
    bits = (bits ^ bits >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    bits = (bits ^ bits >> 27) * 0x94D049BB133111EB & _MASK
    return bits ^ bits >> 31


def _ways(heights: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return every way on from ``heights``: 17 heights from 0 to 4 that never leave 0 to 4."""
    if len(heights) == 17:
        return [heights] if heights[-1] == 4 else []
    steps = (heights[-1] + 1, heights[-1] - 1)
    return [way for height in steps if 0 <= height <= 4 for way in _ways((*heights, height))]


_WAYS: Final = _ways((0,))


class _Stretch(NamedTuple):
    """``16 ** level`` steps from ``height``, up (sign 1) or down (-1) by ``4 ** level`` units."""

    level: int
    number: int
    height: int
    sign: int

    @property
    def start(self) -> int:
        return self.number << 4 * self.level

    @property
    def end(self) -> int:
        """The step after the last one; a single step has its end in itself."""
        return self.number + 1 << 4 * self.level if self.level else self.number

    @property
    def box(self) -> tuple[int, int]:
        """The lowest and the highest height, its end's included."""
        if not self.level:
            return self.height, self.height
        end = self.height + self.sign * 4**self.level
        return (self.height, end) if self.sign > 0 else (end, self.height)


class Walk:
    """The walk that belongs to ``key``: neighbouring steps are always one unit apart."""

    __slots__ = ("_heights", "_index", "_key")

    def __init__(self, key: int) -> None:
        self._key = key
        # The 16 steps asked for last: neighbours are often asked for next.
        self._index = -1
        self._heights: tuple[int, ...] = ()

    def at(self, step: int) -> int:
        """Return the height at ``step``, 0 or more, in units."""
        index = step >> 4
        if index != self._index:
            self._heights = self._sixteen(index)
            self._index = index
        return self._heights[step & 15]

    def _sixteen(self, index: int) -> tuple[int, ...]:
        """Return the heights of steps ``16 * index`` to ``16 * index + 15``."""
        height, sign = _anchor(index * 16 // SPAN)
        unit = HEIGHT
        for level in range(_LEVELS, 1, -1):
            way = self._way(level, index >> 4 * (level - 1))
            part = index >> 4 * (level - 2) & 15
            unit >>= 2
            height += sign * unit * way[part]
            if way[part + 1] < way[part]:
                sign = -sign
        return tuple(height + sign * offset for offset in self._way(1, index)[:16])

    def extremes(self, first: int, last: int) -> tuple[int, int]:
        """Return the lowest and the highest height from ``first`` to ``last``, both included."""
        ends = (self.at(first), self.at(last))
        low, high = min(ends), max(ends)
        if last - first < 2:
            return low, high
        pending = [
            _Stretch(_LEVELS, block, *_anchor(block))
            for block in range(first // SPAN, last // SPAN + 1)
        ]
        while pending:
            stretch = pending.pop()
            bottom, top = stretch.box
            if low <= bottom and top <= high:
                continue
            if first <= stretch.start and stretch.end <= last:
                low, high = min(low, bottom), max(high, top)
            elif stretch.level:
                pending += self._parts(stretch, first, last)
        return low, high

    def _parts(self, whole: _Stretch, first: int, last: int) -> list[_Stretch]:
        """Return those of the 16 parts of a stretch that have steps from ``first`` to ``last``."""
        way = self._way(whole.level, whole.number)
        level = whole.level - 1
        unit = whole.sign * 4**level
        begin = whole.number << 4
        lowest = max(0, (first >> 4 * level) - begin)
        highest = min(15, (last >> 4 * level) - begin)
        return [
            _Stretch(
                level,
                begin + part,
                whole.height + unit * way[part],
                whole.sign * (way[part + 1] - way[part]),
            )
            for part in range(lowest, highest + 1)
        ]

    def _way(self, level: int, index: int) -> tuple[int, ...]:
        return _WAYS[scramble(self._key, index << 4 | level) % len(_WAYS)]


def _anchor(block: int) -> tuple[int, int]:
    """Return where a block of ``SPAN`` steps begins, and whether it leads up (1) or down (-1)."""
    return (HEIGHT, -1) if block & 1 else (0, 1)
