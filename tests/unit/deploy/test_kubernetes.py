"""The manifests: objects that are named are there, probes ask what answers, and no secret is in them."""

import re
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
import yaml
from starlette.routing import Route
from tests.unit.deploy.parts import (
    KUBERNETES,
    Process,
    image_environment,
    kubernetes_processes,
    manifests,
    of_kind,
    pods,
)

from treadle import factory
from treadle.api.operations import operations_app
from treadle.settings import Settings
from treadle.telemetry import METRICS

pytestmark = pytest.mark.anyio

PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
PORTS = {"http": "TREADLE_PORT", "operations": "TREADLE_OPERATIONS_PORT"}

KUSTOMIZATION = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())

#: Made by hand, or in need of an adapter.
UNLISTED = {"kustomization.yaml", "secret.example.yaml", "worker-autoscaler.yaml"}


def long_lived() -> list[Process]:
    return [process for process in kubernetes_processes() if process.is_long_lived]


def test_every_file_is_listed_or_said_not_to_be() -> None:
    files = {path.name for path in KUBERNETES.glob("*.yaml")}
    assert set(KUSTOMIZATION["resources"]) == files - UNLISTED
    said = (KUBERNETES / "kustomization.yaml").read_text()
    assert all(name in said for name in UNLISTED - {"kustomization.yaml"})


def test_every_object_is_of_the_namespace() -> None:
    (namespace,) = of_kind("Namespace")
    assert KUSTOMIZATION["namespace"] == namespace["metadata"]["name"] == "treadle"
    keys = [(each["kind"], each["metadata"]["name"]) for each in manifests()]
    assert len(keys) == len(set(keys))


def test_every_image_is_the_one_that_the_kustomization_names() -> None:
    (image,) = KUSTOMIZATION["images"]
    for _, pod in pods():
        assert {container["image"] for container in pod["containers"]} == {image["name"]}
    assert re.fullmatch(r"\d+\.\d+\.\d+", image["newTag"])


def test_selectors_find_their_pods() -> None:
    labels = [
        each["spec"]["template"]["metadata"]["labels"]
        for each in manifests()
        if each["kind"] in {"Deployment", "StatefulSet"}
    ]
    for each in manifests():
        spec = each.get("spec", {})
        if each["kind"] == "Service":
            wanted = [spec["selector"]]
        elif each["kind"] in {"Deployment", "StatefulSet", "PodDisruptionBudget"}:
            wanted = [spec["selector"]["matchLabels"]]
        elif each["kind"] == "NetworkPolicy":
            wanted = [spec["podSelector"]["matchLabels"]]
        else:
            continue
        assert all(one in labels for one in wanted), (each["kind"], each["metadata"]["name"])
    (stateful,) = of_kind("StatefulSet")
    assert stateful["spec"]["serviceName"] in {each["metadata"]["name"] for each in of_kind("Service")}
    (autoscaler,) = of_kind("HorizontalPodAutoscaler")
    assert autoscaler["spec"]["scaleTargetRef"]["name"] == stateful["metadata"]["name"]


def test_ports_are_the_images() -> None:
    for process in long_lived():
        for port in process.raw["ports"]:
            assert port["containerPort"] == int(image_environment()[PORTS[port["name"]]])
        names = {port["name"] for port in process.raw["ports"]}
        assert names == ({"operations"} if process.is_worker else {"http", "operations"})
    for service in of_kind("Service"):
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= PORTS.keys()
    for policy in of_kind("NetworkPolicy"):
        for rule in policy["spec"]["ingress"]:
            assert {port["port"] for port in rule["ports"]} <= PORTS.keys()


async def test_probes_ask_what_answers(tmp_path: Path) -> None:
    async with factory.assemble(Settings.load({"TREADLE_DATA_DIR": str(tmp_path / "data")})) as built:
        checks = built.services.checks
        routes = {
            "http": {route.path for route in factory.app(built).routes if isinstance(route, Route)},
            "operations": {route.path for route in operations_app(checks).routes if isinstance(route, Route)},
        }
    for process in long_lived():
        for name in PROBES:
            asked = process.raw[name]["httpGet"]
            url = urlsplit(asked["path"])
            assert asked["port"] in {port["name"] for port in process.raw["ports"]}
            assert url.path in routes[asked["port"]], (process.name, name)
            for key, left_out in parse_qsl(url.query):
                assert key == "exclude"
                assert left_out in checks


def test_probes_do_not_end_what_only_waits() -> None:
    """The database or the broker away: nothing is restarted for it, and without its broker the API goes on."""
    for process in long_lived():
        assert process.raw["livenessProbe"]["httpGet"]["path"] == "/healthz"
        assert "exclude=broker" in process.raw["readinessProbe"]["httpGet"]["path"]
        start = process.raw["startupProbe"]
        assert start["periodSeconds"] * start["failureThreshold"] >= 600


def test_a_rollout_takes_nothing_away_before_its_successor_is_there() -> None:
    (api,) = of_kind("Deployment")
    assert api["spec"]["replicas"] >= 2
    assert api["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert {budget["metadata"]["name"] for budget in of_kind("PodDisruptionBudget")} == {
        "treadle-api",
        "treadle-worker",
    }


def test_mounts_have_volumes() -> None:
    (stateful,) = of_kind("StatefulSet")
    claims = {claim["metadata"]["name"] for claim in stateful["spec"]["volumeClaimTemplates"]}
    for name, pod in pods():
        volumes = {volume["name"] for volume in pod["volumes"]} | (claims if name == "treadle-worker" else set())
        for container in pod["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes


def test_the_workers_memory_is_memory() -> None:
    (pod,) = [pod for name, pod in pods() if name == "treadle-worker"]
    (memory,) = [volume["emptyDir"] for volume in pod["volumes"] if volume["name"] == "memory"]
    assert memory["medium"] == "Memory"
    assert memory["sizeLimit"]


def test_only_the_worker_may_do_what_bubblewrap_needs() -> None:
    for process in kubernetes_processes():
        own = process.raw["securityContext"]
        if process.is_worker:
            assert own["procMount"] == "Unmasked"
            assert process.pod["hostUsers"] is False, "procMount needs it"
            assert own["seccompProfile"]["type"] == "Localhost"
        else:
            seccomp = own.get("seccompProfile") or process.pod["securityContext"]["seccompProfile"]
            assert seccomp == {"type": "RuntimeDefault"}
            assert "procMount" not in own


def test_no_secret_is_in_them() -> None:
    secret = {
        f"TREADLE_{name.upper()}"
        for name, field in Settings.model_fields.items()
        if "SecretStr" in str(field.annotation)
    } | {"TREADLE_DATABASE_URL"}
    for each in of_kind("Secret"):
        assert set(each["stringData"].values()) == {""}, "an example only"
    for each in of_kind("ConfigMap"):
        assert not secret & each["data"].keys()
    for process in kubernetes_processes():
        assert not secret & {one["name"] for one in process.raw.get("env", ())}
    said = (KUBERNETES / "secret.example.yaml").read_text()
    for each in of_kind("Secret"):
        names = [name for name in each["stringData"] if name != "TREADLE_KIMI_API_KEY"]
        assert all(f"--from-literal={name}=" in said for name in names)


def test_metrics_that_are_named_are_kept() -> None:
    said = (KUBERNETES / "worker-autoscaler.yaml").read_text()
    named = set(re.findall(r"\btreadle_\w+", said)) - {"treadle_queue_ready"}
    assert named
    assert named <= {metric.name for metric in METRICS}


def test_workers_cannot_reach_the_neighbours() -> None:
    (policy,) = [each for each in of_kind("NetworkPolicy") if each["metadata"]["name"] == "treadle-worker"]
    assert set(policy["spec"]["policyTypes"]) == {"Ingress", "Egress"}
    blocks = [to["ipBlock"] for rule in policy["spec"]["egress"] for to in rule["to"] if "ipBlock" in to]
    for block in blocks:
        assert {"10.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"} <= set(block["except"])
