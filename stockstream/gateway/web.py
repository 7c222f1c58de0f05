"""All that this node says over plain HTTP, as one part of its application."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from stockstream.engine.shell.address import Origins, TrustedProxies
from stockstream.gateway.api_docs import ApiDocs
from stockstream.gateway.cors import Cors
from stockstream.gateway.router import Router
from stockstream.gateway.routes import Door
from stockstream.gateway.throttle import Throttle
from stockstream.ports import Clock

#: Seconds' worth of requests that an address may send at once after a quiet while.
_BURST_SECONDS: Final = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSettings:
    """Who may ask, and how often."""

    #: Origins of pages that may ask; empty: the same origin only; `*`: any.
    cors_origins: tuple[str, ...]
    #: Networks whose forwarded headers are believed.
    trusted_proxies: tuple[str, ...]
    #: Of one address, over time.
    requests_per_second: float
    #: Within which the body of a request must have arrived.
    body_seconds: float


class WebDoor:
    """The routes of all doors, and who may use them."""

    def __init__(self, doors: Sequence[Door], settings: WebSettings, clock: Clock) -> None:
        """Put the doors together; their routes describe themselves under `/api/docs`."""
        proxies = TrustedProxies(settings.trusted_proxies)
        origins = settings.cors_origins
        allowed = "*" if "*" in origins else (list(origins) or None)
        self.cors = Cors(Origins(allowed, None, proxies))
        docs = ApiDocs()
        routes = [route for door in (*doors, docs) for route in door.routes()]
        docs.describe(routes)
        rate = settings.requests_per_second
        self.router = Router(
            routes,
            proxies=proxies,
            throttle=Throttle(rate, max(1.0, _BURST_SECONDS * rate), clock.monotonic),
            seconds=settings.body_seconds,
        )

    def attach(self, app: web.Application) -> None:
        """Serve from an application."""
        self.cors.attach(app)
        self.router.attach(app)
