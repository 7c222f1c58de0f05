"""The description of the routes: complete, valid, and true."""

from stockstream.model import Timeframe
from tests.gateway.nodes import running


async def test_every_route_is_described() -> None:
    async with running() as node:
        _, described = await node.get("/api/docs/openapi.json")
        served = {
            (route.method, route.resource.canonical)
            for route in node.node.web_app().router.routes()
            if route.resource is not None and route.method not in {"*", "HEAD"}
        }
    assert served == {
        (method.upper(), path) for path, methods in described["paths"].items() for method in methods
    }
    assert {"/api/quotes", "/api/history/{symbol}", "/api/bars/{symbol}"} <= set(described["paths"])
    assert {"/healthz", "/readyz", "/metrics", "/api/stats"} <= set(described["paths"])


async def test_the_description_says_what_is_checked() -> None:
    async with running() as node:
        _, described = await node.get("/api/docs/openapi.json")
    bars = described["paths"]["/api/bars/{symbol}"]["get"]
    parameters = {each["name"]: each for each in bars["parameters"]}
    assert parameters["symbol"]["in"] == "path"
    assert parameters["symbol"]["required"] is True
    assert parameters["timeframe"]["schema"]["enum"] == list(Timeframe)
    assert parameters["limit"]["schema"] == {
        "type": "integer",
        "minimum": 1,
        "maximum": 100_000,
        "default": 100,
    }
    assert {"200", "304", "400", "404", "429", "503"} <= set(bars["responses"])


async def test_the_page_for_people_needs_nothing_from_elsewhere() -> None:
    async with running() as node, node.http.get(node.url + "/api/docs") as response:
        page = await response.text()
        assert response.content_type == "text/html"
    assert "/api/bars/{symbol}" in page
    assert "<script" not in page
    assert "://" not in page


async def test_programs_get_the_description_from_the_same_address() -> None:
    async with running() as node:
        headers = {"Accept": "application/json"}
        async with node.http.get(node.url + "/api/docs", headers=headers) as response:
            assert (await response.json())["openapi"] == "3.1.0"
