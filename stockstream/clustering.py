"""What a node has because there are others, put together."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from random import Random
from secrets import token_hex
from typing import Any, Final

from stockstream.cluster import keys
from stockstream.cluster.link import open_link
from stockstream.cluster.session_store import SessionStore
from stockstream.config import Settings
from stockstream.errors import StoreUnavailableError
from stockstream.gateway.document_news import DocumentNews
from stockstream.gateway.fanout import Fanout
from stockstream.gateway.http import Dependency
from stockstream.gateway.recovery import Recovery
from stockstream.gateway.shared_news import SharedNews
from stockstream.gateway.shared_order import SharedOrder
from stockstream.gateway.shared_rooms import SharedRooms
from stockstream.gateway.shared_sessions import SharedSessions
from stockstream.model import Symbol
from stockstream.model.reference import Reference
from stockstream.ports import Clock, QuoteSink
from stockstream.provider_ports import QuoteProvider
from stockstream.services.bars import BarService
from stockstream.services.clustered import ClusteredStreaming
from stockstream.services.deriving import Derivations
from stockstream.services.event_bus import EventBus
from stockstream.storage.redis import RedisQuoteStore
from stockstream.wiring import streaming_settings

#: Seconds that a node may be deaf, while Redis answers, before it is not ready: a connection is
#: replaced more quickly.
_PATIENCE: Final = 3.0


class Clustering:
    """Redis, and what goes through it.

    Args:
        url: where Redis is; see :mod:`stockstream.cluster.address`.
        settings: those of the node.
        clock: the time.
        random: spreads what is tried again.
        drop: cuts the connection of a client that has gone on to another node.
    """

    streaming: ClusteredStreaming
    news: SharedNews
    _order: SharedOrder | None = None

    def __init__(
        self,
        url: str,
        settings: Settings,
        clock: Clock,
        random: Random,
        drop: Callable[[str], Awaitable[None]],
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._random = random
        self.link = open_link(url)
        # A process that is started again under the same name is another node: what the one before
        # still had under way must not count as its own.
        self.node = f"{settings.node_id}.{token_hex(4)}"
        self.store = RedisQuoteStore(self.link.client, timeout=self.link.timeout)
        self._session_store = SessionStore(self.link, node=self.node)
        self.sessions = SharedSessions(
            self._session_store,
            window=settings.recovery_window,
            clock=clock,
            random=random,
            drop=drop,
        )

        self.rooms = SharedRooms(self.link.tell, clock, random)

    def open_streaming(
        self,
        *,
        provider: QuoteProvider,
        sink: QuoteSink,
        bus: EventBus,
        bars: BarService,
        derived: Derivations,
        reference: Mapping[Symbol, Reference],
    ) -> ClusteredStreaming:
        """Return what streams, not yet running."""
        self.streaming = ClusteredStreaming(
            link=self.link,
            node=self.node,
            role=self._settings.role,
            provider=provider,
            history=self.store,
            sink=sink,
            bus=bus,
            bars=bars,
            clock=self._clock,
            random=self._random,
            settings=streaming_settings(self._settings),
            derived=derived,
            reference=reference,
            on_apart=self._stand_apart,
        )
        channel = self.link.channels.sessions_prefix + self.node
        self.streaming.quotes_bus.listen(channel, self.sessions.hear, self._reconnected)
        self.streaming.quotes_bus.listen(keys.ROOMS, self.rooms.hear, lambda: None)
        return self.streaming

    def share_order(self, fanout: Fanout, recovery: Recovery) -> None:
        """Have clients that come back to this node go on where they were at another one."""
        if self._settings.recovery_window:
            self._order = SharedOrder(
                self._session_store, fanout, recovery, self._clock, self._random
            )

    def share_news(self, news: DocumentNews) -> SharedNews:
        """Return what tells the devices of a user, whichever nodes they are connected to."""
        self.news = SharedNews(
            self.link, node=self.node, news=news, clock=self._clock, random=self._random
        )
        channel = self.link.channels.documents
        self.streaming.quotes_bus.listen(channel, self.news.hear, lambda: None)
        return self.news

    def jobs(self) -> list[Coroutine[Any, Any, None]]:
        """Return what runs as long as the node does, beside the streaming."""
        order = [self._order.run()] if self._order else []
        return [self.sessions.run(), self.news.run(), self.rooms.run(), *order]

    async def dependencies(self) -> list[Dependency]:
        """Return how Redis is, and whether this node hears what goes through it.

        Redis being gone does not make a node unready: no other one would be better off, and clients
        keep what they have. A node that is deaf for a while although Redis answers is.
        """
        bus = self.streaming.quotes_bus
        try:
            await self.link.ping()
        except StoreUnavailableError as error:
            redis = Dependency(name="redis", ready=False, state=str(error), required=False)
        else:
            redis = Dependency(name="redis", ready=True, state="answering", required=False)
        now = self._clock.monotonic()
        state = "hearing" if bus.hearing else f"deaf for {now - bus.since:.1f} s"
        since = max(bus.since, self.streaming.membership.answering_since)
        # A node that has never heard anything has no clients that it could keep.
        required = not bus.position or (redis.ready and now - since > _PATIENCE)
        return [redis, Dependency(name="quotes", ready=bus.hearing, state=state, required=required)]

    def redis_gone_for(self) -> float:
        """Return for how many seconds Redis has been out of reach."""
        since = self.streaming.membership.failing_since
        return 0.0 if since is None else self._clock.monotonic() - since

    async def leave(self) -> None:
        """Take part no more, and let go of everything that others need."""
        await asyncio.gather(self.streaming.leave(), self.sessions.aclose())

    async def aclose(self) -> None:
        """Close the connections to Redis."""
        try:
            await self.link.aclose()
        except StoreUnavailableError:
            # It is gone; so are they.
            return

    def _stand_apart(self, apart: bool) -> None:  # noqa: FBT001 - a callback
        if self._order is not None:
            self._order.stand_apart(apart)

    def _reconnected(self) -> None:
        self.sessions.save_all()
        if self._order is not None:
            self._order.look_again()
