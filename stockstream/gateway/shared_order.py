"""What all nodes must agree on, so that a client may come back to any of them."""

import asyncio
import secrets
from random import Random
from typing import Final

import structlog

from stockstream.cluster.outflow import keep_sending
from stockstream.cluster.session_store import SessionStore
from stockstream.core.backoff import Backoff
from stockstream.errors import StoreUnavailableError
from stockstream.gateway.fanout import Fanout
from stockstream.gateway.recovery import Recovery
from stockstream.ports import Clock

log = structlog.get_logger(__name__)

_BACKOFF: Final = Backoff(initial=0.1, maximum=5.0, jitter=0.9)


class SharedOrder:
    """The name of the one order of all updates, and the secret of private ids.

    Until they are known, and while this node has given its clients updates that have no place in
    that order, what clients get says that they can't go on from there.

    Args:
        store: where nodes agree.
        fanout: marks what clients get.
        recovery: makes private ids.
        clock: the time.
        random: spreads what is tried again.
    """

    def __init__(
        self,
        store: SessionStore,
        fanout: Fanout,
        recovery: Recovery,
        clock: Clock,
        random: Random,
    ) -> None:
        self._store = store
        self._fanout = fanout
        self._recovery = recovery
        self._clock = clock
        self._random = random
        self._proposed = f"{secrets.token_hex(4)} {secrets.token_hex(32)}"
        self._order = ""
        #: Of events whose place only this node knows.
        self._apart_order = secrets.token_hex(4)
        self._is_apart = False
        self._due = asyncio.Event()

    def look_again(self) -> None:
        """Agree once more: Redis may have lost what it held."""
        self._due.set()

    def stand_apart(self, apart: bool) -> None:  # noqa: FBT001 - a callback
        """Mark events as of this node alone, or as of all nodes again."""
        self._is_apart = apart
        self._fanout.marks.use_order(self._apart_order if apart else self._order)

    async def run(self) -> None:
        """Agree whenever it is due, until cancelled."""
        self._due.set()
        await keep_sending(
            self._due,
            self._agree,
            self._failed,
            backoff=_BACKOFF,
            clock=self._clock,
            random=self._random,
        )

    def _failed(self, error: StoreUnavailableError) -> None:
        log.debug("order_not_agreed", error=str(error))

    async def _agree(self) -> bool:
        agreed = await self._store.agree(self._proposed)
        self._proposed = agreed
        self._order, _, secret = agreed.partition(" ")
        self._recovery.secret = secret.encode()
        self.stand_apart(self._is_apart)
        return False
