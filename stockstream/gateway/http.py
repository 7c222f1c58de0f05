"""The HTTP door: health, metrics, statistics."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import structlog
from aiohttp import web

from stockstream.gateway.responses import error_response, json_response
from stockstream.gateway.routes import TEXT, Answer, Call, Route
from stockstream.model import Alert, PerformanceMetrics
from stockstream.model.identity import UserRole
from stockstream.wire.parameters import ClientParameters, NoParameters

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
log = structlog.get_logger(__name__)

#: Of statuses that aiohttp answers with by itself.
_CODES: Final = {404: "not_found", 413: "too_large"}

_INDEX: Final = """stockstream: real-time stock quotes for Socket.IO clients.

/socket.io/           connect a Socket.IO client here
/socket.io-msgpack/   the same with socket.io-msgpack-parser
/api/docs             every other address, described
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


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """That the process lives."""

    status: str


class DependencyState(msgspec.Struct, frozen=True, kw_only=True):
    """See :class:`Dependency`."""

    ready: bool
    required: bool
    state: str


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a node can serve."""

    status: str
    #: By name.
    dependencies: dict[str, DependencyState]


class Statistics(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What `/api/stats` tells (documented, sections 3.2, 4.1 and 7.1); there may be more."""

    node_id: str
    connected_clients: int
    #: By event, clients; by symbol, subscriptions; by symbol, whether a price is known.
    subscriptions: dict[str, int]
    active_subscriptions: dict[str, int]
    streaming: dict[str, bool]
    metrics: PerformanceMetrics | None
    average_metrics: PerformanceMetrics | None
    alerts: list[Alert]


class ClientStatistics(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What is told of one client; there may be more."""

    client_id: str
    #: In ms since the epoch, and in ms.
    connected_at: int
    connection_duration: int
    subscriptions: list[str]
    transport: str
    remote_address: str
    messages_out: int
    bytes_out: int
    #: Updates replaced by later ones, and what came too late, because it reads slowly.
    conflated: int
    dropped: int


@web.middleware
async def errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer in JSON also where no route, or no method of it, was met, or a handler crashed."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        code = _CODES.get(error.status, "invalid_request")
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
        metrics_public: bool,
    ) -> None:
        self._dependencies = dependencies
        self._statistics = statistics
        self._client_info = client_info
        self._metrics = metrics
        self._metrics_public = metrics_public

    def routes(self) -> list[Route]:
        """Return what there is to be asked."""
        return [
            Route(
                name="index",
                path="/",
                handler=self._index,
                summary="What this is, for a person.",
                tag="operations",
                answers={200: Answer("A page of text.", media_type=TEXT)},
                limited=False,
                public=True,
            ),
            Route(
                name="healthz",
                path="/healthz",
                handler=self._healthz,
                summary="Whether the process lives.",
                tag="operations",
                answers={200: Answer("It does.", body=Health)},
                limited=False,
                public=True,
            ),
            Route(
                name="readyz",
                path="/readyz",
                handler=self._readyz,
                summary="Whether this node can serve, and the state of each thing it depends on.",
                tag="operations",
                answers={
                    200: Answer("It can.", body=Readiness),
                    503: Answer("It can't, or is shutting down.", body=Readiness),
                },
                limited=False,
                public=True,
            ),
            Route(
                name="metrics",
                path="/metrics",
                handler=self._metrics_page,
                summary="Metrics for Prometheus.",
                tag="operations",
                answers={200: Answer("Prometheus text.", media_type=TEXT)},
                limited=False,
                public=self._metrics_public,
                role=UserRole.OPS,
            ),
            Route(
                name="stats",
                path="/api/stats",
                handler=self._stats,
                summary="Clients, subscriptions, streams and measurements of this node.",
                tag="operations",
                answers={200: Answer("As of now.", body=Statistics)},
                role=UserRole.OPS,
            ),
            Route(
                name="client_stats",
                path="/api/stats/clients/{client_id}",
                handler=self._stats_of_client,
                summary="One client of this node.",
                tag="operations",
                parameters=ClientParameters,
                answers={200: Answer("As of now.", body=ClientStatistics)},
                role=UserRole.OPS,
                errors=frozenset({404}),
            ),
        ]

    async def _index(self, call: Call[NoParameters]) -> web.Response:
        """Tell a person who opened the address in a browser what this is."""
        return web.Response(text=_INDEX)

    async def _healthz(self, call: Call[NoParameters]) -> web.Response:
        return json_response(Health(status="ok"))

    async def _readyz(self, call: Call[NoParameters]) -> web.Response:
        dependencies = await self._dependencies()
        ready = all(each.ready or not each.required for each in dependencies)
        body = Readiness(
            status="ready" if ready else "not ready",
            dependencies={
                each.name: DependencyState(
                    ready=each.ready, required=each.required, state=each.state
                )
                for each in dependencies
            },
        )
        return json_response(body, 200 if ready else 503)

    async def _metrics_page(self, call: Call[NoParameters]) -> web.Response:
        return web.Response(body=self._metrics(), content_type="text/plain", charset="utf-8")

    async def _stats(self, call: Call[NoParameters]) -> web.Response:
        return json_response(self._statistics())

    async def _stats_of_client(self, call: Call[ClientParameters]) -> web.Response:
        info = self._client_info(call.parameters.client_id)
        if info is None:
            return error_response(404, "stats_error", "not_found", "there is no such client here")
        return json_response(info)
