"""Sessions of clients where all nodes find them: saved ahead, taken over by one node at a time."""

import asyncio
from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

from stockstream.cluster import keys
from stockstream.cluster.link import Argument, RedisLink, Script

_SAVE: Final = Script("session_save")
_TAKE: Final = Script("session_take")
#: Most sessions in one step: Redis does nothing else meanwhile.
STEP_SIZE: Final = 200


class SavedSession(NamedTuple):
    """A session to save."""

    sid: str
    #: Whoever takes it must know this word; no blanks.
    guard: str
    #: What it is about; empty: it is to be removed.
    record: bytes
    #: Seconds that it is kept if nothing more is heard of it.
    seconds: float


class SessionStore:
    """The sessions of one node, and those that it takes over from others.

    A session belongs to the node that saved or took it last; what an earlier one still saves is
    refused. So a client that went on to another node keeps what it has there, though its old
    connection is noticed to be broken only later.

    Args:
        link: the way to Redis.
        node: name of this node.
    """

    def __init__(self, link: RedisLink, *, node: str) -> None:
        self._link = link
        self._node = node
        #: Sessions that were not saved because another node has them.
        self.refused = 0

    async def save(self, sessions: Sequence[SavedSession]) -> None:
        """Save or remove sessions, 200 at a time.

        Raises:
            StoreUnavailableError: none, some or all of it happened; trying again is safe.
        """
        for start in range(0, len(sessions), STEP_SIZE):
            step = sessions[start : start + STEP_SIZE]
            args: list[Argument] = [self._node]
            for each in step:
                args.append(round(each.seconds * 1000) if each.record else 0)
                args.append(b"%b %b" % (each.guard.encode(), each.record))
            script_keys = [keys.session(each.sid) for each in step]
            self.refused += await self._link.run(_SAVE, script_keys, args)

    async def take(self, sid: str, guard: str, seconds: float) -> bytes | None:
        """Take a session over from whoever has it, who is told; None where there is none.

        Raises:
            StoreUnavailableError: Redis can't be reached.
        """
        link = self._link
        args: list[Argument] = [self._node, guard, round(seconds * 1000), link.publish]
        args += (link.channels.sessions_prefix, sid)
        found: bytes | None = await link.run(_TAKE, [keys.session(sid)], args)
        return found

    async def keep(self, sids: Collection[str], seconds: float) -> None:
        """Keep sessions for so long from now on.

        Raises:
            StoreUnavailableError: some may not be.
        """
        ordered = list(sids)
        for start in range(0, len(ordered), STEP_SIZE):
            step = ordered[start : start + STEP_SIZE]
            await self._link.run_all(
                [("PEXPIRE", keys.session(sid), round(seconds * 1000)) for sid in step]
            )
            await asyncio.sleep(0)

    async def agree(self, proposed: str) -> str:
        """Return a text that is the same for all nodes: the first one that any of them proposed.

        Raises:
            StoreUnavailableError: Redis can't be reached.
        """
        return (await self._link.agree(keys.RECOVERY, proposed)).decode()
