"""The demo's node: real containers, and a cluster that receives their statuses as from a kubelet."""

import asyncio

import pytest

from dev.demo.containers import leftovers
from dev.demo.containers.runtime import ContainerError, Runtime
from dev.demo.kubernetes.cluster import Cluster
from dev.demo.workloads import CART, WORKER, Node, Workload

pytestmark = pytest.mark.containers


@pytest.fixture
def runtime(tmp_path):
    with Runtime(tmp_path / "runtime") as runtime:
        yield runtime


async def wait_until(cluster, holds):
    """Waits for a change of the cluster after which `holds()` is true."""
    async with asyncio.timeout(60):
        while not holds():
            await cluster.wait_past(cluster.version)


def changes(cluster, namespace):
    """The changes of this namespace's pods: change, name, and the first container's state and id."""
    for event in cluster.events_after(1000):
        if event.pod["metadata"]["namespace"] == namespace:
            status = event.pod["status"]["containerStatuses"][0]
            yield event.change, event.pod["metadata"]["name"], next(iter(status["state"])), status.get("containerID")


async def test_a_pod_is_known_before_its_first_process_and_its_container_after(runtime):
    cluster = Cluster()
    async with Node(cluster, runtime) as node:
        start = asyncio.create_task(node.start(CART))
        await cluster.wait_past(1000)
        assert runtime.running() == (), "nothing runs yet"
        await start
        sandbox, app = sorted(runtime.running(), key=lambda container: container.name == "app")
        assert [change[0] for change in changes(cluster, "shop")] == ["ADDED"], "no status yet"
        await cluster.wait_past(1001)
        reported = [change[2:] for change in changes(cluster, "shop")]
    assert reported == [("waiting", None), ("running", f"containerd://{app.id}")]
    assert sandbox.id not in str(list(cluster)), "a sandbox is in no status"
    assert sandbox.pod_uid == app.pod_uid == next(iter(cluster))["metadata"]["uid"]


async def test_a_deployment_s_pod_has_kubernetes_names_and_owner(runtime):
    cluster = Cluster()
    async with Node(cluster, runtime, "node7") as node:
        await node.start(WORKER)
        (pod,) = cluster
    owner = pod["metadata"]["ownerReferences"][0]
    assert owner["kind"] == "ReplicaSet"
    assert owner["name"] == f"worker-{pod['metadata']['labels']['pod-template-hash']}"
    assert pod["metadata"]["name"].startswith(f"{owner['name']}-")
    assert pod["spec"]["nodeName"] == "node7"


async def test_each_run_of_the_cron_job_has_a_new_pod(runtime):
    cluster = Cluster()
    async with Node(cluster, runtime) as node:
        node.run_cron()
        await wait_until(cluster, lambda: [change[0] for change in changes(cluster, "batch")].count("DELETED") == 1)
        await node.stop()
    reported = list(changes(cluster, "batch"))
    first = [change for change in reported if change[1] == reported[0][1]]
    assert [change[0] for change in first] == ["ADDED", "MODIFIED", "MODIFIED", "DELETED"]
    assert first[1][2] == "terminated", "it ended before any status reported it as running"
    assert len({change[1] for change in reported}) >= 2
    assert {one.tasks for one in node.ended_containers()} == {6}, "five dates and a sleep; the last command replaces the shell"


async def test_the_tasks_of_a_container_are_counted_by_its_pid_namespace(runtime):
    program = "; ".join(
        ["cat /proc/sys/kernel/ns_last_pid >>/work/tasks", "(:); (:); (:); (:)", "cat /proc/sys/kernel/ns_last_pid"]
    )
    workload = Workload("shop", "exact", "app", ("sh", "-c", f"{program} >>/work/tasks; sleep 1000"), "besteffort")
    cluster = Cluster()
    async with Node(cluster, runtime) as node:
        await node.start(workload)
        await cluster.wait_past(1001)
        await node.stop()
    assert [one.tasks for one in node.ended_containers()] == [5], "four subshells and the cat that counted them"


async def test_tasks_before_counting_started_are_not_counted(runtime):
    cluster = Cluster()
    async with Node(cluster, runtime) as node:
        await node.start(WORKER)
        await cluster.wait_past(1001)
        (container,) = runtime.running()
        before = len((container.work / "tasks").read_text().split())
        node.start_counting()
        runtime.kill(container)
        await node.stop()
    assert before >= 1
    assert node.ended_containers()[0].tasks <= 25, "one round at most: twelve processes, or a pool with its threads"


async def test_an_error_in_the_background_ends_the_node_and_is_raised(runtime):
    class NoMore(Runtime):
        def start(self, argv, **arguments):
            raise ContainerError("no more")

    with pytest.raises(ContainerError, match="no more"):
        async with Node(Cluster(), NoMore(runtime.root)) as node:
            node.run_cron()
            await asyncio.sleep(60)


async def test_nothing_runs_after_a_stop(runtime):
    cluster = Cluster()
    async with Node(cluster, runtime) as node:
        await node.start(CART)
        await node.start(WORKER)
        node.run_cron()
        containers = runtime.running()
        await node.stop()
    assert runtime.running() == ()
    assert [leftovers.directories(container.cgroups_path) for container in containers] == [()] * len(containers)
