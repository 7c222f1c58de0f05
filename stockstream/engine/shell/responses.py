"""Answers that are no ordinary ones: refusals, and the last one on a connection."""

import json
from collections.abc import Mapping
from email.utils import formatdate
from http import HTTPStatus

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from stockstream.engine.errors import HandshakeRefused


class LastResponse(web.Response):
    """Ends the connection behind it, at once: the rest of a slow body is not waited for."""

    _answered: web.BaseRequest | None = None

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send the head."""
        self._answered = request
        return await super().prepare(request)

    async def write_eof(self, data: bytes = b"") -> None:
        """Send the body and let the connection go."""
        await super().write_eof(data)
        if self._answered is not None:
            self._answered.protocol.force_close()
            self._answered = None


def refusal_response(refusal: HandshakeRefused, headers: Mapping[str, str]) -> web.Response:
    """Return the answer to a refused request, in the shape that Node gives it."""
    kind = LastResponse if refusal.status == 408 else web.Response
    response = kind(
        status=refusal.status,
        body=_body_of(refusal),
        content_type="application/json",
        headers=headers,
    )
    if refusal.retry_after is not None:
        response.headers["Retry-After"] = str(refusal.retry_after)
    if refusal.status == 413:
        # What still comes is read for a while and dropped, so that the client sees the answer.
        response.force_close()
    return response


def refusal_bytes(refusal: HandshakeRefused, headers: Mapping[str, str]) -> bytes:
    """Return the same answer as bytes, as the last one on its connection."""
    body = _body_of(refusal)
    retry = {} if refusal.retry_after is None else {"Retry-After": str(refusal.retry_after)}
    own = {
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Date": formatdate(usegmt=True),
        "Connection": "close",
    }
    status = HTTPStatus(refusal.status)
    return _head(f"{status.value} {status.phrase}", own | retry | dict(headers)) + body


def switching_bytes(accept: str, extension: str | None, headers: Mapping[str, str]) -> bytes:
    """Return the head of the answer that makes a connection a WebSocket.

    Args:
        accept: Proves to the client that the server speaks WebSocket.
        extension: That was agreed on.
        headers: Further ones.
    """
    own = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": accept}
    if extension is not None:
        own["Sec-WebSocket-Extensions"] = extension
    return _head("101 Switching Protocols", own | dict(headers))


def _head(status: str, headers: Mapping[str, str]) -> bytes:
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    # What came in a header of the request may go out in one as it was.
    return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode("utf-8", "surrogateescape")


def _body_of(refusal: HandshakeRefused) -> bytes:
    return json.dumps({"code": refusal.number, "message": refusal.reason}).encode()
