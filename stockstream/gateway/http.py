"""The HTTP door: health, metrics, statistics."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import structlog
from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
log = structlog.get_logger(__name__)
_encoder: Final = msgspec.json.Encoder()

_INDEX: Final = """stockstream: real-time stock quotes for Socket.IO clients.

/socket.io/           connect a Socket.IO client here
/socket.io-msgpack/   the same with socket.io-msgpack-parser
/api/stats            clients, subscriptions, streams, measurements
/healthz  /readyz     whether it lives, whether it can serve
/metrics              for Prometheus
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependency:
    """Something that this node needs in order to serve."""

    name: str
    #: Whether it can be used.
    ready: bool
    #: What state it is in, as a word or a sentence.
    state: str
    #: Whether the node can't serve without it; others are named, and do no harm.
    required: bool = True


def json_response(payload: Any, status: int = 200) -> web.Response:
    """Return a response of anything that msgspec encodes."""
    return web.Response(
        body=_encoder.encode(payload), status=status, content_type="application/json"
    )


def error_response(status: int, kind: str, code: str, message: str) -> web.Response:
    """Return an error in the shape that the contract gives all errors (section 2)."""
    return json_response({"type": kind, "code": code, "message": message}, status)


@web.middleware
async def errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer in JSON also where no route, or no method of it, was met, or a handler crashed."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        code = "not_found" if error.status == 404 else "invalid_request"
        response = error_response(error.status, "http_error", code, error.reason)
        if "Allow" in error.headers:
            response.headers["Allow"] = error.headers["Allow"]
        return response
    except Exception:
        if request.writer.output_size:
            # Too late for another answer: aiohttp ends the connection.
            raise
        # The border of the request.
        log.exception("request_failed", path=request.path)
        return error_response(500, "http_error", "internal", "this request failed")


class HttpDoor:
    """The routes of this node's own state (contract, section 2)."""

    def __init__(
        self,
        *,
        dependencies: Callable[[], Awaitable[list[Dependency]]],
        statistics: Callable[[], Mapping[str, Any]],
        client_info: Callable[[str], Mapping[str, Any] | None],
        metrics: Callable[[], bytes],
    ) -> None:
        self._dependencies = dependencies
        self._statistics = statistics
        self._client_info = client_info
        self._metrics = metrics

    def add_routes(self, app: web.Application) -> None:
        """Add the routes to an application."""
        app.add_routes(
            [
                web.get("/", self._index),
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._metrics_page),
                web.get("/api/stats", self._stats),
                web.get("/api/stats/clients/{client_id}", self._stats_of_client),
            ]
        )

    async def _index(self, request: web.Request) -> web.Response:
        """Tell a person who opened the address in a browser what this is."""
        return web.Response(text=_INDEX)

    async def _healthz(self, request: web.Request) -> web.Response:
        return json_response({"status": "ok"})

    async def _readyz(self, request: web.Request) -> web.Response:
        dependencies = await self._dependencies()
        ready = all(each.ready or not each.required for each in dependencies)
        body = {
            "status": "ready" if ready else "not ready",
            "dependencies": {
                each.name: {"ready": each.ready, "required": each.required, "state": each.state}
                for each in dependencies
            },
        }
        return json_response(body, 200 if ready else 503)

    async def _metrics_page(self, request: web.Request) -> web.Response:
        return web.Response(body=self._metrics(), content_type="text/plain", charset="utf-8")

    async def _stats(self, request: web.Request) -> web.Response:
        return json_response(self._statistics())

    async def _stats_of_client(self, request: web.Request) -> web.Response:
        client_id = request.match_info["client_id"]
        info = self._client_info(client_id)
        if info is None:
            return error_response(404, "stats_error", "not_found", "there is no such client here")
        return json_response(info)
