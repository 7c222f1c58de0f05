"""The head of a WebSocket handshake, read without aiohttp."""

import re
from collections.abc import Mapping
from typing import Final, Protocol
from urllib.parse import parse_qsl

from aiohttp import hdrs
from multidict import CIMultiDict, MultiMapping

#: A request of RFC 9112 without anything unusual: origin form, HTTP/1.1, no folded or empty line.
_PLAIN: Final = re.compile(
    rb"GET ([!\"$-~]+) HTTP/1\.1"
    rb"((?:\r\n[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\x00-\x08\x0a-\x1f\x7f]*)+)"
)
#: With one of these a request has a body, or wants to hear something before its answer.
_UNUSUAL: Final = (hdrs.CONTENT_LENGTH, hdrs.TRANSFER_ENCODING, hdrs.EXPECT)


class Head(Protocol):
    """What decides about a handshake, whoever has read it: an aiohttp request has all of it."""

    @property
    def path_qs(self) -> str:
        """Path and query, as they were sent."""

    @property
    def query(self) -> Mapping[str, str]:
        """The parameters of the query."""

    @property
    def headers(self) -> MultiMapping[str]:
        """The headers."""

    @property
    def remote(self) -> str | None:
        """Address of the peer."""


class HandshakeHead:
    """A request that wants to become a WebSocket; a `Head`.

    Attributes:
        path_qs, query, headers, remote: see `Head`.
        lines: Its headers as they were sent, one a line.
        scheme: `http` or `https`.
    """

    __slots__ = ("headers", "lines", "path_qs", "query", "remote", "scheme")

    def __init__(self, target: str, lines: bytes, remote: str, scheme: str) -> None:
        self.path_qs = target
        self.lines = lines
        self.remote: str | None = remote
        self.scheme = scheme
        # The first one counts, as aiohttp has it.
        self.query: Mapping[str, str] = dict(
            reversed(parse_qsl(target.partition("?")[2], keep_blank_values=True))
        )
        self.headers: CIMultiDict[str] = CIMultiDict(
            [
                (name, value.strip(" \t"))
                for name, _, value in (
                    line.partition(":")
                    for line in lines.decode("utf-8", "surrogateescape").split("\r\n")
                )
            ]
        )


def read_head(start: bytes, remote: str, scheme: str) -> HandshakeHead | None:
    """Return the head of a plain WebSocket handshake.

    Args:
        start: All up to the empty line.
        remote: Address of the peer.
        scheme: `http` or `https`.

    Returns:
        None for every other request, and for all that is unusual about this one: aiohttp knows
        what to do about it.
    """
    plain = _PLAIN.fullmatch(start)
    if plain is None:
        return None
    target, lines = plain.groups()
    head = HandshakeHead(target.decode("ascii"), lines[2:], remote, scheme)
    headers = head.headers
    if (
        not asks_for_websocket(head)
        or len(headers.getall(hdrs.HOST, ())) != 1
        or any(name in headers for name in _UNUSUAL)
    ):
        return None
    return head


def asks_for_websocket(head: Head) -> bool:
    """Whether a request wants to become a WebSocket (RFC 6455, 4.2.1)."""
    headers = head.headers
    return (
        headers.get(hdrs.UPGRADE, "").strip().lower() == "websocket"
        and "upgrade" in headers.get(hdrs.CONNECTION, "").lower()
    )
