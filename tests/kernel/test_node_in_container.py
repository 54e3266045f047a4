"""A node that is a container with a cgroup namespace of its own (kind, k3d, minikube): what is in it is captured and named, and
nothing else is."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from dev.demo.containers.bundles import UnavailableError, build_rootfs, write_bundle
from dev.demo.kubernetes import pod_objects
from dev.demo.kubernetes.api_server import KubernetesApi
from dev.demo.kubernetes.cluster import Cluster

from .agent_process import Agent, until
from .conftest import Receiver, remove_cgroups

pytestmark = [pytest.mark.kernel, pytest.mark.containers, pytest.mark.timeout(300)]

# A process of the node: it joins the node's cgroup from outside, and then sees that cgroup as the root of a v2 hierarchy.
NODE = """
echo $$ > "$0/cgroup.procs" && exec unshare --cgroup --mount --propagation private sh -c '
umount -R -l /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup && echo there && exec sleep infinity'
"""
ENTER = 'echo $$ > "$0/cgroup.procs" && pid=$1 && shift && exec nsenter --target $pid --cgroup --mount --wd="$PWD" "$@"'
WORKLOAD = """
while [ ! -e /work/go ]; do sleep 0.1; done
for n in 1 2 3 4 5 6 7 8; do (:); done
sh -c 'echo $$ > /work/last'
exec sleep 600
"""


class Node(NamedTuple):
    """`cgroup`: its root, from outside. `enter`: what runs a command in it."""

    cgroup: Path
    enter: tuple[str, ...]


@pytest.fixture
def node() -> Iterator[Node]:
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    unified = next((Path(where) for _, where, kind, *_ in mounts if kind == "cgroup2" and os.access(where, os.W_OK)), None)
    if unified is None:
        pytest.skip("no cgroup v2 hierarchy is mounted here")
    cgroup = unified / f"forklore-node-{os.getpid()}" / "node"
    cgroup.mkdir(parents=True)
    first = subprocess.Popen(["sh", "-c", NODE, str(cgroup)], stdout=subprocess.PIPE)
    try:
        assert first.stdout and first.stdout.readline() == b"there\n"
        yield Node(cgroup, ("sh", "-c", ENTER, str(cgroup), str(first.pid)))
    finally:
        (cgroup / "cgroup.kill").write_text("1")
        first.wait()
        remove_cgroups(cgroup.parent)


@pytest.fixture
def pod() -> pod_objects.Pod:
    return pod_objects.Pod("shop", "cart-1", str(uuid.uuid4()), (("app", ("sh",)),))


def start_container(node: Node, folder: Path, pod: pod_objects.Pod, container: str) -> Path:
    """By runc, inside the node, where the kubelet of kind would put it. Returns its /work."""
    work, bundle = folder / "work", folder / "bundle"
    work.mkdir()
    bundle.mkdir()
    try:
        rootfs = build_rootfs(folder / "rootfs")
    except UnavailableError as error:
        pytest.skip(str(error))
    path = f"/kubelet/kubepods/burstable/pod{pod.uid}/{container}"
    write_bundle(
        bundle,
        rootfs=rootfs,
        argv=["/bin/sh", "-c", WORKLOAD],
        cgroups_path=path,
        hostname="cart-1",
        env={},
        work=work,
        own_network=False,
        privileged=False,
        writable_cgroups=False,
    )
    config = json.loads((bundle / "config.json").read_text())
    config["linux"].pop("resources", None)  # v2 may have no controllers here, beside v1
    (bundle / "config.json").write_text(json.dumps(config))
    run = ["runc", "--root", str(folder / "runc"), "run", "--detach", "--bundle", str(bundle), container]
    with (folder / "runc.log").open("wb") as log:
        done = subprocess.run([*node.enter, *run], stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False)
    assert done.returncode == 0, (folder / "runc.log").read_text()
    return work


def fork_outside() -> None:
    for _ in range(20):
        subprocess.run([sys.executable, "-S", "-c", ""], check=True)


@pytest.fixture
async def cluster(node: Node, pod: pod_objects.Pod, tmp_path: Path) -> AsyncIterator[Cluster]:
    """Its API has the pod, and the node has the kubelet's cgroups."""
    (node.cgroup / "kubelet/kubepods/burstable").mkdir(parents=True)
    here = Cluster()
    here.add_pod(pod)
    async with KubernetesApi(here) as api:
        api.write_kubeconfig(tmp_path / "kubeconfig")
        yield here


@pytest.fixture
def start(node: Node, start_agent: Callable[..., Agent], receiver: Receiver, tmp_path: Path) -> Callable[..., Agent]:
    """Starts an agent in the node."""

    def start_in_node(**capture: Any) -> Agent:
        return start_agent(
            command=node.enter,
            capture={"threads": True, **capture},  # so that every number of the pid namespace is an event
            kubernetes={"kubeconfig": str(tmp_path / "kubeconfig"), "wait": "30s"},
            sinks=[{"name": "test", "url": receiver.url, "batch": {"wait": "100ms"}}],
        )

    return start_in_node


async def run_container(node: Node, folder: Path, cluster: Cluster, pod: pod_objects.Pod, container: str) -> Path:
    work = await asyncio.to_thread(start_container, node, folder, pod, container)
    cluster.replace_pod(pod_objects.running(cluster.pod(pod.uid), "app", container, f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"))
    return work


async def let_it_fork(work: Path) -> set[int]:
    """Returns the numbers of the tasks that the container makes, in its pid namespace."""
    (work / "go").touch()
    last = int(await asyncio.to_thread(until, lambda: _text(work / "last"), "the workload has forked"))
    return {*range(2, last + 1)}


def fork_below(cgroup: Path) -> int:
    """In a cgroup that it creates there. Returns how often."""
    below = cgroup / "below"
    below.mkdir()
    subprocess.run(["sh", "-c", 'echo $$ > "$0/cgroup.procs"; for n in 1 2 3 4 5; do (:); done', str(below)], check=True)
    return 5


async def test_only_the_node_is_captured_and_its_pods_are_named(
    node: Node, pod: pod_objects.Pod, cluster: Cluster, start: Callable[..., Agent], receiver: Receiver, tmp_path: Path
) -> None:
    container = secrets.token_hex(32)
    agent = await asyncio.to_thread(start)
    work = await run_container(node, tmp_path, cluster, pod, container)
    await asyncio.to_thread(fork_outside)
    made = await let_it_fork(work)
    before = await asyncio.to_thread(agent.known_container, container)
    below = await asyncio.to_thread(fork_below, node.cgroup / f"kubelet/kubepods/burstable/pod{pod.uid}/{container}")
    after = await asyncio.to_thread(agent.container, container)
    ledger = await asyncio.to_thread(agent.stop)
    assert _numbers(receiver, container) == made
    assert after["processes"] - before["processes"] == below, "what is forked below its cgroup counts for it"
    assert after["processes"] == len([event for event in receiver.forks(container) if event["kind"] == "process"])
    forks = [event for event in receiver.events if event["event"] == "sched_process_fork"]
    of_container = [event for event in forks if event["container"] and event["container"]["id"] == container]
    for event in of_container:  # runc attaches one of its own
        assert (event["k8s"]["pod"], event["container"]["name"]) == ("cart-1", "app")
        assert event["enrichment"]["by"] in ("status", "attach")
        assert event["cgroup"]["path"].removesuffix("/below") == f"/kubelet/kubepods/burstable/pod{pod.uid}/{container}"
    assert os.getpid() not in {event["parent_pid"] for event in forks}
    assert all(event["cgroup"]["path"] for event in forks), "each is of a cgroup of the node"
    # The counts are of the node too, and not of the machine: a task made outside would be a worker, which has no fork event.
    assert ledger["closed"] and not any(ledger["lost"].values())
    assert ledger["captured"] - ledger["suppressed"] == ledger["received"] == len(forks)
    assert ledger["kernel_workers"] == 0
    assert "this node is a container: forks outside it are not seen" in agent.log.read_text()


async def test_what_a_node_forks_while_no_capture_runs_is_logged_and_no_gap_is_made_up(
    cluster: Cluster, start: Callable[..., Agent], receiver: Receiver
) -> None:
    await asyncio.to_thread((await asyncio.to_thread(start)).stop)
    await asyncio.to_thread(fork_outside)
    agent = await asyncio.to_thread(start)
    ledger = await asyncio.to_thread(agent.stop)
    assert ledger["closed"] and not any(ledger["lost"].values())
    assert not [event for event in receiver.events if event["event"] == "gap"]
    assert "this node is a container: what it forked while no capture ran is not known" in agent.log.read_text()


async def test_a_node_with_pins_loses_none_while_its_agent_is_away(
    pins: Path,
    node: Node,
    pod: pod_objects.Pod,
    cluster: Cluster,
    start: Callable[..., Agent],
    receiver: Receiver,
    tmp_path: Path,
) -> None:
    container = secrets.token_hex(32)
    killed = await asyncio.to_thread(start, pin=str(pins), keep=False)
    work = await run_container(node, tmp_path, cluster, pod, container)
    killed.process.kill()
    await asyncio.to_thread(killed.process.wait)
    made = await let_it_fork(work)
    await asyncio.to_thread(fork_outside)
    agent = await asyncio.to_thread(start, pin=str(pins), keep=False)
    await asyncio.to_thread(until, lambda: _numbers(receiver, container) >= made, "its forks arrived")
    ledger = await asyncio.to_thread(agent.stop)
    assert _numbers(receiver, container) == made
    forks = {event["id"] for event in receiver.events if event["event"] == "sched_process_fork"}
    assert os.getpid() not in {event.get("parent_pid") for event in receiver.events}
    assert ledger["closed"] and not any(ledger["lost"].values())
    assert ledger["captured"] - ledger["suppressed"] == ledger["received"] == len(forks)


def _text(file: Path) -> str:
    return file.read_text().strip() if file.exists() else ""


def _numbers(receiver: Receiver, container: str) -> set[int]:
    """Of the tasks of the container, in its pid namespace, without its first process."""
    return {
        event["child_ns_tid"]
        for event in list[dict[str, Any]](receiver.events)
        if event["event"] == "sched_process_fork"
        and event["container"]
        and event["container"]["id"] == container
        and len(event["child_ns_pids"]) > 1
        and event["child_ns_tid"] > 1
    }
