"""Who sent an HTTP request."""

from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Middleware

from stockstream.model.identity import LOCAL_USER, Identity

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

#: What handlers find the sender of a request under.
IDENTITY: Final = web.RequestKey("identity", Identity)


def identified() -> Middleware:
    """Return the middleware that says of each request who sent it."""

    @web.middleware
    async def identify(request: web.Request, handler: Handler) -> web.StreamResponse:
        request[IDENTITY] = LOCAL_USER
        return await handler(request)

    return identify
