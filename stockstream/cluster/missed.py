"""What a node missed while it heard nothing, read from the log."""

from collections.abc import Callable, Sequence
from typing import Final

from stockstream.cluster.quote_log import LoggedState, QuoteLog
from stockstream.cluster.watch import BusUpdate, Watch

# Symbols that are caught up between two looks at how much has gathered.
_CHUNK: Final = 50


async def read_missed(
    log: QuoteLog, live: Sequence[Watch], position: int, *, room: Callable[[], int]
) -> tuple[list[BusUpdate], list[Watch]]:
    """Return the updates that live watches missed, and the watches of which that can't be said.

    Args:
        log: where they are read from.
        live: watches that have had everything up to ``position``, in the order of reading.
        position: offset behind which something may be missing.
        room: how many bytes may gather, asked again and again: messages that come meanwhile take
            of the same. Watches for which no room is left are given up.

    Raises:
        StoreUnavailableError: the log can't be read.
    """
    missed: list[BusUpdate] = []
    lost: list[Watch] = []
    size = 0
    for start in range(0, len(live), _CHUNK):
        if size > room():
            return missed, [*lost, *live[start:]]
        chunk = live[start : start + _CHUNK]
        read = await log.read([watch.symbol for watch in chunk], position)
        for watch, found in zip(chunk, read, strict=True):
            if found is None:
                # Redis forgot the symbol: whatever comes next begins anew, and is heard.
                continue
            updates = (
                await log.begun(watch.symbol, found, watch.offset)
                if isinstance(found, LoggedState)
                else found
            )
            if updates is None:
                lost.append(watch)
            else:
                missed += (BusUpdate(watch.symbol, *update) for update in updates)
                size += sum(len(payload) for _, payload in updates)
    return missed, lost
