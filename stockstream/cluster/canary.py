"""Whether a node hears, proved by a message to itself through Redis."""

from typing import Final

import structlog

from stockstream.cluster import keys
from stockstream.cluster.link import RedisLink, Script
from stockstream.errors import StoreUnavailableError
from stockstream.ports import Clock

log = structlog.get_logger(__name__)

_CANARY: Final = Script("canary")


class Canary:
    """Sends a node the offset of the last update, on a channel that only this node hears.

    Since a connection hears in order, who has heard it has heard everything up to that offset.

    Args:
        link: the way to Redis.
        node: name of this node.
        clock: times how long it is silent.
    """

    def __init__(self, link: RedisLink, node: str, clock: Clock) -> None:
        self._link = link
        self._clock = clock
        self.channel = link.channels.canary(node)
        #: How many came back.
        self.heard = 0
        # When the first of those was sent that have not been heard; None: all were.
        self._unheard_since: float | None = None

    @property
    def silent(self) -> float:
        """Seconds for which one has been due; 0 where all were heard."""
        since = self._unheard_since
        return 0.0 if since is None else self._clock.monotonic() - since

    def begin(self) -> None:
        """Expect none: a new connection has been made."""
        self._unheard_since = None

    async def send(self) -> None:
        """Send one; whether that succeeds is not known before it comes back."""
        if self._unheard_since is None:
            self._unheard_since = self._clock.monotonic()
        try:
            await self._link.run(
                _CANARY, [keys.OFFSET, keys.ORIGIN], [self._link.publish, self.channel]
            )
        except StoreUnavailableError as error:
            # The connection may hear all the same; that no canary comes back decides.
            log.debug("canary_not_sent", error=str(error))

    def hear(self, message: bytes) -> int:
        """Take one that came back; returns the offset up to which everything has been heard.

        Raises:
            ValueError: it is none of ours.
        """
        if not message.isdigit():
            raise ValueError("not a canary")
        self._unheard_since = None
        self.heard += 1
        return int(message)
