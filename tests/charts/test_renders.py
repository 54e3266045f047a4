"""Each supported case renders to what was pinned, and Kubernetes takes it: the oldest and the newest that the chart claims."""

from __future__ import annotations

import difflib
import functools
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

if TYPE_CHECKING:
    from tests.charts.conftest import Chart

GOLDEN = Path(__file__).parent / "golden"
CHART = Path(__file__).parents[2] / "charts/forklore"
OLDEST, NEWEST = "1.25.0", "1.37.0"
schema_contents = functools.cache(kubernetes_validate.utils.schema_contents)
# Kinds that come with operators: their shape, as far as the chart uses it, from the projects' own API reference.
LABELS = {"type": "object", "additionalProperties": {"type": "string"}}
ENDPOINT = {
    "type": "object",
    "required": ["port"],
    "additionalProperties": False,
    "properties": {
        "port": {"type": "string"},
        "path": {"type": "string"},
        "scheme": {"const": "https"},
        "tlsConfig": {
            "type": "object",
            "required": ["serverName"],
            "additionalProperties": False,
            "properties": {"serverName": {"type": "string"}, "ca": {"type": "object"}},
        },
        "interval": {"type": "string", "pattern": "^[0-9]+(s|m)$"},
        "honorLabels": {"type": "boolean"},
        "relabelings": {
            "type": "array",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "properties": {"sourceLabels": {"type": "array"}, "targetLabel": {"type": "string"}},
            },
        },
    },
}
SELECTOR = {"type": "object", "required": ["matchLabels"], "properties": {"matchLabels": LABELS}}


def _spec(**properties: Any) -> dict[str, Any]:
    spec = {"type": "object", "required": list(properties), "additionalProperties": False, "properties": properties}
    return {"type": "object", "required": ["spec"], "properties": {"spec": spec}}


SHAPES = {
    ("monitoring.coreos.com/v1", "PodMonitor"): _spec(
        selector=SELECTOR, podMetricsEndpoints={"type": "array", "minItems": 1, "items": ENDPOINT}
    ),
    ("monitoring.coreos.com/v1", "ServiceMonitor"): _spec(
        selector=SELECTOR, endpoints={"type": "array", "minItems": 1, "items": ENDPOINT}
    ),
    ("monitoring.coreos.com/v1", "PrometheusRule"): _spec(
        groups={
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["name", "rules"],
                "additionalProperties": False,
                "properties": {
                    "name": {"type": "string"},
                    "rules": {
                        "type": "array",
                        "minItems": 1,
                        "items": {
                            "type": "object",
                            "required": ["alert", "expr", "labels", "annotations"],
                            "additionalProperties": False,
                            "properties": {
                                "alert": {"type": "string"},
                                "expr": {"type": "string"},
                                "for": {"type": "string", "pattern": "^[0-9]+m$"},
                                "labels": LABELS,
                                "annotations": LABELS,
                            },
                        },
                    },
                },
            },
        }
    ),
    ("cert-manager.io/v1", "Issuer"): {
        "type": "object",
        "required": ["spec"],
        "properties": {"spec": {"type": "object", "additionalProperties": False, "properties": {"selfSigned": {}, "ca": {}}}},
    },
    ("cert-manager.io/v1", "Certificate"): {
        "type": "object",
        "required": ["spec"],
        "properties": {
            "spec": {
                "type": "object",
                "required": ["secretName", "issuerRef", "duration", "privateKey"],
                "additionalProperties": False,
                "properties": {
                    **{key: {"type": "string"} for key in ("secretName", "commonName")},
                    "duration": {"type": "string", "pattern": "^[0-9]+h$"},
                    "isCA": {"type": "boolean"},
                    **{key: {"type": "array", "items": {"type": "string"}} for key in ("dnsNames", "ipAddresses")},
                    "usages": {"type": "array", "items": {"enum": ["digital signature", "server auth"]}},
                    "privateKey": {"type": "object"},
                    "issuerRef": {"type": "object", "required": ["name"]},
                },
            }
        },
    },
    ("security.openshift.io/v1", "SecurityContextConstraints"): {
        "type": "object",
        "required": ["allowPrivilegedContainer", "allowHostDirVolumePlugin", "users", "volumes", "runAsUser", "seLinuxContext"],
        "additionalProperties": False,
        "properties": {
            **{key: {"type": "string"} for key in ("apiVersion", "kind")},
            "metadata": {"type": "object"},
            **{
                key: {"type": "boolean"}
                for key in (
                    "allowHostDirVolumePlugin", "allowHostIPC", "allowHostNetwork", "allowHostPID", "allowHostPorts",
                    "allowPrivilegeEscalation", "allowPrivilegedContainer", "readOnlyRootFilesystem",
                )
            },
            **{
                key: {"type": "array", "items": {"type": "string"}}
                for key in (
                    "allowedCapabilities", "defaultAddCapabilities", "requiredDropCapabilities", "seccompProfiles", "users",
                    "volumes",
                )
            },
            **{
                key: {"type": "object", "required": ["type"]}
                for key in ("runAsUser", "seLinuxContext", "fsGroup", "supplementalGroups")
            },
        },
    },
}  # fmt: skip


def _pinned(chart: Chart, case: str) -> tuple[Path, str]:
    """The default case is pinned whole; every other by its difference from that, which is what a reader wants to see."""
    default, text = chart.render("default").text, chart.render(case).text
    if case == "default":
        return GOLDEN / "default.yaml", text
    lines = difflib.unified_diff(default.splitlines(), text.splitlines(), "default", case, n=3, lineterm="")
    # Line numbers would change in each of them with every line of the default.
    return GOLDEN / f"{case}.diff", "\n".join(re.sub(r"^@@.*@@$", "@@", line) for line in lines) + "\n"


def test_a_case_renders_to_its_golden_file(chart: Chart, case: str) -> None:
    """GOLDENS=renew writes them anew; then read the difference."""
    file, text = _pinned(chart, case)
    if os.environ.get("GOLDENS") == "renew":
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8"), f"GOLDENS=renew writes {file.name} anew"


def test_every_golden_file_belongs_to_a_case(chart: Chart) -> None:
    assert sorted(file.stem for file in GOLDEN.iterdir()) == chart.cases()


def test_lint_finds_nothing(chart: Chart, case: str) -> None:
    code, out, error = chart.run("lint", "--strict", str(CHART), case=case)
    assert code == 0, out + error
    assert "[WARNING]" not in out and "[ERROR]" not in out


@pytest.fixture(autouse=True)
def _schemas_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else each object reads all definitions of its Kubernetes anew, a megabyte of JSON."""
    monkeypatch.setattr(kubernetes_validate.utils, "schema_contents", schema_contents)


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_kubernetes_accepts_every_object(chart: Chart, case: str, version: str) -> None:
    values = None
    if "least-privilege" in case or case == "openshift":  # the value that the refusal names for such a Kubernetes, see below
        values = {"agent": {"cgroups": {"recursiveReadOnly": "Disabled"}}} if version == OLDEST else None
    if version == OLDEST and "kind: StatefulSet" in chart.render(case).text:  # likewise
        agents = {"identity": "token", "token": {"existingSecret": "forklore-agents"}}
        values = {**(values or {}), "collector": {"agents": agents}}
    objects = chart.render(case, values, kubernetes=version).objects()
    assert objects
    for one in objects:
        shape = SHAPES.get((one["apiVersion"], one["kind"]))
        if shape:
            jsonschema.validate(one, shape)
        else:
            kubernetes_validate.validate(one, version.rpartition(".")[0], strict=True)


def test_the_validation_refuses_an_invalid_object(chart: Chart) -> None:
    broken = chart.render("default", fresh=True).get("DaemonSet", "forklore-agent")
    broken["spec"]["template"]["spec"]["containers"][0]["securityContext"]["privilegd"] = True
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, "1.37", strict=True)


def test_the_readme_claims_the_tested_versions(chart: Chart) -> None:
    about = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert about["kubeVersion"] == f">={OLDEST}-0"
    code, _, error = chart.run("template", "x", str(CHART), "--kube-version", "1.24.17")
    assert code != 0 and "incompatible" in error
    readme = (CHART / "README.md").read_text()
    assert f"Kubernetes {OLDEST.rpartition('.')[0]} to {NEWEST.rpartition('.')[0]}" in readme


def test_every_object_belongs_to_the_release(chart: Chart, case: str) -> None:
    """In its namespace, with the labels that say what it belongs to; the operator's extra objects are the operator's."""
    cluster_wide = {"ClusterRole", "ClusterRoleBinding", "PriorityClass", "Namespace", "SecurityContextConstraints"}
    seen = set()
    for one in chart.render(case).objects():
        about = one["metadata"]
        identity = (one["apiVersion"], one["kind"], about["name"])
        assert identity not in seen, json.dumps(one)
        seen.add(identity)
        if about["name"] == "forklore-more":
            continue
        assert (about.get("namespace") is None) if one["kind"] in cluster_wide else (about["namespace"] == "forklore")
        assert about["labels"]["app.kubernetes.io/instance"] == "forklore"
        assert about["labels"]["helm.sh/chart"].startswith("forklore-")


def test_every_reference_names_an_object(chart: Chart, case: str) -> None:
    """Mounts to volumes, probes to ports, Services and monitors to pods, volumes to Secrets and ConfigMaps of the chart's."""
    render = chart.render(case)
    made = {(one["kind"], one["metadata"]["name"]) for one in render.objects()}
    for pod in render.pods():
        volumes = {one["name"] for one in pod.spec.get("volumes", [])}
        claimed = {"data"} if pod.kind == "StatefulSet" else set()
        for container in pod.containers():
            assert {one["name"] for one in container.get("volumeMounts", [])} <= volumes | claimed
            ports = {one["name"] for one in container.get("ports", [])}
            probes = [container[key] for key in ("startupProbe", "livenessProbe", "readinessProbe") if key in container]
            assert {probe["httpGet"]["port"] for probe in probes} <= ports
        for volume in pod.spec.get("volumes", []):
            name = volume.get("secret", {}).get("secretName", "")
            if name.startswith("forklore-") and name not in (
                "forklore-agents",
                "forklore-agent-tls",
                "forklore-collector-tls",
                "forklore-token",
                "forklore-status",
            ):  # those are the operator's
                assert ("Secret", name) in made
    labels = [
        (pod.metadata["labels"], {p["name"] for c in pod.containers() for p in c.get("ports", [])}) for pod in render.pods()
    ]
    for one in render.objects():
        selector, wanted = _selector(one)
        if selector:
            assert any(selector.items() <= labels_.items() and wanted <= ports for labels_, ports in labels), one["metadata"]


def _selector(one: dict[str, Any]) -> tuple[dict[str, str], set[str]]:
    """Whom an object chooses, and the ports it wants of them."""
    spec = one.get("spec", {})
    match one["kind"]:
        case "Service":
            return spec["selector"], {port["targetPort"] for port in spec["ports"]}
        case "PodMonitor":
            return spec["selector"]["matchLabels"], {end["port"] for end in spec["podMetricsEndpoints"]}
        case "NetworkPolicy":
            ports = {port["port"] for rule in spec.get("ingress", []) for port in rule["ports"]}
            return spec["podSelector"]["matchLabels"], ports
        case "DaemonSet" | "StatefulSet":
            return spec["selector"]["matchLabels"], set()
    return {}, set()
