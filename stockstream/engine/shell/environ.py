"""What connect handlers learn about a client, in the WSGI terms of python-socketio."""

import sys
from collections.abc import Iterator, MutableMapping
from typing import Any

from aiohttp import web


class Environ(MutableMapping[str, Any]):
    """A WSGI environment that is only built when somebody looks into it.

    Has what python-socketio's aiohttp driver gives: `REQUEST_METHOD`, `QUERY_STRING`,
    `PATH_INFO`, `HTTP_*` headers and so on. `REMOTE_ADDR` is the client's real address.
    `aiohttp.request` is there until the first connect handler has returned: afterwards the
    request is let go, as an idle client should not cost a request. Keys that handlers set stay.

    Args:
        request: That opened the session.
        address: Of the client.
    """

    __slots__ = ("_address", "_built", "_changed", "_head", "_request", "_target")

    def __init__(self, request: web.BaseRequest, address: str) -> None:
        self._request: web.BaseRequest | None = request
        self._address = address
        self._target = request.path_qs
        # One object of bytes for all headers: an idle client keeps nothing else.
        self._head = b"\r\n".join([b"%b:%b" % pair for pair in request.raw_headers])
        self._built: dict[str, Any] | None = None
        self._changed = False

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
            "wsgi.url_scheme": "http",
        }
        self._add_headers(values)
        if self._request is not None:
            values["wsgi.url_scheme"] = self._request.scheme
            values["wsgi.input"] = self._request.content
            values["aiohttp.request"] = self._request
        return values

    def _add_headers(self, values: dict[str, Any]) -> None:
        for line in self._head.split(b"\r\n"):
            name, _, value = line.decode("utf-8", "surrogateescape").partition(":")
            key = name.upper().replace("-", "_")
            if key not in {"CONTENT_TYPE", "CONTENT_LENGTH"}:
                key = "HTTP_" + key
            values[key] = f"{values[key]},{value}" if key in values else value
