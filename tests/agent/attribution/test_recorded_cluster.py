"""Attribution of a recorded real cluster: each process has the pod, container and kind that it had there."""

import pytest

from agent.attribution.attributions import Attributions
from agent.attribution.cgroups import Cgroups
from agent.attribution.kubelet_root import KubeletRoot
from agent.attribution.pods import Pods
from agent.attribution.pods.objects import pod_of

# What ran at the moment of the recording, by workloads.yaml and the command lines, not by the agent.
TRUTH = {
    ("static-proxy-node1", "proxy", "app"): 2,
    ("static-proxy-node1", None, "sandbox"): 1,
    ("logs-hv7dp", "tail", "app"): 2,
    ("logs-hv7dp", None, "sandbox"): 1,
    ("cart-59855dd6c8-hnc27", "mesh", "sidecar"): 2,
    ("cart-59855dd6c8-hnc27", "app", "app"): 2,
    ("cart-59855dd6c8-hnc27", None, "sandbox"): 1,
    ("cart-59855dd6c8-j77f6", "mesh", "sidecar"): 2,
    ("cart-59855dd6c8-j77f6", "app", "app"): 2,
    ("cart-59855dd6c8-j77f6", None, "sandbox"): 1,
    ("crasher", None, "sandbox"): 1,
    ("db-0", "pg", "app"): 2,
    ("db-0", "dbg", "ephemeral"): 1,
    ("db-0", None, "sandbox"): 1,
}


def path_of(process):
    return next(line.split(":", 2)[2] for line in process["cgroup"] if ":pids:" in line)


@pytest.fixture
def processes(recorded):
    return recorded("cgroups-running.json")


@pytest.fixture
def cgroups(processes):
    """A walk gives no creation times, but rising ids; the recording's processes are sorted by their start."""
    found, ids = Cgroups(), {}
    for process in sorted(processes, key=lambda process: process["host_pid"]):
        path = path_of(process)
        if path not in ids:
            ids[path] = found.add(len(ids) + 1, path.encode(), 0).id
    found.ids = ids
    return found


@pytest.fixture
def pods(recorded):
    pods = Pods()
    pods.replace([pod_of(item) for item in recorded("list-running.json")["items"]], 0.0)
    return pods


def test_every_process_gets_its_pod_container_and_kind(processes, cgroups, pods):
    attributions, counts = Attributions(cgroups, pods, KubeletRoot("/kubepods"), api=True), {}
    for process in processes:
        attribution = attributions.resolve_final(cgroups.ids[path_of(process)])
        assert attribution.state == "resolved"
        names = (attribution.pod.name, attribution.container.name, attribution.container.kind)
        counts[names] = counts.get(names, 0) + 1
    assert counts == TRUTH


def test_only_sandboxes_have_to_wait(processes, cgroups, pods):
    attributions = Attributions(cgroups, pods, KubeletRoot("/kubepods"), api=True)
    for process in processes:
        known = attributions.find(cgroups.ids[path_of(process)]) is not None
        assert known == (process["comm"] != "pause")


def test_without_the_api_every_process_has_pod_uid_and_container_id_by_its_path(processes, cgroups):
    attributions = Attributions(cgroups, Pods(), KubeletRoot("/kubepods"), api=False)
    for process in processes:
        path = path_of(process)
        attribution = attributions.find(cgroups.ids[path])
        assert path == f"{path.rpartition('/pod')[0]}/pod{attribution.pod_uid}/{attribution.container.id}"


def test_the_recorded_events_end_with_the_pods_that_existed_at_the_end(recorded_events):
    """ADDED, MODIFIED and DELETED in their order. Deleted pods do not count, but their containers still have names."""
    pods, alive, ids = Pods(), set(), {}
    for event in recorded_events:
        if event["type"] == "BOOKMARK":
            continue
        pod = pod_of(event["object"])
        pods.put(pod)
        ids |= {one.id: pod.uid for one in pod.containers.values()}
        if event["type"] == "DELETED":
            pods.remove(pod.uid, 0.0)
            alive.discard(pod.uid)
        else:
            alive.add(pod.uid)
    assert len(pods) == len(alive)
    for container, uid in ids.items():
        assert pods.get(uid).containers[container].name
