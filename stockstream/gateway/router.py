"""Serves the table of routes: what reaches a handler has been found to be right."""

import asyncio
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

import msgspec
import structlog
from aiohttp import hdrs, web

from stockstream.engine.shell.address import TrustedProxies
from stockstream.errors import InvalidPayloadError, InvalidSymbolError, RefusedError
from stockstream.gateway.responses import error_response, refusal_response
from stockstream.gateway.routes import Call, Route
from stockstream.gateway.throttle import Throttle
from stockstream.wire.requests import named_problem

log = structlog.get_logger(__name__)

#: Longest part of what a client wrote that is repeated to it.
_SHOWN: Final = 64


class Router:
    """Checks requests against their routes, and counts what becomes of them."""

    def __init__(
        self,
        routes: Iterable[Route],
        *,
        proxies: TrustedProxies,
        throttle: Throttle,
        seconds: float,
    ) -> None:
        """Prepare to serve.

        Args:
            routes: all of them.
            proxies: whose word on a client's address is believed.
            throttle: how often an address may ask.
            seconds: that a request's body may take to arrive.
        """
        self.routes = tuple(routes)
        self._proxies = proxies
        self._throttle = throttle
        self._seconds = seconds
        #: Requests by route, and those refused by code.
        self.requests: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()

    def attach(self, app: web.Application) -> None:
        """Serve the routes from an application; those of GET answer HEAD too."""
        for route in self.routes:
            endpoint = _Endpoint(self, route)
            if route.method == hdrs.METH_GET:
                app.router.add_get(route.path, endpoint.answer)
            else:
                app.router.add_route(route.method, route.path, endpoint.answer)

    async def answer(self, route: Route, request: web.Request) -> web.StreamResponse:
        """Answer a request of a route."""
        self.requests[route.name] += 1
        address = self._proxies.address_of(request)
        if route.limited and (wait := self._throttle.take(address)):
            self.refused["rate_limited"] += 1
            return _too_fast(route, wait)
        try:
            call = Call(
                request=request,
                parameters=read_parameters(route, request),
                address=address,
                body=await self._read_body(route, request),
            )
        except RefusedError as error:
            return self._refuse(route, error)
        try:
            return await route.handler(call)
        except InvalidSymbolError as error:
            # It is written as symbols are, but there is none of that name.
            return self._refuse(route, error, 404)
        except RefusedError as error:
            return self._refuse(route, error)

    def _refuse(
        self, route: Route, error: RefusedError, status: int | None = None
    ) -> web.StreamResponse:
        self.refused[error.code] += 1
        log.debug("http_request_refused", route=route.name, code=error.code)
        return refusal_response(route.error_type, error, status=status)

    async def _read_body(self, route: Route, request: web.Request) -> Any:
        if route.body is None:
            return None
        try:
            async with asyncio.timeout(self._seconds):
                body = await request.read()
        except TimeoutError:
            raise InvalidPayloadError("the body took too long to arrive") from None
        try:
            return msgspec.json.decode(body, type=route.body)
        except msgspec.ValidationError as error:
            raise InvalidPayloadError(named_problem(error, "body")) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise InvalidPayloadError("body: not JSON") from None


class _Endpoint:
    """A route of a router."""

    def __init__(self, router: Router, route: Route) -> None:
        self._router = router
        self._route = route

    async def answer(self, request: web.Request) -> web.StreamResponse:
        return await self._router.answer(self._route, request)


def read_parameters(route: Route, request: web.Request) -> msgspec.Struct:
    """Return what path and query of a request say.

    Raises:
        RefusedError: they are not what the route takes; the message names the parameter.
    """
    values: dict[str, str] = dict(request.match_info)
    known = [each.encode_name for each in msgspec.structs.fields(route.parameters)]
    for name, value in request.query.items():
        shown = name[:_SHOWN]
        if name in request.match_info or name not in known:
            allowed = ", ".join(each for each in known if each not in request.match_info)
            raise InvalidPayloadError(f"{shown!r} is no parameter here: {allowed or 'none is'}")
        if name in values:
            raise InvalidPayloadError(f"{shown}: given more than once")
        values[name] = value
    try:
        return msgspec.convert(values, route.parameters, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidPayloadError(named_problem(error, "parameters")) from None


def _too_fast(route: Route, wait: float) -> web.Response:
    response = error_response(
        429, route.error_type, "rate_limited", "too many requests from this address"
    )
    response.headers[hdrs.RETRY_AFTER] = str(max(1, round(wait)))
    return response
