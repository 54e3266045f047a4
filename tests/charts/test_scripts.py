"""The two programs of the chart, run as in their pods: with the standard library only, against local servers."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.charts.cluster import Cluster, running

FILES = Path(__file__).parents[2] / "charts/forklore/files"
METRICS = """# TYPE forklore_captured_forks_total counter
forklore_captured_forks_total{kind="process"} 23.0
forklore_captured_forks_total{kind="thread"} 1.5e+06
forklore_delivered_forks_total{sink="siem"} 20.0
forklore_delivered_forks_total{sink="collector"} 0.0
forklore_queued_forks{sink="collector",where="journal"} 5.0
forklore_queued_forks{sink="siem",where="journal"} 5.0
forklore_unaccounted_forks 0.0
forklore_kubernetes_synced 1.0
forklore_kubelet_root_known 1.0
"""


@contextmanager
def _answering(answers: dict[str, tuple[int, str]]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            code, text = answers.get(self.path, (404, ""))
            self.send_response(code)
            self.end_headers()
            self.wfile.write(text.encode())

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def _ask(*arguments: str, **environment: str) -> tuple[int, str]:
    # As in the pod: isolated, the program itself on the command line.
    line = [sys.executable, "-I", "-c", (FILES / "ask_agents.py").read_text(), *arguments]
    done = subprocess.run(line, env={"PATIENCE_S": "0", **environment}, capture_output=True, text=True, timeout=30, check=False)
    assert done.stderr == ""
    return done.returncode, done.stdout


TAKEN = METRICS.replace('"collector"} 0.0', '"collector"} 7.0')
IDLE = METRICS.replace('where="journal"} 5.0', 'where="journal"} 0.0')
LEDGER = '{"sinks": {"collector": {"state": "held: 401 wrong token"}}}'


@pytest.mark.parametrize(
    ("answers", "code", "words"),
    [
        (
            {"/readyz": (200, "ok"), "/metrics": (200, TAKEN)},
            0,
            "sink collector has taken 7 forks, sink siem has taken 20 forks",
        ),
        ({"/readyz": (200, "ok"), "/metrics": (200, IDLE)}, 1, "sink collector: has taken nothing of any agent yet"),
        ({"/readyz": (503, "not capturing"), "/metrics": (200, TAKEN)}, 1, "127.0.0.1: not ready: not capturing"),
        (
            {"/readyz": (200, "ok"), "/metrics": (200, TAKEN.replace("23.0", "0.0").replace("1.5e+06", "0.0"))},
            1,
            "no fork has been",
        ),
        ({"/readyz": (200, "ok"), "/metrics": (500, "no")}, 1, "127.0.0.1: 500 from /metrics: no"),
        (
            {"/readyz": (200, "ok"), "/metrics": (200, METRICS), "/v1/ledger": (200, LEDGER)},
            1,
            "127.0.0.1: sink collector: has taken nothing of this agent; 5 forks wait for it: held: 401 wrong token",
        ),
        ({"/readyz": (200, "ok"), "/metrics": (200, METRICS), "/v1/ledger": (401, "")}, 1, "5 forks wait for it\n"),
        (
            {"/readyz": (200, "ok"), "/metrics": (200, TAKEN.replace("unaccounted_forks 0.0", "unaccounted_forks 9.0"))},
            1,
            "127.0.0.1: its ledger is open: 9 forks are in no place of it",
        ),
        (
            {"/readyz": (200, "ok"), "/metrics": (200, TAKEN.replace("synced 1.0", "synced 0.0"))},
            1,
            "127.0.0.1: the pods of its node have not been listed",
        ),
        (
            {"/readyz": (200, "ok"), "/metrics": (200, TAKEN.replace("known 1.0", "known 0.0"))},
            1,
            "127.0.0.1: no cgroup of its node belongs to a pod that the API lists for it",
        ),
        ({"/readyz": (200, "ok"), "/metrics": (200, "forklore_captured_forks_total 1\n")}, 0, "no sink is set"),
    ],
)
def test_helm_test_reports_the_state_of_the_agents(answers: dict[str, tuple[int, str]], code: int, words: str) -> None:
    with _answering(answers) as agents:
        done, printed = _ask(f"http://{agents}")
    assert words in printed
    assert done == code


def test_helm_test_fails_without_an_agent_or_a_collector() -> None:
    done, printed = _ask("http://127.0.0.1:1")
    assert done == 1 and "not ready" in printed
    done, printed = _ask("http://no-such-name.invalid:9911")
    assert done == 1 and "no agent has an address" in printed
    answers = {"/readyz": (200, "ok"), "/metrics": (200, TAKEN), "/away": (503, "the store does not answer")}
    with _answering(answers) as agents:
        done, printed = _ask(f"http://{agents}", f"http://{agents}/away")
    assert done == 1 and "collector: not ready: the store does not answer" in printed


@pytest.mark.parametrize(("phase", "found"), [("Pending", True), ("Bound", False), (None, False)])
def test_helm_test_names_a_claim_that_is_pending(cluster: Cluster, phase: str | None, found: bool) -> None:
    environment = {
        "KUBERNETES_SERVICE_HOST": "127.0.0.1",
        "KUBERNETES_SERVICE_PORT": str(cluster.port),
        "SERVICE_ACCOUNT": str(cluster.kubeconfig.parent),
    }
    if phase:
        claim = {"metadata": {"name": "data-forklore-collector-0"}, "status": {"phase": phase}}
        cluster.objects["persistentvolumeclaims", "forklore", "data-forklore-collector-0"] = claim
    path = "/api/v1/namespaces/forklore/persistentvolumeclaims/data-forklore-collector-0"
    with _answering({"/readyz": (200, "ok"), "/metrics": (200, TAKEN)}) as agents:
        done, printed = _ask(f"http://{agents}", "http://127.0.0.1:1/readyz", path, **environment)
    assert done == 1 and ("collector: not ready" in printed) is not found
    words = "the claim data-forklore-collector-0 is Pending, because no volume fits: set collector.persistence.storageClassName"
    assert (words in printed) is found


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with running(["node1", "node2"]) as cluster:
        yield cluster


@pytest.fixture
def wait(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Callable[[], tuple[int, str]]:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(cluster.port))
    monkeypatch.setenv("SERVICE_ACCOUNT", str(cluster.kubeconfig.parent))

    def run() -> tuple[int, str]:
        line = [sys.executable, "-I", str(FILES / "await_nodes.py"), "x", "y", "0", "forklore-test"]
        done = subprocess.run(line, capture_output=True, text=True, timeout=30, check=False)
        assert done.stderr == ""
        return done.returncode, done.stdout

    return run


def _put(cluster: Cluster, status: dict[str, int]) -> None:
    # Not by `put`: the stand-in's controller keeps out of it.
    cluster.objects["daemonsets", "x", "y"] = {"metadata": {"name": "y", "generation": 2}, "status": status}


def test_the_wait_ends_when_all_nodes_are_clean(cluster: Cluster, wait: Callable[[], tuple[int, str]]) -> None:
    _put(cluster, {"observedGeneration": 2, "desiredNumberScheduled": 2, "numberReady": 2})
    assert wait() == (0, "clean: 2 of 2 nodes\n")


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ({"observedGeneration": 2, "desiredNumberScheduled": 2, "numberReady": 1}, "1 of 2 nodes are clean"),
        (
            {"observedGeneration": 1, "desiredNumberScheduled": 2, "numberReady": 2},
            "0 of 0 nodes are clean",
        ),  # the status of before
        ({}, "0 of 0 nodes are clean"),  # the controller has not seen it yet
    ],
)
def test_the_wait_ends_at_its_limit_and_prints_the_remaining_nodes(
    cluster: Cluster, wait: Callable[[], tuple[int, str]], status: dict[str, int], words: str
) -> None:
    _put(cluster, status)
    code, printed = wait()
    assert code == 1 and words in printed and "time is up after 0 s" in printed


@pytest.mark.parametrize(("reason", "ends"), [('violates PodSecurity "baseline:latest": hostPath', True), ("quota", False)])
def test_the_wait_ends_at_once_when_pod_security_forbids_the_pods(
    cluster: Cluster, wait: Callable[[], tuple[int, str]], reason: str, ends: bool
) -> None:
    """The text is the DaemonSet controller's event. Before, uninstall took three minutes and gave no reason."""
    _put(cluster, {"observedGeneration": 2, "desiredNumberScheduled": 2, "numberReady": 0})
    message = f'Error creating: pods "y-x7k2p" is forbidden: {reason}'
    event = {"metadata": {"name": "y.17"}, "involvedObject": {"kind": "DaemonSet", "name": "y"}, "message": message}
    cluster.objects["events", "x", "y.17"] = event
    code, printed = wait()
    words = ["Pod Security forbids the pods", reason, "kubectl label namespace x pod-security.kubernetes.io/enforce=privileged"]
    assert code == 1 and [word in printed for word in words] == [ends] * 3
    assert ("time is up" in printed) is not ends


def test_the_pod_of_helm_test_is_deleted(cluster: Cluster, wait: Callable[[], tuple[int, str]]) -> None:
    _put(cluster, {"observedGeneration": 2, "desiredNumberScheduled": 2, "numberReady": 2})
    cluster.objects["pods", "x", "forklore-test"] = {"metadata": {"name": "forklore-test"}}
    assert wait() == (0, "clean: 2 of 2 nodes\n")
    assert ("pods", "x", "forklore-test") not in cluster.objects


def test_the_wait_survives_a_refusing_api_server(wait: Callable[[], tuple[int, str]]) -> None:
    code, printed = wait()  # there is no such DaemonSet
    assert code == 1 and "the API server: HTTP Error 404" in printed
