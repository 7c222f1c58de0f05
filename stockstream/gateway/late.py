"""When first prices were told that are no updates."""

from collections import OrderedDict
from typing import Final

#: Events that are remembered; of those forgotten, the latest one stands for all.
_REMEMBERED: Final = 10_000


class LateSnapshots:
    """Of each event, how far the order of updates had come when such a snapshot was sent last."""

    def __init__(self) -> None:
        self._offsets: OrderedDict[str, int] = OrderedDict()
        self._forgotten = -1

    def note(self, event: str, offset: int) -> None:
        """Remember a snapshot that was sent after an update's offset."""
        self._offsets[event] = offset
        self._offsets.move_to_end(event)
        if len(self._offsets) > _REMEMBERED:
            self._forgotten = self._offsets.popitem(last=False)[1]

    def last(self, event: str) -> int:
        """Return the offset of the last one, or one that is greater; -1 where there is none."""
        return self._offsets.get(event, self._forgotten)
