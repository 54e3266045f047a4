"""The whole demo as a process: its exit codes, its report, and that nothing is left behind, however it ends."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from dev.demo import run
from dev.demo.children import free_port
from dev.demo.kubernetes.api_server import KubernetesApi
from dev.demo.kubernetes.cluster import Cluster

CHECKOUT = Path(__file__).parents[3]


def demo(state, *arguments, **variables):
    """A demo in a process of its own, with our environment except for forklore's and Kubernetes' variables."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("FORKLORE_", "KUBE", "NODE_"))}
    return subprocess.Popen(
        [sys.executable, "-m", "cli", "demo", "--state", state, *arguments],
        cwd=CHECKOUT,
        env={**inherited, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def until_attached(process):
    """Returns the address of the collector's page."""
    assert process.stdout is not None
    for line in process.stdout:
        if "the page:" in line:
            return line.split()[-1]
    raise AssertionError(f"it ended with {process.wait()}")


def wait_for_a_pod(page):
    """Returns when the collector at this address has a pod, so that forks were delivered."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with urllib.request.urlopen(f"{page}v1/pods", timeout=10) as answer:  # noqa: S310  (the demo's own address)
            if json.load(answer)["pods"]:
                return
        time.sleep(0.1)
    raise AssertionError("the collector has no pod after a minute")


@pytest.fixture
def nothing_left(traces):
    """After the test no process, cgroup or mount of the demo is left."""
    yield
    assert traces.found(seconds=60) == []


def test_without_root_it_prints_one_line_and_writes_a_report_with_77(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert run.main(["--report", str(tmp_path / "out.json"), "--state", str(tmp_path / "state")]) == 77
    output = capsys.readouterr()
    assert (output.out, output.err.count("\n")) == ("", 1)
    assert "root" in output.err
    report = json.loads((tmp_path / "out.json").read_text())
    assert report["exit_code"] == 77
    assert "root" in report["error"]


def test_a_port_with_a_listener_is_not_free():
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        assert free_port(taken) > taken


@pytest.mark.containers
def test_an_agent_that_does_not_start_is_reported_with_its_own_message(tmp_path, nothing_left):
    process = demo(tmp_path / "state", "--report", tmp_path / "out.json", FORKLORE_CAPTURE__RING_BYTES="3")
    output, _ = process.communicate(timeout=100)
    assert process.returncode == 70
    assert "capture.ring_bytes" in output
    assert "capture.ring_bytes" in json.loads((tmp_path / "out.json").read_text())["error"]


@pytest.mark.containers
def test_the_state_is_removed_unless_its_folder_was_given(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "STATE", tmp_path / "own")
    monkeypatch.setenv("FORKLORE_CAPTURE__RING_BYTES", "3")
    assert run.main([]) == 70
    assert run.main(["--state", str(tmp_path / "named")]) == 70
    assert not (tmp_path / "own").exists()
    assert (tmp_path / "named/agent.log").read_text().count("capture.ring_bytes") == 1


@pytest.mark.containers
def test_a_signal_before_the_attach_ends_it_at_once(tmp_path, nothing_left):
    process = demo(tmp_path / "state", "--report", tmp_path / "out.json")
    while not (tmp_path / "state/collector.yaml").exists():  # the collector starts now, and the agent after it
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "before the agent was attached" in json.loads((tmp_path / "out.json").read_text())["error"]


@pytest.mark.containers
@pytest.mark.kernel
def test_every_fork_of_the_demo_is_accounted_for(tmp_path, nothing_left):
    process = demo(tmp_path / "state", "--for", "12", "--report", tmp_path / "out.json")
    output, _ = process.communicate(timeout=110)
    report = json.loads((tmp_path / "out.json").read_text())
    assert (process.returncode, report["complaints"]) == (0, []), output
    assert report["captured"] == sum(report[name] for name in ("delivered", "queued", "lost", "suppressed", "filtered"))
    low, high = report["proc_stat_bracket"]
    assert low <= report["captured"] + report["kernel_workers"] <= high
    assert (report["lost"], report["queued"]) == (0, 0)
    delivered = {(pod["namespace"], pod["pod"].split("-")[0], pod["container"]): pod["delivered"] for pod in report["pods"]}
    for expected in (("shop", "cart", "app"), ("shop", "worker", "pool"), ("batch", "report", "run")):
        assert delivered[expected] > 0
    assert len({pod["pod"] for pod in report["pods"] if pod["namespace"] == "batch"}) >= 2


@pytest.mark.containers
@pytest.mark.kernel
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_in_order_with_a_report(tmp_path, nothing_left, signum):
    process = demo(tmp_path / "state", "--report", tmp_path / "out.json")
    wait_for_a_pod(until_attached(process))
    process.send_signal(signum)
    output, _ = process.communicate(timeout=60)
    report = json.loads((tmp_path / "out.json").read_text())
    assert (process.returncode, report["complaints"]) == (0, []), output
    assert report["delivered"] > 0


@pytest.mark.containers
@pytest.mark.kernel
def test_nothing_is_left_when_it_is_killed(tmp_path, traces):
    process = demo(tmp_path / "state")
    until_attached(process)
    assert len(traces.processes()) > 3
    process.kill()
    process.communicate(timeout=60)
    assert traces.found(seconds=60) == []
    assert not (tmp_path / "state/containers").exists()


@pytest.mark.containers
def test_two_demos_do_not_share_a_state(tmp_path, nothing_left):
    (tmp_path / "state").mkdir()
    lock = run.claim(tmp_path / "state")
    try:
        process = demo(tmp_path / "state")
        output, _ = process.communicate(timeout=60)
        assert (process.returncode, "--state" in output) == (69, True)
    finally:
        os.close(lock)


@pytest.mark.kernel
async def test_a_given_cluster_is_used_instead_of_the_fake_one(tmp_path, nothing_left):
    async with KubernetesApi(Cluster()) as api:
        api.write_kubeconfig(tmp_path / "own")
        arguments = ("--for", "3", "--report", tmp_path / "out.json")
        process = demo(tmp_path / "state", *arguments, KUBECONFIG=str(tmp_path / "own"))
        output, _ = await asyncio.to_thread(process.communicate, timeout=100)
    assert process.returncode == 0, output
    assert api.requests["list"] >= 1
    assert api.requests["watch"] >= 1
    assert json.loads((tmp_path / "out.json").read_text())["pods"] == []
    assert not (tmp_path / "state/containers").exists()
