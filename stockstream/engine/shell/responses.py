"""Answers that are no ordinary ones: refusals, and the last one on a connection."""

import json
from collections.abc import Mapping

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
        body=json.dumps({"code": refusal.number, "message": refusal.reason}).encode(),
        content_type="application/json",
        headers=headers,
    )
    if refusal.retry_after is not None:
        response.headers["Retry-After"] = str(refusal.retry_after)
    if refusal.status == 413:
        # What still comes is read for a while and dropped, so that the client sees the answer.
        response.force_close()
    return response
