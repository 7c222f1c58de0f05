"""``/api/docs``: the routes, described for people and for programs."""

from html import escape
from typing import Any, Final

import msgspec
from aiohttp import hdrs, web

from stockstream.gateway.openapi import describe
from stockstream.gateway.responses import conditional_response
from stockstream.gateway.routes import Answer, Call, Route
from stockstream.wire.parameters import NoParameters

_STYLE: Final = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 56rem; margin: 2rem auto; padding: 0 1rem }
h2 { margin-top: 3rem } h3 { margin-top: 2rem; font-family: ui-monospace, monospace }
table { border-collapse: collapse; width: 100% }
td { border-top: 1px solid #8884; padding: .3rem .8rem .3rem 0; vertical-align: top }
td:first-child { white-space: nowrap } pre { overflow-x: auto; background: #8881; padding: 1rem }
code, pre { font-family: ui-monospace, monospace; font-size: .9em }
@media (prefers-color-scheme: dark) { body { background: #111; color: #ddd } a { color: #8bf } }
"""


class ApiDocs:
    """Describes a table of routes, itself included."""

    def __init__(self) -> None:
        self._description: dict[str, Any] = {}
        self._page = ""

    def describe(self, routes: list[Route]) -> None:
        """Describe these from now on."""
        self._description = describe(routes)
        self._page = _page(self._description)

    def routes(self) -> list[Route]:
        """Return where the description is."""
        return [
            Route(
                name="docs",
                path="/api/docs",
                handler=self._docs,
                summary="This page; the description as JSON where `Accept` prefers that.",
                tag="description",
                answers={200: Answer("A page of HTML.", media_type="text/html")},
                public=True,
            ),
            Route(
                name="openapi",
                path="/api/docs/openapi.json",
                handler=self._openapi,
                summary="The OpenAPI description.",
                tag="description",
                answers={
                    200: Answer("OpenAPI 3.1.", body=dict[str, Any]),
                    304: Answer("The one that `If-None-Match` names."),
                },
                public=True,
            ),
        ]

    async def _docs(self, call: Call[NoParameters]) -> web.Response:
        accepted = call.request.headers.get(hdrs.ACCEPT, "")
        if "json" in accepted and "html" not in accepted:
            return await self._openapi(call)
        return web.Response(
            text=self._page,
            content_type="text/html",
            headers={
                hdrs.VARY: hdrs.ACCEPT,
                # Nothing on it runs, and nothing is fetched for it.
                "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
            },
        )

    async def _openapi(self, call: Call[NoParameters]) -> web.Response:
        return conditional_response(call.request, self._description)


def _page(description: dict[str, Any]) -> str:
    sections: dict[str, list[str]] = {}
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            part = _operation(method.upper(), path, operation)
            sections.setdefault(operation["tags"][0], []).append(part)
    info = description["info"]
    body = "".join(
        f"<h2>{escape(tag.capitalize())}</h2>{''.join(parts)}" for tag, parts in sections.items()
    )
    schemas = "".join(
        f'<h3 id="{escape(name)}">{escape(name)}</h3><p>{escape(schema.get("description", ""))}</p>'
        f"<pre>{escape(_pretty(schema.get('properties', schema)))}</pre>"
        for name, schema in description["components"]["schemas"].items()
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8">'
        f"<title>{escape(info['title'])} API</title><style>{_STYLE}</style>"
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1>"
        f"<p>{_inline(info['description'])}</p>"
        f'<p>For programs: <a href="/api/docs/openapi.json">openapi.json</a></p>'
        f"{body}<h2>Schemas</h2>{schemas}</html>"
    )


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    rows = [
        (each["name"] + (" *" if each.get("required") else ""), each["in"], _what(each))
        for each in operation.get("parameters", ())
    ]
    answers = [
        (status, "", _inline(answer["description"]) + _schema_link(answer))
        for status, answer in operation["responses"].items()
    ]
    return (
        f'<h3 id="{escape(operation["operationId"])}">{method} {escape(path)}</h3>'
        f"<p>{_inline(operation['summary'])}</p><p>{_inline(operation.get('description', ''))}</p>"
        f"<table>{''.join(_row(*each) for each in [*rows, *answers])}</table>"
    )


def _row(name: str, place: str, what: str) -> str:
    return f"<tr><td><code>{escape(name)}</code><td>{escape(place)}<td>{what}</tr>"


def _what(parameter: dict[str, Any]) -> str:
    schema = {k: v for k, v in parameter["schema"].items() if k != "pattern"}
    text = _inline(parameter.get("description", ""))
    return f"{text} <code>{escape(msgspec.json.encode(schema).decode())}</code>"


def _schema_link(answer: dict[str, Any]) -> str:
    links = []
    for media_type, content in answer.get("content", {}).items():
        reference = content["schema"].get("$ref") or content["schema"].get("items", {}).get("$ref")
        name = (reference or "").rpartition("/")[2]
        shown = f'<a href="#{escape(name)}">{escape(name)}</a>' if name else escape(media_type)
        links.append(f" {shown}" + ("[]" if "items" in content["schema"] else ""))
    return "".join(links)


def _pretty(value: object) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def _inline(text: str) -> str:
    """Return a little Markdown as HTML: code and paragraphs."""
    pieces = escape(text.strip()).replace("\n\n", "</p><p>").split("`")
    return "".join(f"<code>{p}</code>" if odd % 2 else p for odd, p in enumerate(pieces))
