"""What a route is. One table of them is served, checked against, and described.

To add a route:

1. Write a struct of its parameters in :mod:`stockstream.wire.parameters`, those in the path and
   those in the query alike: types and bounds are checked before the handler is called, parameters
   that it does not name or that come twice are refused, and a ``__post_init__`` may raise any
   :class:`stockstream.errors.RefusedError` for what types can't say.
2. Write a handler, ``async def handler(call: Call[MyParameters]) -> web.StreamResponse``. It
   answers with :func:`stockstream.gateway.responses.json_response` or a relative of it, and raises
   a :class:`RefusedError` to refuse; its code decides the status.
3. Return a :class:`Route` of both from the ``routes()`` of its door, and see to it that the door is
   among those of :meth:`stockstream.app.Node.web_app`.

The rest follows: HEAD, CORS, the limit of requests a second, errors as JSON, metrics, and its place
in ``/api/docs``. A route with a ``body`` gets it decoded in ``call.body``.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Final, Generic, Protocol, TypeVar

import msgspec
from aiohttp import web

from stockstream.model.identity import UserRole
from stockstream.wire.parameters import NoParameters

P = TypeVar("P", bound=msgspec.Struct)

JSON: Final = "application/json"
TEXT: Final = "text/plain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[P]):
    """One request that was found to be right."""

    request: web.Request
    parameters: P
    #: The client's own address, behind trusted proxies.
    address: str
    #: Of the type that the route says; None where it takes none.
    body: Any = None


Handler = Callable[[Call[Any]], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a status of a route means."""

    description: str
    _: KW_ONLY
    #: Type of the body, as msgspec knows it; None where it is not JSON.
    body: Any = None
    media_type: str = JSON


class Door(Protocol):
    """Something that can be asked over HTTP."""

    def routes(self) -> list["Route"]:
        """Return what there is to be asked."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A method of a path, and all that there is to say about it."""

    #: Of the operation: in metrics, logs, and generated clients.
    name: str
    #: As aiohttp writes it: ``/api/bars/{symbol}``.
    path: str
    handler: Handler
    #: What it does, in a line; and what else is to be known, in Markdown.
    summary: str
    description: str = ""
    #: Under which heading it is described.
    tag: str = "quotes"
    method: str = "GET"
    parameters: type[msgspec.Struct] = NoParameters
    #: Type of the request's body; None: it takes none.
    body: Any = None
    #: By status.
    answers: Mapping[int, Answer]
    #: Statuses of errors beside those that every route has.
    errors: frozenset[int] = frozenset()
    #: Whether it counts against what an address may ask a second.
    limited: bool = True
    #: Whether it answers anybody, also where a token is needed elsewhere.
    public: bool = False
    #: What one has to be; None: anybody who says who he is.
    role: UserRole | None = None
    #: Header fields of requests that it knows, and what they mean.
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def error_type(self) -> str:
        """The ``type`` of its errors: ``bars_error`` for all below ``/api/bars``."""
        return f"{self.path.removeprefix('/api').split('/')[1] or self.name}_error"
