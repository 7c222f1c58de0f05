"""One subscribed connection to Redis, made to cost little for each message that it hears.

redis-py's own takes a task, a timeout and a dict for each message; here a message is a lookup and a
call.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from typing import cast

import hiredis

from stockstream.cluster.link import STORE, Endpoint, RedisLink
from stockstream.errors import StoreUnavailableError

#: Takes the content of a message.
Listener = Callable[[bytes], None]


class Subscriber(asyncio.Protocol):
    """A connection that only listens. Made by :func:`connect`; ends with :meth:`close`.

    A channel may be unsubscribed and subscribed again at any time: it counts as confirmed when
    Redis has answered the last of these commands, and what it hears before that is not passed on.

    Args:
        link: what is said to Redis.
        name: shown in its list of clients.
        read_end: called when all messages of one read have been passed on.
    """

    def __init__(self, link: RedisLink, name: str, read_end: Callable[[], None]) -> None:
        self._link = link
        self._name = name
        self._read_end = read_end
        self._reader = hiredis.Reader()
        self._transport: asyncio.Transport | None = None
        # Whether the connection fails with each refusal that is still to come.
        self._handshake: deque[bool] = deque()
        self._listeners: dict[bytes, Listener] = {}
        self._confirm: dict[bytes, Callable[[], None]] = {}
        self._subscribing: Counter[bytes] = Counter()
        self._unsubscribing: Counter[bytes] = Counter()
        #: Done when the connection has ended, with the reason as its result.
        self.lost: asyncio.Future[StoreUnavailableError] = (
            asyncio.get_running_loop().create_future()
        )

    def subscribe(
        self, channel: str, listener: Listener, confirmed: Callable[[], None] | None = None
    ) -> None:
        """Prepare to hear a channel, once :meth:`send` is told of it."""
        name = channel.encode()
        self._listeners[name] = listener
        if confirmed is not None:
            self._confirm[name] = confirmed

    def unsubscribe(self, channel: str) -> None:
        """Hear no more of a channel, from now on."""
        name = channel.encode()
        self._listeners.pop(name, None)
        self._confirm.pop(name, None)

    def send(self, subscribe: Iterable[str], unsubscribe: Iterable[str]) -> None:
        """Tell Redis which channels come and go, in one command for each kind of them."""
        for word, channels, answers in (
            ("UNSUBSCRIBE", unsubscribe, self._unsubscribing),
            ("SUBSCRIBE", subscribe, self._subscribing),
        ):
            sharded: list[bytes] = []
            plain: list[bytes] = []
            for channel in channels:
                kind = sharded if self._link.is_sharded(channel) else plain
                kind.append(channel.encode())
            for verb, names in ((word, plain), (f"S{word}", sharded)):
                if names:
                    answers.update(names)
                    self._write(verb, *names)

    def close(self) -> None:
        """End the connection without waiting for anything."""
        if self._transport is not None:
            self._transport.abort()

    # --- asyncio.Protocol ---------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say who we are; no reply is waited for."""
        self._transport = cast("asyncio.Transport", transport)
        address = self._link.address
        if address.password is not None:
            user = () if address.username is None else (address.username,)
            self._write("AUTH", *user, address.password)
            self._handshake.append(True)
        # A name helps whoever looks at the list of clients; not all may give themselves one.
        self._write("CLIENT", "SETNAME", self._name)
        self._handshake.append(False)

    def data_received(self, data: bytes) -> None:
        """Pass on what came, and end the connection where it makes no sense."""
        reader = self._reader
        listeners = self._listeners
        try:
            reader.feed(data)
            while (reply := reader.gets()) is not False:
                if type(reply) is list and reply[0] in _MESSAGES:
                    listener = listeners.get(reply[1])
                    if listener is not None:
                        listener(reply[2])
                else:
                    self._answered(reply)
        except hiredis.ProtocolError as error:
            self._fail(str(error))
        self._read_end()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits for the end."""
        self._fail(str(exc) if exc else "the connection was closed")

    # ------------------------------------------------------------------------------------------

    def _answered(self, reply: object) -> None:
        if isinstance(reply, list):
            if reply[0] in _SUBSCRIBED:
                self._subscribed(reply[1])
            elif reply[0] in _UNSUBSCRIBED:
                self._unsubscribed(reply[1])
        elif self._handshake:
            fatal = self._handshake.popleft()
            if fatal and isinstance(reply, hiredis.ReplyError):
                self._fail(str(reply))
        elif isinstance(reply, hiredis.ReplyError):
            # A slot that is elsewhere now, or a channel that we may not hear.
            self._fail(str(reply))

    def _subscribed(self, name: bytes) -> None:
        if _count_down(self._subscribing, name) and (confirmed := self._confirm.pop(name, None)):
            confirmed()

    def _unsubscribed(self, name: bytes) -> None:
        if name not in self._unsubscribing:
            # Redis Cluster does so when the slot moves to another node.
            self._fail("Redis ended the subscription")
        _count_down(self._unsubscribing, name)

    def _fail(self, reason: str) -> None:
        if not self.lost.done():
            self.lost.set_result(StoreUnavailableError(STORE, reason))
        self.close()

    def _write(self, *words: str | bytes) -> None:
        if self._transport is not None:
            self._transport.write(_encode(words))


_MESSAGES = frozenset((b"message", b"smessage"))
_SUBSCRIBED = frozenset((b"subscribe", b"ssubscribe"))
_UNSUBSCRIBED = frozenset((b"unsubscribe", b"sunsubscribe"))


def _encode(words: Sequence[str | bytes]) -> bytes:
    """Return a command as Redis reads it (RESP 2)."""
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        content = word.encode() if isinstance(word, str) else word
        parts.append(b"$%d\r\n%b\r\n" % (len(content), content))
    return b"".join(parts)


def _count_down(answers: Counter[bytes], name: bytes) -> bool:
    """Return whether that was the last answer that was due."""
    answers[name] -= 1
    if answers[name] > 0:
        return False
    del answers[name]
    return True


async def connect(link: RedisLink, name: str, read_end: Callable[[], None]) -> Subscriber:
    """Connect to the master of our keys.

    Raises:
        StoreUnavailableError: nobody knows the master, or it does not answer in time.
    """
    endpoint = await link.locate()
    try:
        async with asyncio.timeout(link.timeout):
            return await _open(endpoint, link, name, read_end)
    except TimeoutError as error:
        raise StoreUnavailableError(STORE, f"no connection within {link.timeout} s") from error
    except OSError as error:
        raise StoreUnavailableError(STORE, str(error) or type(error).__name__) from error


async def _open(
    endpoint: Endpoint, link: RedisLink, name: str, read_end: Callable[[], None]
) -> Subscriber:
    loop = asyncio.get_running_loop()

    def protocol() -> Subscriber:
        return Subscriber(link, name, read_end)

    if endpoint.path is not None:
        _, subscriber = await loop.create_unix_connection(protocol, endpoint.path)
    else:
        _, subscriber = await loop.create_connection(
            protocol, endpoint.host, endpoint.port, ssl=link.address.ssl_context()
        )
    return subscriber
