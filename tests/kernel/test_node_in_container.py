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
from collections.abc import Callable, Iterator
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


async def test_only_the_node_is_captured_and_its_pods_are_named(
    node: Node, pod: pod_objects.Pod, start_agent: Callable[..., Agent], receiver: Receiver, tmp_path: Path
) -> None:
    container, cluster = secrets.token_hex(32), Cluster()
    (node.cgroup / "kubelet/kubepods/burstable").mkdir(parents=True)
    cluster.add_pod(pod)
    async with KubernetesApi(cluster) as api:
        api.write_kubeconfig(tmp_path / "kubeconfig")
        agent = await asyncio.to_thread(
            start_agent,
            command=node.enter,
            capture={"threads": True},  # so that every number of the pid namespace is an event
            kubernetes={"kubeconfig": str(tmp_path / "kubeconfig"), "wait": "30s"},
            sinks=[{"name": "test", "url": receiver.url, "batch": {"wait": "100ms"}}],
        )
        work = await asyncio.to_thread(start_container, node, tmp_path, pod, container)
        manifest = pod_objects.running(cluster.pod(pod.uid), "app", container, f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}")
        cluster.replace_pod(manifest)
        await asyncio.to_thread(fork_outside)
        (work / "go").touch()
        last = int(await asyncio.to_thread(until, lambda: _text(work / "last"), "the workload has forked"))
        numbers = await asyncio.to_thread(
            until, lambda: (found := _numbers(receiver, container)) >= {*range(2, last + 1)} and found, "its forks arrived"
        )
        ledger = await asyncio.to_thread(agent.stop)
    assert numbers == {*range(2, last + 1)}
    forks = [event for event in receiver.events if event["event"] == "sched_process_fork"]
    of_container = [event for event in forks if event["container"] and event["container"]["id"] == container]
    for event in of_container:  # runc attaches one of its own
        assert (event["k8s"]["pod"], event["container"]["name"]) == ("cart-1", "app")
        assert event["enrichment"]["by"] in ("status", "attach")
        assert event["cgroup"]["path"] == f"/kubelet/kubepods/burstable/pod{pod.uid}/{container}"
    assert os.getpid() not in {event["parent_pid"] for event in forks}
    assert all(event["cgroup"]["path"] for event in forks), "each is of a cgroup of the node"
    # The counts are of the node too, and not of the machine.
    assert ledger["closed"] and not any(ledger["lost"].values())
    assert ledger["captured"] - ledger["suppressed"] == ledger["received"] == len(forks)
    assert "this node is a container: forks outside it are not seen" in agent.log.read_text()


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
