"""Where a token may be found; never in an address, which others log."""

from typing import Any, Final

from aiohttp import web

from stockstream.engine import Environ
from stockstream.errors import UnauthorizedError

#: For pages that read by ways to which no header can be added, such as `EventSource`.
COOKIE: Final = "stockstream_token"
#: Methods that change nothing.
_SAFE: Final = frozenset({"GET", "HEAD"})


def token_of_connect(environ: Environ | None, auth: Any) -> object:
    """Return the token of a Socket.IO CONNECT, None where there is none.

    Never a cookie: browsers send it along whatever page it is that connects.

    Raises:
        UnauthorizedError: the header is of another kind.
    """
    token = auth.get("token") if isinstance(auth, dict) else None
    if token is None and environ is not None:
        return _bearer(environ.get("HTTP_AUTHORIZATION"))
    return token


def token_of_request(request: web.Request) -> str | None:
    """Return the token of an HTTP request, None where there is none.

    A cookie is taken for what changes nothing only: browsers send it along whatever page it is
    that asks.

    Raises:
        UnauthorizedError: the header is of another kind.
    """
    headers = request.headers.getall("Authorization", ())
    token = _bearer(",".join(headers)) if headers else None
    if token is None and request.method in _SAFE:
        return request.cookies.get(COOKIE)
    return token


def _bearer(header: str | None) -> str | None:
    if header is None:
        return None
    scheme, _, token = header.strip().partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise UnauthorizedError("the header Authorization must be: Bearer <token>")
    return token.strip()
