"""helm itself, against a stand-in cluster: what an uninstall leaves on the nodes, what an upgrade keeps, what the notes say."""

from __future__ import annotations

import base64
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.charts.cluster import Cluster, running
from tests.charts.conftest import SHORT_LIVED

FOLDER = Path(__file__).parents[2] / "charts/forklore"
NODES = ["node1", "node2", "node3"]
AGENTS = {"collector": {"enabled": False}}
SINKS = {"sinks": [{"name": "siem", "url": "http://siem.example/forks"}]}
COLLECTOR = ("statefulsets", "forklore", "forklore-collector")


class Helm:
    def __init__(self, binary: Path, cluster: Cluster) -> None:
        self._binary = binary
        self.cluster = cluster

    def __call__(self, verb: str, values: dict[str, Any] | None = None, *options: str) -> tuple[int, str]:
        """Code, and what it printed."""
        place = [] if verb in ("uninstall", "test") else [str(FOLDER), "--disable-openapi-validation", "--values", "-"]
        line = [str(self._binary), verb, "forklore", *place, "--namespace", "forklore", *options]
        line += ["--kubeconfig", str(self.cluster.kubeconfig)]
        done = subprocess.run(
            line, env=SHORT_LIVED, input=yaml.safe_dump(values or {}), capture_output=True, text=True, timeout=50, check=False
        )
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def helm(binaries: Path) -> Iterator[Helm]:
    with running(NODES) as cluster:
        yield Helm(binaries / "helm", cluster)


def _installed(helm: Helm, values: dict[str, Any] | None = None) -> str:
    code, text = helm("install", values)
    assert code == 0, text
    return text


def test_an_uninstall_leaves_no_pins_on_any_node_and_nothing_in_the_cluster(helm: Helm) -> None:
    _installed(helm, {**AGENTS, "networkPolicy": {"enabled": True}})
    cluster = helm.cluster
    assert cluster.pinned == set(NODES)
    code, text = helm("uninstall", None, "--timeout", "30s")
    assert code == 0, text
    assert cluster.pinned == set()
    assert cluster.left() == []
    assert cluster.jobs == [(0, "clean: 3 of 3 nodes\n")]
    # After the deletion of the agents: a running agent would pin again.
    assert cluster.log.index(("removed", "daemonsets", "forklore-agent")) < cluster.log.index(
        ("made", "daemonsets", "forklore-uninstall")
    )


def test_an_uninstall_fails_when_a_node_is_away(helm: Helm) -> None:
    _installed(helm, AGENTS)
    helm.cluster.away.add("node2")
    code, text = helm("uninstall", None, "--timeout", "3s")
    assert code != 0 and "forklore-uninstall" in text
    assert helm.cluster.pinned == {"node2"}


def test_an_uninstall_prints_that_pod_security_forbids_its_pods(helm: Helm) -> None:
    _installed(helm, AGENTS)
    helm.cluster.away.update(NODES)
    message = 'Error creating: pods "forklore-uninstall-x7k2p" is forbidden: violates PodSecurity "baseline:latest": hostPath'
    name = {"kind": "DaemonSet", "name": "forklore-uninstall"}
    helm.cluster.objects["events", "forklore", "x"] = {"metadata": {"name": "x"}, "involvedObject": name, "message": message}
    code, text = helm("uninstall", None, "--timeout", "40s")
    assert code != 0 and "Job Failed" in text
    assert "Pod Security forbids the pods that clean the nodes: violates PodSecurity" in text


def test_without_the_clean_up_the_pins_stay(helm: Helm) -> None:
    _installed(helm, {**AGENTS, "uninstall": {"clean": False}})
    code, text = helm("uninstall")
    assert code == 0, text
    assert helm.cluster.pinned == set(NODES)
    assert helm.cluster.left() == []


def test_an_upgrade_cleans_nothing_and_makes_no_secret(helm: Helm) -> None:
    values = {"collector": {"enabled": True}}
    _installed(helm, values)
    code, text = helm("upgrade", {**values, "cluster": "other"})
    assert code == 0, text
    assert helm.cluster.pinned == set(NODES)
    assert not any("uninstall" in name for _, _, name in helm.cluster.log)
    assert not [name for kind, _, name in helm.cluster.objects if kind == "secrets" and "token" in name]
    assert "cluster: other" in helm.cluster.objects["configmaps", "forklore", "forklore-agent"]["data"]["agent.yaml"]


def test_an_upgrade_keeps_the_certificates_that_were_made(helm: Helm) -> None:
    values = {"collector": {"enabled": True}}
    _installed(helm, values)
    cluster = helm.cluster
    wait_until(lambda: cluster.jobs)
    assert [code for code, _ in cluster.jobs] == [0], cluster.jobs
    secret, ca = ("secrets", "forklore", "forklore-certificates"), ("configmaps", "forklore", "forklore-ca")
    made = {key: cluster.objects[key]["data"] for key in (secret, ca)}
    assert made[secret].keys() == {"ca.crt", "ca.key", "collector.crt", "collector.key"}
    assert base64.b64decode(made[secret]["ca.crt"]).decode() == made[ca]["ca.crt"]
    code, text = helm("upgrade", {**values, "cluster": "other", "certificates": {"schedule": "5 5 * * *"}})
    assert code == 0, text
    code, text = helm("upgrade", {**values, "nameOverride": "forklore", "certificates": {"days": 80}})
    assert code == 0, text
    wait_until(lambda: len(cluster.jobs) == 2)
    assert "nothing to do" in cluster.jobs[1][1]
    assert {key: cluster.objects[key]["data"] for key in (secret, ca)} == made


def wait_until(holds: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_an_install_without_sinks_is_the_whole_product_and_the_notes_begin_with_its_pages(helm: Helm) -> None:
    text = _installed(helm)
    objects = helm.cluster.objects
    assert COLLECTOR in objects
    agent = yaml.safe_load(objects["configmaps", "forklore", "forklore-agent"]["data"]["agent.yaml"])
    collector = yaml.safe_load(objects["configmaps", "forklore", "forklore-collector"]["data"]["collector.yaml"])
    (sink,) = agent["sinks"]
    assert sink["url"].startswith("https://forklore-collector.") and {"ca_file", "token_file"} <= sink.keys()
    assert {"cert_file", "key_file", "audience", "generated_read_token_file"} <= collector.keys()
    wanted = [
        "1. Open https://127.0.0.1:9910/ while this runs",
        "rollout status statefulset/forklore-collector && kubectl -n forklore port-forward service/forklore-collector 9910",
        "exec statefulset/forklore-collector -- forklore collector token --config /etc/forklore/collector.yaml",
        "kubectl -n forklore rollout status daemonset/forklore-agent",
        "kubectl label namespace forklore pod-security.kubernetes.io/enforce=privileged --overwrite",
        "helm test forklore -n forklore --logs",
        "forklore doctor --config /etc/forklore/agent.yaml",
    ]
    places = [text.find(command) for command in wanted]
    assert -1 not in places and places == sorted(places)
    code, text = helm("upgrade", SINKS)
    assert code == 0, text
    assert COLLECTOR in objects, "an upgrade takes nothing away"


def test_an_upgrade_adds_no_collector(helm: Helm) -> None:
    text = _installed(helm, SINKS)
    assert COLLECTOR not in helm.cluster.objects
    assert "port-forward" not in text and "logs daemonset/forklore-agent" in text
    code, text = helm("upgrade", {}, "--reset-values")
    assert code == 0, text
    assert COLLECTOR not in helm.cluster.objects
    assert "--set collector.enabled=true" in text


@pytest.mark.parametrize("default", [False, True])
def test_the_notes_name_a_claim_that_no_storage_class_will_fill(helm: Helm, default: bool) -> None:
    annotations = {"storageclass.kubernetes.io/is-default-class": str(default).lower()}
    name = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "x", "annotations": annotations}}
    helm.cluster.put(("storageclasses", "", "x"), {**name, "provisioner": "example.com/x"})
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "forklore"}}
    helm.cluster.put(("namespaces", "", "forklore"), namespace)
    text = _installed(helm, {"collector": {"tls": {"enabled": False}}})
    words = ("claim data-forklore-collector-0 stays Pending", "--set collector.persistence.storageClassName=CLASS")
    assert [one in text for one in words] == [not default, not default]


def test_the_notes_omit_steps_that_are_done(helm: Helm) -> None:
    labels = {"pod-security.kubernetes.io/enforce": "privileged"}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "forklore", "labels": labels}}
    helm.cluster.put(("namespaces", "", "forklore"), namespace)
    text = _installed(helm, {"collector": {"enabled": True}, "leastPrivilege": True})
    assert "label namespace" not in text and "collector.enabled=true" not in text
    assert "none can send for another node" in text
    assert "containerd 2" in text


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"token": {"existingSecret": "mine", "perNode": True}}, "Root on a node can read the tokens of all"),
        ({"token": {"existingSecret": "mine"}}, "can send in the name of every node"),
    ],
)
def test_the_notes_say_what_static_tokens_mean(helm: Helm, values: dict[str, Any], says: str) -> None:
    collector = {"enabled": True, "agents": {"identity": "token", **values}, "readToken": {"existingSecret": "viewers"}}
    text = _installed(helm, {"collector": collector})
    assert says in " ".join(text.split())
    assert """get secret viewers -o go-template='{{index .data "token" | base64decode}}'""" in text
