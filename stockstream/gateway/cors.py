"""Which web pages may ask over HTTP: the same that may connect by Socket.IO."""

from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import hdrs, web
from aiohttp.typedefs import Middleware

from stockstream.engine.shell.address import Origins
from stockstream.gateway.responses import error_response

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_API: Final = "/api/"
#: What scripts of other origins may read beside the body.
_EXPOSED: Final = "ETag, Link, Retry-After"


class Cors:
    """Tells browsers which pages may read answers, and refuses the others."""

    def __init__(self, origins: Origins) -> None:
        self._origins = origins
        #: Requests of pages that may not ask.
        self.refused = 0

    def attach(self, app: web.Application) -> None:
        """Guard everything under `/api/`."""
        app.middlewares.append(self.middleware())
        app.on_response_prepare.append(self._on_prepare)

    def middleware(self) -> Middleware:
        """Return what stands in front of the handlers."""

        @web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            if not request.path.startswith(_API):
                return await handler(request)
            if not self._origins.allows(request):
                self.refused += 1
                return error_response(
                    403, "http_error", "forbidden", "pages of this origin may not ask"
                )
            if _is_preflight(request):
                return web.Response(status=204, headers=self._origins.preflight_for(request))
            return await handler(request)

        return guard

    async def _on_prepare(self, request: web.Request, response: web.StreamResponse) -> None:
        if not request.path.startswith(_API) or not self._origins.allows(request):
            return
        headers = self._origins.headers_for(request)
        vary = [response.headers.get(hdrs.VARY), headers.pop(hdrs.VARY, None)]
        response.headers.update(headers)
        if any(vary):
            response.headers[hdrs.VARY] = ", ".join(filter(None, vary))
        if headers:
            response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = _EXPOSED


def _is_preflight(request: web.Request) -> bool:
    return (
        request.method == hdrs.METH_OPTIONS
        and hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers
    )
