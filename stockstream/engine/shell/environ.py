"""What connect handlers learn about a client, in the WSGI terms of python-socketio."""

import sys
from collections.abc import Iterator, MutableMapping
from typing import Any, Self

from aiohttp import web

from stockstream.engine.shell.head import HandshakeHead


class Environ(MutableMapping[str, Any]):
    """A WSGI environment that is only built when somebody looks into it.

    Has what python-socketio's aiohttp driver gives: `REQUEST_METHOD`, `QUERY_STRING`,
    `PATH_INFO`, `HTTP_*` headers and so on. `REMOTE_ADDR` is the client's real address.
    `aiohttp.request` is there until the first connect handler has returned: afterwards the
    request is let go, as an idle client should not cost a request. A handshake that has not gone
    through aiohttp has none. Keys that handlers set stay.

    Args:
        target: Path and query of the request that opened the session.
        lines: Its headers, one a line. One object of bytes: an idle client keeps nothing else.
        address: Of the client.
        scheme: `http` or `https`.
    """

    __slots__ = ("_address", "_built", "_changed", "_lines", "_request", "_scheme", "_target")

    def __init__(self, target: str, lines: bytes, address: str, scheme: str) -> None:
        self._request: web.BaseRequest | None = None
        self._address = address
        self._scheme = scheme
        self._target = target
        self._lines = lines
        self._built: dict[str, Any] | None = None
        self._changed = False

    @classmethod
    def of_request(cls, request: web.BaseRequest, address: str) -> Self:
        """Return that of a client which came through aiohttp."""
        lines = b"\r\n".join([b"%b:%b" % pair for pair in request.raw_headers])
        environ = cls(request.path_qs, lines, address, request.scheme)
        environ._request = request
        return environ

    @classmethod
    def of_head(cls, head: HandshakeHead, address: str) -> Self:
        """Return that of a client which did not."""
        return cls(head.path_qs, head.lines, address, head.scheme)

    def release(self) -> None:
        """Let the request go, and what can be built again."""
        self._request = None
        if self._built is not None:
            self._built.pop("aiohttp.request", None)
            self._built.pop("wsgi.input", None)
            if not self._changed:
                self._built = None

    def __getitem__(self, key: str) -> Any:
        return self._values()[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._changed = True
        self._values()[key] = value

    def __delitem__(self, key: str) -> None:
        self._changed = True
        del self._values()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values())

    def __len__(self) -> int:
        return len(self._values())

    def _values(self) -> dict[str, Any]:
        if self._built is None:
            self._built = self._build()
        return self._built

    def _build(self) -> dict[str, Any]:
        path, _, query = self._target.partition("?")
        values: dict[str, Any] = {
            "wsgi.errors": sys.stderr,
            "wsgi.version": (1, 0),
            "wsgi.async": True,
            "wsgi.multithread": False,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
            "SERVER_SOFTWARE": "aiohttp",
            "SERVER_NAME": "aiohttp",
            "SERVER_PORT": "0",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REQUEST_METHOD": "GET",
            "SCRIPT_NAME": "",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "RAW_URI": self._target,
            "REMOTE_ADDR": self._address,
            "REMOTE_PORT": "0",
            "wsgi.url_scheme": self._scheme,
        }
        self._add_headers(values)
        if self._request is not None:
            values["wsgi.input"] = self._request.content
            values["aiohttp.request"] = self._request
        return values

    def _add_headers(self, values: dict[str, Any]) -> None:
        for line in self._lines.split(b"\r\n"):
            name, _, raw = line.decode("utf-8", "surrogateescape").partition(":")
            key = name.upper().replace("-", "_")
            if key not in {"CONTENT_TYPE", "CONTENT_LENGTH"}:
                key = "HTTP_" + key
            value = raw.strip(" \t")
            values[key] = f"{values[key]},{value}" if key in values else value
