"""Who sent an HTTP request, and whether it may (RFC 6750)."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Middleware

from stockstream.errors import ForbiddenError, RefusedError
from stockstream.gateway.authentication import Authenticator
from stockstream.gateway.responses import refusal_response
from stockstream.gateway.routes import Route
from stockstream.gateway.tokens import token_of_request
from stockstream.model.identity import Identity

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

#: What handlers find the sender of a request under.
IDENTITY: Final = web.RequestKey("identity", Identity)
#: Seconds after which who was refused for now may try again.
_RETRY_AFTER: Final = 5


def identified(
    authenticator: Authenticator,
    address_of: Callable[[web.Request], str],
    routes: Iterable[Route],
    asking: Iterable[str],
) -> Middleware:
    """Return the middleware that lets only those in who say who they are, and may.

    A path that is not among these is for those who say who they are. Handlers of public routes find
    nobody under :data:`IDENTITY` where tokens are needed elsewhere.

    Args:
        authenticator: says whose a token is.
        address_of: returns the address that a request came from.
        routes: with what each of them demands.
        asking: paths that ask for a token by themselves.
    """
    known = {(route.method, route.path): route for route in routes}
    free = set(asking)

    @web.middleware
    async def identify(request: web.Request, handler: Handler) -> web.StreamResponse:
        resource = request.match_info.route.resource
        # What is not there, and what browsers ask beforehand, needs no token either.
        if resource is None or resource.canonical in free or request.method == "OPTIONS":
            return await handler(request)
        method = "GET" if request.method == "HEAD" else request.method
        route = known.get((method, resource.canonical))
        if authenticator.required and route is not None and route.public:
            return await handler(request)
        try:
            token = token_of_request(request) if authenticator.required else None
            identity = await authenticator.identify(token, address_of(request))
            if route is not None and not identity.may(route.role):
                raise ForbiddenError(f"the role {route.role} is needed for this")
        except RefusedError as error:
            kind = route.error_type if route is not None else "http_error"
            return refusal_response(kind, error, retry_after=_RETRY_AFTER)
        request[IDENTITY] = identity
        return await handler(request)

    return identify
