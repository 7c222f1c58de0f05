"""Changes of documents, told to the other nodes: the user's devices may be connected to any."""

import asyncio
from collections import OrderedDict
from random import Random
from typing import Final

import msgspec
import structlog

from stockstream.cluster.link import RedisLink
from stockstream.cluster.outflow import keep_sending
from stockstream.core.backoff import Backoff
from stockstream.errors import StoreUnavailableError
from stockstream.gateway.document_news import DocumentNews
from stockstream.model.document import Document, DocumentKey
from stockstream.ports import Clock
from stockstream.wire.sync_replies import document_changed

log = structlog.get_logger(__name__)

_BACKOFF: Final = Backoff(initial=0.1, maximum=2.0, jitter=0.9)
#: Documents whose news wait for Redis at most, and that are sent in one go. Each is 64 KB at most.
_WAITING: Final = 1_000
_AT_ONCE: Final = 50
_encoder: Final = msgspec.json.Encoder()


class _News(msgspec.Struct, frozen=True, array_like=True):
    """What one node tells the others."""

    node: str
    user: str
    #: Read only where somebody listens.
    payload: msgspec.Raw


_decoder: Final = msgspec.json.Decoder(_News)


class SharedNews:
    """Passes on what changed here, and tells the clients of this node what changed elsewhere.

    While Redis is out of reach the newest version of each document waits, of so many documents.
    What is lost all the same, clients get by their cursors: it is a hint.

    Args:
        link: the way to Redis.
        node: name of this node.
        news: the clients of this node that listen.
        clock: the time.
        random: spreads what is tried again.
    """

    def __init__(
        self, link: RedisLink, *, node: str, news: DocumentNews, clock: Clock, random: Random
    ) -> None:
        self._link = link
        self._node = node
        self._news = news
        self._clock = clock
        self._random = random
        self._waiting: OrderedDict[tuple[str, DocumentKey], bytes] = OrderedDict()
        self._wake = asyncio.Event()
        #: News passed on, heard from others, given up because too many waited, and not understood.
        self.sent = 0
        self.heard = 0
        self.shed = 0
        self.undecodable = 0

    def tell(self, user: str, document: Document) -> None:
        """Tell everybody of a new version; waits for nothing."""
        self._news.tell(user, document)
        payload = msgspec.Raw(_encoder.encode(document_changed(document)))
        place = user, document.key
        self._waiting[place] = _encoder.encode(_News(self._node, user, payload))
        self._waiting.move_to_end(place)
        if len(self._waiting) > _WAITING:
            self._waiting.popitem(last=False)
            self.shed += 1
        self._wake.set()

    def hear(self, message: bytes) -> None:
        """Take what a node has passed on."""
        try:
            news = _decoder.decode(message)
            if news.node == self._node:
                return
            self.heard += 1
            if self._news.wanted(news.user):
                self._news.send(news.user, msgspec.json.decode(news.payload))
        except (msgspec.DecodeError, KeyError, TypeError):
            # Of a node of another version, or of somebody else's making.
            self.undecodable += 1

    async def run(self) -> None:
        """Pass on what changes, until cancelled."""
        await keep_sending(
            self._wake,
            self._publish,
            self._failed,
            backoff=_BACKOFF,
            clock=self._clock,
            random=self._random,
        )

    def _failed(self, error: StoreUnavailableError) -> None:
        log.debug("document_news_wait", count=len(self._waiting), error=str(error))

    async def _publish(self) -> bool:
        link = self._link
        batch = list(self._waiting.items())[:_AT_ONCE]
        channel = link.channels.documents
        await link.run_all([(link.publish, channel, message) for _, message in batch])
        for place, message in batch:
            # What has changed meanwhile waits on.
            if self._waiting.get(place) is message:
                del self._waiting[place]
        self.sent += len(batch)
        return bool(self._waiting)
