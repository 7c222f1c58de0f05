"""Answers to HTTP requests."""

from hashlib import blake2b
from typing import Any, Final

import msgspec
from aiohttp import hdrs, web

from stockstream.errors import RefusedError

Headers = dict[str, str]

_encoder: Final = msgspec.json.Encoder()
#: Bytes below which compressing an answer costs more than it saves.
_WORTH_COMPRESSING: Final = 1_024
#: By code; every other refusal is the client's fault.
STATUS: Final = {
    "unauthorized": 401,
    "token_expired": 401,
    "forbidden": 403,
    "quota_exceeded": 403,
    "rate_limited": 429,
    "subscription_limit": 429,
    "too_large": 413,
    "unavailable": 503,
}


def json_response(payload: Any, status: int = 200) -> web.Response:
    """Return a response of anything that msgspec encodes."""
    return web.Response(
        body=_encoder.encode(payload), status=status, content_type="application/json"
    )


def conditional_response(request: web.Request, payload: Any) -> web.Response:
    """Do as :func:`json_response` does; 304 without a body where the client has it already."""
    body = _encoder.encode(payload)
    headers, is_known = condition(request, blake2b(body, digest_size=12).hexdigest())
    if is_known:
        return web.Response(status=304, headers=headers)
    response = web.Response(body=body, content_type="application/json", headers=headers)
    if len(body) >= _WORTH_COMPRESSING:
        response.headers[hdrs.VARY] = hdrs.ACCEPT_ENCODING
        response.enable_compression()
    return response


def condition(request: web.Request, digest: str) -> tuple[Headers, bool]:
    """Return the headers of an answer of that digest, and whether the client has it already."""
    tag = f'"{digest}"'
    # Weak: the same answer may leave compressed or not. It may be kept, but must be asked for each
    # time: prices change at any moment.
    headers: Headers = {hdrs.ETAG: f"W/{tag}", hdrs.CACHE_CONTROL: "no-cache"}
    return headers, _matches(request.headers.getall(hdrs.IF_NONE_MATCH, ()), tag)


def _matches(fields: Any, tag: str) -> bool:
    # None of ours has a comma in it, so what is split wrongly is no match.
    tags = [each.strip().removeprefix("W/") for field in fields for each in field.split(",")]
    return "*" in tags or tag in tags


def error_response(status: int, kind: str, code: str, message: str) -> web.Response:
    """Return an error in the shape that the contract gives all errors (section 2)."""
    return json_response({"type": kind, "code": code, "message": message}, status)


def refusal_response(
    kind: str, error: RefusedError, *, status: int | None = None, retry_after: int = 1
) -> web.Response:
    """Return why a request was refused.

    Args:
        kind: ``type`` of the error.
        error: why.
        status: of HTTP; None: as its code says.
        retry_after: seconds after which it may be tried again, where that may help.
    """
    status = status or STATUS.get(error.code, 400)
    response = error_response(status, kind, error.code, str(error))
    if error.retryable:
        response.headers[hdrs.RETRY_AFTER] = str(retry_after)
    if response.status == 401:
        response.headers[hdrs.WWW_AUTHENTICATE] = 'Bearer realm="stockstream"'
    return response
