"""The images as the chart runs them, in a runtime's containers: privileged, and with two capabilities. Real forks of another
pod, a Kubernetes API behind TLS, the collector's own image at the other end.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from agent.lifecycle.capabilities import NAMES
from dev.cluster.api_server import ApiServer
from dev.cluster.installation import NODE, STATUS
from dev.cluster.node.container import Container, until
from dev.cluster.node.containerd import Node
from dev.cluster.node.kubelet import bytes_of
from dev.cluster.render import Render
from dev.demo.kubernetes.pod_objects import Pod
from tests.kernel.scenes import FORKER

from .conftest import IMAGES, MODES, ROOT, Release

pytestmark = [pytest.mark.images, pytest.mark.kernel, pytest.mark.containers, pytest.mark.timeout(180)]
RATE = 500  # forks a second


class Forker(NamedTuple):
    """A pod that forks at a rate and counts."""

    container: Container
    work: Path

    def go(self) -> None:
        (self.work / "go").touch()

    def stop(self) -> int:
        """How often it has forked since `go`."""
        (self.work / "stop").touch()
        until((self.work / "done").exists, "the forker is done")
        return int(json.loads((self.work / "done").read_text())["forks"])


@pytest.fixture
def forker(installation: Release, api: ApiServer) -> Any:
    def start(name: str, rate: int = RATE) -> Forker:
        container = installation.run(FORKER.format(rate=rate), name=name)
        api.change(
            lambda cluster: cluster.add_pod(
                Pod("shop", name, container.pod.uid, (("app", ("python3",)),), labels=(("app", name),))
            )
        )
        api.change(lambda cluster: cluster.container_running(container.pod.uid, "app", container.id))
        work = container.pod.home / "volumes/work"
        until((work / "here").exists, "the forker waits")
        return Forker(container, work)

    return start


def counted(agent: Container, forker: Forker) -> int:
    """What the agent counts for the pod, its sandbox included."""
    rows = agent.get(STATUS, "/v1/pods")["pods"]
    return sum(row["processes"] for row in rows if row["pod_uid"] == forker.container.pod.uid)


def known(agent: Container, forker: Forker) -> bool:
    return any(row["container_id"] == forker.container.id and row["pod"] for row in agent.get(STATUS, "/v1/pods")["pods"])


def named(agent: Container, forker: Forker) -> None:
    """Waits until the agent has it from the API."""
    until(lambda: known(agent, forker), lambda: f"the API has named the pod: {agent.get(STATUS, '/v1/ledger')['kubernetes']}")


def at_the_collector(installation: Release, forker: Forker) -> dict[str, Any]:
    pods = installation.read("/v1/pods")["pods"]
    return next((dict(pod) for pod in pods if pod["pod_uid"] == forker.container.pod.uid), {})


def settings(**more: Any) -> dict[str, Any]:
    return {"capture": {"summary_interval": "1s", "storm_limit": 0}, "kubernetes": {"wait": "500ms"}, **more}


def example(render: Render) -> dict[str, Any]:
    """A fork of this node and of the chart's cluster."""
    event: dict[str, Any] = json.loads((ROOT / "wire/examples.json").read_text())[0]
    event["k8s"] |= {"cluster": render.settings("collector")["clusters"][0]["name"], "node": NODE}
    return event


@pytest.mark.parametrize("mode", MODES)
def test_every_fork_of_another_pod_is_named_counted_and_at_the_collector_when_the_agent_ends(
    installation: Release, api: ApiServer, forker: Any, mode: str
) -> None:
    render = installation.render(mode, agent={"settings": settings()})
    installation.start_collector(render)
    agent = installation.start_agent(render)
    cart = forker("cart")
    named(agent, cart)
    before = counted(agent, cart)
    cart.go()
    time.sleep(2)
    made = cart.stop()
    assert made > RATE, "it was to fork more than that"
    until(lambda: counted(agent, cart) == before + made, "the agent has counted all of them")
    ledger = agent.get(STATUS, "/v1/ledger")
    assert ledger["closed"] and ledger["pinned"] == "yes" and ledger["journal"] == "works", ledger
    assert ledger["kubernetes"]["requests"].keys() >= {"list", "watch"}
    code, seconds = agent.stop()
    assert code == 0, agent.log_text()
    assert seconds < 20, "a pod has 30 s to end"
    pod = at_the_collector(installation, cart)
    assert (pod["namespace"], pod["pod"], pod["missing"]) == ("shop", "cart", {})
    assert pod["processes"] == pod["delivered"] == before + made
    last = json.loads((installation.state / "ledger.json").read_text())
    assert last["closed"] and last["sinks"]["collector"]["queued"]["journal"] == 0


def status_of(pid: int, key: str) -> str:
    lines = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
    return lines[key].strip()


def writable(pid: int) -> set[str]:
    """Where a process of the container may write, by its mounts: what the runtime makes for each container is left out."""
    mounts = [line.split(" ") for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines()]
    own = ("/dev", "/proc", "/etc/hosts")
    return {one[4] for one in mounts if one[5].split(",")[0] == "rw" and not one[4].startswith(own)}


@pytest.mark.parametrize("mode", MODES)
def test_the_container_has_the_chart_s_privileges_and_the_agent_gives_up_the_rest(installation: Release, mode: str) -> None:
    render = installation.render(mode, agent={"settings": settings()}, collector={"enabled": False})
    pod = installation.agent_pod(render)
    # Before the agent gives anything up: a sleep in its place, in the same container.
    asleep = [{**one, "command": ["sleep", "60"]} for one in pod.spec["containers"]]
    stand_in = installation.run_agent(pod.with_containers(asleep))
    pid = stand_in.pid()
    given = int(status_of(pid, "CapPrm"), 16)
    ours = {"/run/forklore/pins", "/var/lib/forklore"}
    if mode == "default":
        assert given == int(status_of(os.getpid(), "CapBnd"), 16), "everything that there is"
        assert {place for place in writable(pid) if not place.startswith("/sys")} == ours
    else:
        assert {name for number, name in enumerate(NAMES) if given >> number & 1} == {"BPF", "PERFMON"}
        assert given == int(status_of(pid, "CapBnd"), 16)
        assert (status_of(pid, "NoNewPrivs"), status_of(pid, "Seccomp")) == ("1", "2")
        assert writable(pid) == ours, "the cgroups are recursively read-only"
    for namespace in ("pid", "net", "mnt", "ipc", "uts"):
        assert Path(f"/proc/{pid}/ns/{namespace}").readlink() != Path(f"/proc/self/ns/{namespace}").readlink()
    installation.remove(stand_in)

    agent = installation.start_agent(render)
    until(lambda: agent.get(STATUS, "/v1/ledger")["privileges"].get("no_new_privs"), "the agent has given up what it can")
    pid = agent.pid()
    assert [int(status_of(pid, key), 16) for key in ("CapEff", "CapPrm", "CapInh", "CapAmb")] == [0, 0, 0, 0]
    assert status_of(pid, "NoNewPrivs") == "1"
    code, out, _ = agent.exec(
        "sh", "-c", "touch /x; touch /tmp/x; touch /etc/forklore/x; mkdir /sys/fs/cgroup/x; command -v forklore"
    )
    assert (code, out.strip()) == (0, "/usr/local/bin/forklore")
    assert agent.stop()[0] == 0


@pytest.mark.parametrize("mode", MODES)
def test_doctor_finds_nothing_that_the_agent_lacks_in_its_own_container(installation: Release, mode: str) -> None:
    """As `kubectl exec` runs it, beside the agent at work."""
    render = installation.render(mode, agent={"settings": settings()})
    installation.start_collector(render)
    agent = installation.start_agent(render)
    code, out, error = agent.exec("forklore", "doctor", "--json", "--config", "/etc/forklore/agent.yaml")
    findings = json.loads(out)["findings"]
    assert (code, [one for one in findings if one["verdict"] == "fail"]) == (0, []), out + error
    assert len(findings) > 10


@pytest.mark.parametrize("mode", MODES)
def test_the_charts_clean_up_removes_the_pins_and_waits_for_a_running_agent(installation: Release, mode: str) -> None:
    render = installation.render(mode, agent={"settings": settings()}, collector={"enabled": False})
    agent = installation.start_agent(render)
    code, output = installation.clean(render)
    assert code != 0, output
    assert agent.ready(STATUS)
    assert agent.stop()[0] == 0
    assert any(installation.pins.glob("dispatch/link-*"))
    code, output = installation.clean(render)
    assert code == 0, output
    assert list(installation.pins.iterdir()) == []


def test_the_collector_has_no_privilege_writes_two_folders_and_keeps_its_store_over_a_kill(installation: Release) -> None:
    render = installation.render("collector")
    collector = installation.start_collector(render)
    pid = collector.pid()
    assert [status_of(pid, key).split()[0] for key in ("Uid", "Gid")] == ["65532", "65532"]
    assert [int(status_of(pid, key), 16) for key in ("CapEff", "CapPrm", "CapBnd")] == [0, 0, 0]
    assert (status_of(pid, "NoNewPrivs"), status_of(pid, "Seccomp")) == ("1", "2")
    assert writable(pid) - {"/sys/fs/cgroup"} == {"/var/lib/forklore", "/tmp"}  # runc's own with cgroup v1, and root's
    event = example(render)
    assert installation.send(json.dumps(event).encode() + b"\n")["accepted"] == 1
    collector.kill()
    collector = installation.restart_collector()
    assert [pod["pod"] for pod in installation.read("/v1/pods")["pods"]] == [event["k8s"]["pod"]]
    code, seconds = collector.stop()
    assert code == 0 and seconds < 15, collector.log_text()


def test_the_collector_stores_and_answers_within_its_memory_request(installation: Release) -> None:
    render = installation.render("collector", collector={"resources": {"limits": {"memory": "1Gi"}}})
    collector = installation.start_collector(render)
    asked = bytes_of(collector.pod.spec["containers"][0]["resources"]["requests"]["memory"])
    code, output, wrong = collector.exec("python3", "-c", "from collector.store import engine; print(engine._memory())")
    assert (code, wrong, int(output)) == (0, "", (1 << 30) * 3 // 4), "the engine goes by what the container may have"
    fork = example(render)
    stream = fork["id"].rpartition(".")[0]
    for first in range(0, 50_000, 2000):
        body = b"\n".join(json.dumps({**fork, "id": f"{stream}.{number}"}).encode() for number in range(first, first + 2000))
        assert installation.send(body)["accepted"] == 2000
    (pod,) = installation.read("/v1/pods")["pods"]
    assert pod["delivered"] == 50_000
    assert len(installation.read(f"/v1/forks?pod={pod['pod']}&from={fork['timestamp']}&limit=500")["forks"]) == 500
    assert int(status_of(collector.pid(), "VmHWM").removesuffix(" kB")) << 10 < asked
    assert collector.stop()[0] == 0, collector.log_text()


@pytest.mark.parametrize("mode", MODES)
def test_the_next_container_takes_over_the_pins_of_the_last_one_and_no_fork_is_missing(
    installation: Release, api: ApiServer, forker: Any, mode: str
) -> None:
    render = installation.render(mode, agent={"settings": settings()})
    installation.start_collector(render)
    agent = installation.start_agent(render)
    cart = forker("cart")
    named(agent, cart)
    before = counted(agent, cart)
    cart.go()
    time.sleep(0.5)
    assert agent.stop()[0] == 0
    installation.remove(agent)
    assert any(installation.pins.glob("dispatch/link-*")), "capture goes on without an agent"
    time.sleep(0.5)
    agent = installation.start_agent(render)
    first = agent.get(STATUS, "/v1/ledger")
    assert first["taken_over"]
    assert "clang" not in agent.log_text()
    agent.kill()
    time.sleep(0.5)
    installation.remove(agent)
    agent = installation.start_agent(render)
    assert agent.get(STATUS, "/v1/ledger")["epoch"] == first["epoch"]
    made = cart.stop()
    until(lambda: counted(agent, cart) == before + made, "the agent has counted all of them")
    assert agent.stop()[0] == 0, agent.log_text()
    pod = at_the_collector(installation, cart)
    assert pod["processes"] == pod["delivered"] == before + made
    assert pod["missing"] == {}
    (node,) = installation.read("/v1/ledger")["nodes"]
    # Others of this machine fork on, and what waits for its name is the next agent's: it is on its way.
    assert (node["state"] in {"complete", "on its way"}, node["unexplained"], len(node["streams"])) == (True, 0, 1)


@pytest.fixture(scope="module")
def another_build(here: Node) -> str:
    """An image with other BPF programs: the agent's, with one line of the source changed."""
    root, name = IMAGES / "storage", "ghcr.io/forklore/agent:another"
    archive = IMAGES / "agent-another.tar"
    if not root.exists():
        pytest.skip("the image was not built here: make image")
    buildah = ["buildah", "--root", str(root), "--runroot", str(IMAGES / "run")]

    def run(*command: str) -> str:
        return subprocess.run([*buildah, *command], check=True, capture_output=True, text=True, timeout=300).stdout.strip()

    container = run("from", "--pull-never", "ghcr.io/forklore/agent:0.1.0")
    program = Path(run("mount", container), "usr/local/lib/python3.13/dist-packages/agent/bpf/counters.c")
    source = program.read_text()
    changed = source.replace("struct cgroup_counters fresh = {}", "struct cgroup_counters fresh = { .entered = 0 }")
    assert changed != source
    program.write_text(changed)
    run("commit", "--rm", container, name)
    archive.unlink(missing_ok=True)
    run("push", name, f"docker-archive:{archive}:{name}")
    here.have(archive)
    return name


def test_an_upgrade_and_the_way_back_miss_no_fork(
    installation: Release, api: ApiServer, forker: Any, another_build: str
) -> None:
    old = installation.render("least-privilege", agent={"settings": settings()})
    new = installation.render("least-privilege", agent={"settings": settings(), "image": {"tag": "another"}})
    assert new.container()["image"] == another_build
    installation.start_collector(old)
    agent = installation.start_agent(old)
    cart = forker("cart")
    named(agent, cart)
    before = counted(agent, cart)
    instances = [agent.get(STATUS, "/v1/ledger")["epoch"]]
    cart.go()
    for render in (new, old):
        assert agent.stop()[0] == 0, agent.log_text()
        installation.remove(agent)
        agent = installation.start_agent(render)
        until(lambda: not agent.get(STATUS, "/v1/ledger")["former"], "the former program instance is drained")  # noqa: B023
        instances.append(agent.get(STATUS, "/v1/ledger")["epoch"])
    assert len(set(instances)) == 3, "each build has a program instance of its own"
    made = cart.stop()
    time.sleep(1.5)  # the last summary's interval
    assert agent.stop()[0] == 0, agent.log_text()
    pod = at_the_collector(installation, cart)
    assert pod["processes"] == pod["delivered"] == before + made
    (node,) = installation.read("/v1/ledger")["nodes"]
    current, *former = node["streams"]  # the newest first
    assert [(one["state"], one["missing"]) for one in former] == [("complete", 0)] * 2
    assert current["state"] in {"complete", "on its way"} and node["unexplained"] == 0


@pytest.mark.parametrize("later_s", [0.0, 0.5, 1.0])
def test_a_container_that_gets_sigterm_while_it_starts_ends_at_once(installation: Release, later_s: float) -> None:
    """A process with pid 1 gets only the signals that it handles: the others are not delivered to it."""
    render = installation.render("least-privilege", agent={"settings": settings()}, collector={"enabled": False})
    agent = installation.run_agent(installation.agent_pod(render))
    pid = agent.pid()
    until(lambda: int(status_of(pid, "SigCgt"), 16) >> signal.SIGTERM - 1 & 1, "it handles SIGTERM", every=0.001)
    assert "aiohttp" not in Path(f"/proc/{pid}/maps").read_text(), "slow imports come after that"
    time.sleep(later_s)
    code, seconds = agent.stop()
    assert (code, agent.log_text().count("Traceback")) == (0, 0), agent.log_text()
    assert seconds < 15
