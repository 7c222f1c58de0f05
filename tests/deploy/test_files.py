"""The files of deploy/ agree with the program, and with each other."""

import json
import re
import shutil
import subprocess
import sys
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml
from yarl import URL

from stockstream.config import Settings, load_settings
from tests.deploy.balancers import DEPLOY, rendered
from tests.support.ports import free_port
from tests.support.processes import ROOT, Server

KUBERNETES = DEPLOY / "kubernetes"
COMPOSE = yaml.safe_load((DEPLOY / "docker" / "compose.yaml").read_text())
DOCKERFILE = (DEPLOY / "docker" / "Dockerfile").read_text()
UNIT = DEPLOY / "systemd" / "stockstream.service"
PREFIX = "STOCKSTREAM_"

DEFAULTS = load_settings({})

#: Clients and everything else of a node: files, listening sockets, its own connections.
DESCRIPTORS = DEFAULTS.max_connections + 100

#: Seconds that nothing may be sent on a connection that is well.
SILENCE = DEFAULTS.ping_interval + DEFAULTS.ping_timeout


def manifest(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((KUBERNETES / f"{name}.yaml").read_text())
    return found


DEPLOYMENT = manifest("deployment")
POD = DEPLOYMENT["spec"]["template"]
CONTAINER = POD["spec"]["containers"][0]


def bytes_of(text: str) -> int:
    """Return the size that is written as 768m (Docker), 768M (systemd) or 768Mi (Kubernetes)."""
    return int(text.lower().rstrip("im")) * 1024**2


@pytest.mark.parametrize("file", [DEPLOY / "docker" / "compose.yaml", *KUBERNETES.glob("*.yaml")])
def test_each_setting_named_in_a_file_exists(file: Path) -> None:
    names = {name.lower() for name in re.findall(rf"\b{PREFIX}([A-Z_]+)\b", file.read_text())}
    # The service link that enableServiceLinks keeps away is a setting's name, too.
    assert names <= set(Settings.model_fields)


def test_values_of_settings_are_allowed() -> None:
    nodes = [COMPOSE["services"][f"node{n}"]["environment"] for n in (1, 2, 3)]
    for values in [*nodes, manifest("configmap")["data"]]:
        given = {key.removeprefix(PREFIX).lower(): value for key, value in values.items()}
        load_settings({key: value for key, value in given.items() if value and "$" not in value})


def test_a_node_has_time_to_drain_before_it_is_killed() -> None:
    at_least = DEFAULTS.shutdown_timeout
    stop = re.search(r"^TimeoutStopSec=(\d+)$", UNIT.read_text(), re.MULTILINE)
    before = int(CONTAINER["lifecycle"]["preStop"]["exec"]["command"][1])
    assert stop is not None
    assert int(stop[1]) > at_least
    assert int(COMPOSE["services"]["node1"]["stop_grace_period"].removesuffix("s")) > at_least
    assert POD["spec"]["terminationGracePeriodSeconds"] > before + at_least


def test_a_node_may_open_a_socket_for_each_client() -> None:
    unit = re.search(r"^LimitNOFILE=(\d+)$", UNIT.read_text(), re.MULTILINE)
    assert unit is not None
    assert int(unit[1]) > DESCRIPTORS
    assert COMPOSE["services"]["node1"]["ulimits"]["nofile"] > DESCRIPTORS


def test_a_node_alerts_before_its_memory_ends() -> None:
    unit = re.search(r"^MemoryMax=(\w+)$", UNIT.read_text(), re.MULTILINE)
    assert unit is not None
    limits = [unit[1], COMPOSE["services"]["node1"]["mem_limit"]]
    for limit in [*limits, CONTAINER["resources"]["limits"]["memory"]]:
        assert bytes_of(limit) > DEFAULTS.max_memory_mb * 1e6


def test_balancers_bear_the_silence_between_heartbeats() -> None:
    nginx = (DEPLOY / "nginx" / "stockstream.conf").read_text()
    haproxy = (DEPLOY / "haproxy" / "haproxy.cfg").read_text()
    timeouts = re.findall(r"proxy_(?:read|send)_timeout (\d+)s;", nginx)
    timeouts += re.findall(r"timeout (?:client|server|tunnel) (\d+)s$", haproxy, re.MULTILINE)
    assert len(timeouts) == 5
    assert all(int(seconds) > SILENCE for seconds in timeouts)


def test_balancers_close_idle_connections_before_the_nodes_do() -> None:
    nginx = (DEPLOY / "nginx" / "stockstream.conf").read_text()
    times = re.findall(r" keepalive_timeout (\d+)s;", nginx)
    assert times
    assert all(int(seconds) < DEFAULTS.header_timeout for seconds in times)


def test_files_that_compose_mounts_and_builds_exist() -> None:
    folder = DEPLOY / "docker"
    node = COMPOSE["services"]["node1"]["build"]
    paths = [folder / node["context"] / node["dockerfile"]]
    for service in COMPOSE["services"].values():
        sources = [volume.split(":")[0] for volume in service.get("volumes", [])]
        paths += [folder / source for source in sources if source.startswith(".")]
        named = {source for source in sources if not source.startswith(".")}
        assert named <= set(COMPOSE["volumes"])
    assert all(path.exists() for path in paths), paths


def test_compose_trusts_the_network_that_nginx_is_in() -> None:
    (config,) = COMPOSE["networks"]["private"]["ipam"]["config"]
    trusted = COMPOSE["services"]["node1"]["environment"]["STOCKSTREAM_TRUSTED_PROXIES"]
    assert trusted == config["subnet"]


def test_nodes_of_compose_keep_the_address_at_which_nginx_found_them() -> None:
    (config,) = COMPOSE["networks"]["private"]["ipam"]["config"]
    nodes = [COMPOSE["services"][f"node{n}"]["networks"]["private"] for n in (1, 2, 3)]
    addresses = {ip_address(node["ipv4_address"]) for node in nodes}
    assert len(addresses) == 3
    assert all(address in ip_network(config["subnet"]) for address in addresses)
    assert not any(address in ip_network(config["ip_range"]) for address in addresses)


def test_prometheus_asks_the_nodes_of_compose() -> None:
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    (targets,) = config["scrape_configs"][0]["static_configs"]
    hosts = {target.removesuffix(":8000") for target in targets["targets"]}
    assert hosts == {name for name in COMPOSE["services"] if name.startswith("node")}


def test_image_is_built_from_files_that_exist_and_are_let_in() -> None:
    ignore = (DEPLOY / "docker" / "Dockerfile.dockerignore").read_text().splitlines()
    for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert f"!{source}" in ignore
    # What may lie there beside the source, tens of megabytes of npm packages: the last word counts.
    assert ignore.index("stockstream/web") > ignore.index("!stockstream")


def test_health_check_of_the_image_tells_a_node_that_lives_from_none(
    shared_nodes: list[Server],
) -> None:
    (words,) = re.findall(r"^    CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)
    command = [sys.executable, *json.loads(words)[1:]]

    def status(port: object) -> int:
        # A proxy for what is far away is none for the node itself.
        env = {"STOCKSTREAM_PORT": str(port), "http_proxy": "http://127.0.0.1:1"}
        return subprocess.run(command, env=env, capture_output=True, check=False).returncode

    assert status(URL(shared_nodes[0].url).port) == 0
    assert status(free_port()) == 1


def test_image_writes_where_its_user_may() -> None:
    (folder,) = re.findall(r"\bSTATE_DIRECTORY=(\S+)", DOCKERFILE)
    assert re.search(rf"install .*--owner stockstream .*{folder}$", DOCKERFILE, re.MULTILINE)
    # SQLite puts what it sorts into the folder it was started in, where the rest is read-only.
    assert f"\nWORKDIR {folder}\n" in DOCKERFILE


def test_image_runs_as_nobody_special_and_so_does_the_pod() -> None:
    (user,) = re.findall(r"^USER (\d+):\d+$", DOCKERFILE, re.MULTILINE)
    assert int(user) == POD["spec"]["securityContext"]["runAsUser"] > 0


def test_kubernetes_objects_select_the_pods_of_the_deployment() -> None:
    labels = POD["metadata"]["labels"]
    assert DEPLOYMENT["spec"]["selector"]["matchLabels"] == labels
    assert manifest("service")["spec"]["selector"] == labels
    assert manifest("disruption-budget")["spec"]["selector"]["matchLabels"] == labels
    target = manifest("autoscaler")["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", DEPLOYMENT["metadata"]["name"])
    # Else Kubernetes itself sets STOCKSTREAM_PORT to an address.
    assert POD["spec"]["enableServiceLinks"] is False


def test_kustomization_names_every_manifest() -> None:
    files = {file.name for file in KUBERNETES.glob("*.yaml")} - {"kustomization.yaml"}
    assert set(manifest("kustomization")["resources"]) == files


def test_probes_ask_routes_that_a_node_has() -> None:
    kinds = ("startup", "liveness", "readiness")
    paths = {CONTAINER[f"{kind}Probe"]["httpGet"]["path"] for kind in kinds}
    assert paths == {"/healthz", "/readyz"}
    assert CONTAINER["readinessProbe"]["httpGet"]["path"] == "/readyz"


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_systemd_understands_its_unit(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    # The program has to exist for the check; any will do.
    unit.write_text(rendered(UNIT, {"/opt/stockstream/bin/stockstream": sys.executable}))
    command = ["systemd-analyze", "verify", "--man=no", str(unit)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout + result.stderr) == (0, "")
