"""The OpenAPI 3.1 description of the routes, made of the very table that they are served from."""

import re
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Any, Final

import msgspec

from stockstream import __version__
from stockstream.gateway.routes import JSON, Answer, Route
from stockstream.gateway.tokens import COOKIE
from stockstream.wire.parameters import NoParameters
from stockstream.wire.replies import ErrorReply

_REFERENCE: Final = "#/components/schemas/{name}"
_ERROR: Final = "Why not: `code` is for programs, `message` names what was wrong."
_DESCRIPTION: Final = """Prices, bars and the state of the service over HTTP.

All times are integer milliseconds since the Unix epoch (UTC). Errors are JSON,
`{type, code, message}`. Socket.IO clients connect to `/socket.io/`, which is not described here.
"""
#: With AUTH=jwt.
_SECURITY_SCHEMES: Final = {
    "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
    "cookie": {
        "type": "apiKey",
        "in": "cookie",
        "name": COOKIE,
        "description": "For what changes nothing.",
    },
}


def describe(routes: Iterable[Route]) -> dict[str, Any]:
    """Return the description as plain objects."""
    routes = list(routes)
    schemas = _Schemas(routes)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "stockstream", "version": __version__, "description": _DESCRIPTION},
        "paths": paths,
        "components": {"schemas": schemas.components, "securitySchemes": _SECURITY_SCHEMES},
        # Where AUTH=none nobody is asked: any will do, and none.
        "security": [{name: []} for name in _SECURITY_SCHEMES] + [{}],
    }


class _Schemas:
    """JSON Schemas of all that the routes take and give."""

    def __init__(self, routes: Sequence[Route]) -> None:
        types = [ErrorReply]
        for route in routes:
            types += [each.body for each in route.answers.values() if each.body is not None]
            types += [route.body] if route.body is not None else []
        found, self.components = msgspec.json.schema_components(types, ref_template=_REFERENCE)
        self._found = list(zip(types, found, strict=True))

    def of(self, kind: Any) -> dict[str, Any]:
        """Return the schema of one of those types."""
        return next(schema for known, schema in self._found if known == kind)


def _operation(route: Route, schemas: _Schemas) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.name,
        "tags": [route.tag],
        "summary": route.summary,
    }
    description = [route.description] if route.description else []
    if route.role is not None and not route.public:
        description.append(f"Needs the role `{route.role}` where a token is needed.")
    if description:
        operation["description"] = " ".join(description)
    if route.public:
        operation["security"] = []
    parameters = [*_parameters(route), *_headers(route)]
    if parameters:
        operation["parameters"] = parameters
    if route.body is not None:
        content = {JSON: {"schema": schemas.of(route.body)}}
        operation["requestBody"] = {"required": True, "content": content}
    answers = {str(status): _answer(each, schemas) for status, each in route.answers.items()}
    error = Answer(_ERROR, body=ErrorReply)
    for status in sorted(_errors(route)):
        described = Answer(f"{HTTPStatus(status).phrase}. {error.description}", body=ErrorReply)
        answers.setdefault(str(status), _answer(described, schemas))
    operation["responses"] = answers
    return operation


def _errors(route: Route) -> set[int]:
    # Every route refuses parameters that it does not know; pages of other origins may not ask.
    errors = {400, *route.errors}
    if not route.public:
        errors |= {401, 403, 429, 503}
    if route.path.startswith("/api/"):
        errors.add(403)
    if route.limited:
        errors.add(429)
    return errors


def _answer(answer: Answer, schemas: _Schemas) -> dict[str, Any]:
    described: dict[str, Any] = {"description": answer.description}
    if answer.body is not None:
        described["content"] = {answer.media_type: {"schema": schemas.of(answer.body)}}
    elif answer.media_type != JSON:
        described["content"] = {answer.media_type: {"schema": {"type": "string"}}}
    return described


def _parameters(route: Route) -> list[dict[str, Any]]:
    if route.parameters is NoParameters:
        return []
    in_path = set(re.findall(r"{(\w+)}", route.path))
    [_], components = msgspec.json.schema_components([route.parameters], ref_template=_REFERENCE)
    [schema] = [each for each in components.values() if "properties" in each]
    return [
        _parameter(name, dict(each), in_path, required=name in schema.get("required", ()))
        for name, each in schema["properties"].items()
    ]


def _parameter(
    name: str, schema: dict[str, Any], in_path: set[str], *, required: bool
) -> dict[str, Any]:
    described: dict[str, Any] = {"name": name, "in": "path" if name in in_path else "query"}
    if required:
        described["required"] = True
    text = schema.pop("description", "")
    if text:
        described["description"] = text
    examples = schema.pop("examples", [])
    if examples:
        described["examples"] = {str(each): {"value": each} for each in examples}
    # The comma of a list stays as it is.
    if described["in"] == "query" and schema.get("type") == "string":
        described["allowReserved"] = True
    return {**described, "schema": schema}


def _headers(route: Route) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "header", "description": text, "schema": {"type": "string"}}
        for name, text in route.headers.items()
    ]
