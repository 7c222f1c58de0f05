"""Alert rules and the dashboard ask for what a node really shows."""

import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import aiohttp
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.deploy.balancers import DEPLOY
from tests.support.processes import ROOT, Server

PROMETHEUS = DEPLOY / "prometheus"
RULES = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"][0]["rules"]
RULE_TESTS = ROOT / "tests" / "deploy" / "alerts.test.yml"
DASHBOARD = json.loads((DEPLOY / "grafana" / "stockstream.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]

#: Every expression of the rules and the dashboard, by what it is for.
EXPRESSIONS = {rule["alert"]: rule["expr"] for rule in RULES} | {
    f"{panel['title']} {target['refId']}": target["expr"]
    .replace("$__rate_interval", "1m")
    .replace("$instance", "a")
    for panel in PANELS
    for target in panel["targets"]
}
every_expression = pytest.mark.parametrize("expression", EXPRESSIONS.values(), ids=EXPRESSIONS)

#: Labels that Prometheus adds.
ADDED = {"instance", "job"}


class Page(NamedTuple):
    """The metrics that a node shows."""

    #: Names of all samples, also of those that have no value yet.
    names: set[str]
    #: The samples that have one: name and labels.
    samples: list[tuple[str, Mapping[str, str]]]


@pytest.fixture
async def page(shared_nodes: list[Server]) -> Page:
    """What a real node shows."""
    url = f"{shared_nodes[0].url}/metrics"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        families = list(text_string_to_metric_families(await response.text()))
    suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}
    names = {family.name + end for family in families for end in suffixes.get(family.type, ("",))}
    return Page(names, [(s.name, s.labels) for family in families for s in family.samples])


def promtool(*arguments: object) -> None:
    command = ["promtool", *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


@every_expression
def test_metrics_asked_for_exist(expression: str, page: Page) -> None:
    names = set(re.findall(r"\b(?:stockstream|process|python)_[a-z_]+", expression))
    assert names <= page.names
    assert names or "up{" in expression


@every_expression
def test_values_of_labels_asked_for_exist(expression: str, page: Page) -> None:
    for name, selector in re.findall(r"(\w+)\{([^}]*)\}", expression):
        for label, value in re.findall(r'(\w+)=~?"([^"]*)"', selector):
            for alternative in value.split("|") if label not in ADDED else []:
                pattern = re.compile(alternative)
                found = [v for n, v in page.samples if n == name and label in v]
                assert any(pattern.fullmatch(v[label]) for v in found), alternative


def test_configuration_and_rules_are_valid() -> None:
    promtool("check", "config", PROMETHEUS / "prometheus.yml")


def test_each_alert_fires_on_what_it_is_for_and_on_nothing_else() -> None:
    promtool("test", "rules", RULE_TESTS)


def test_each_alert_has_a_test_that_makes_it_fire() -> None:
    checks = [
        c for t in yaml.safe_load(RULE_TESTS.read_text())["tests"] for c in t["alert_rule_test"]
    ]
    alerts = {rule["alert"] for rule in RULES}
    assert {check["alertname"] for check in checks if "exp_alerts" in check} == alerts
    assert {check["alertname"] for check in checks if "exp_alerts" not in check} == alerts


def test_each_alert_is_explained_in_the_operations_guide() -> None:
    guide = (ROOT / "docs" / "operations.md").read_text()
    for rule in RULES:
        assert f"| `{rule['alert']}` |" in guide


def test_expressions_of_the_dashboard_are_valid(tmp_path: Path) -> None:
    rules = [{"record": "x", "expr": expression} for expression in EXPRESSIONS.values()]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("check", "rules", file)


def test_each_panel_names_its_unit_and_its_series() -> None:
    for panel in PANELS:
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert all(target["legendFormat"] for target in panel["targets"]), panel["title"]


def test_panels_lie_side_by_side_and_have_numbers_of_their_own() -> None:
    cells = [
        (x, y)
        for at in (panel["gridPos"] for panel in DASHBOARD["panels"])
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) == 23
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
