"""Many real containers that live for milliseconds; every fork must have one event, with its container.

The expected numbers are the workloads' own counts (see `churn`); they are compared with what an HTTP receiver got and with what
the agent counted. No assertion is about time.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import pytest

from dev.demo.containers.bundles import Driver
from dev.demo.containers.runtime import Runtime
from dev.demo.kubernetes.api_server import KubernetesApi
from dev.demo.kubernetes.cluster import Cluster

from .agent_process import PATIENCE, Agent
from .churn import Node, Ran, comm, draw_pods
from .conftest import Receiver, hierarchy

# 15 s alone; beside other tests with containers it waits for the lock of dev.demo.containers.leftovers.
pytestmark = [pytest.mark.kernel, pytest.mark.containers, pytest.mark.timeout(300)]

SEED = 20260
CONTAINERS = int(os.environ.get("CONTAINERS", "80"))  # for both drivers; 78: every kind of pod in every class of each
AT_ONCE = 6
WAIT = 5.0  # seconds; also the settings' default
COLUMNS = ("at once", "late", "unresolved", "wrong")
OURS = Path("/proc/self/ns/pid").stat().st_ino
Event = dict[str, Any]
Key = tuple[str | None, ...]


class Judgement(NamedTuple):
    """`own`: forks of workloads after their marker; `set_up`: the runtime's forks, and those of a workload before its marker;
    `sandbox`: all of a sandbox; `unannounced`: all of a container that the API never has. Counts by COLUMNS."""

    own: Counter[str]
    set_up: Counter[str]
    sandbox: Counter[str]
    unannounced: Counter[str]
    unresolved: Counter[int]  # unresolved forks by the container's number
    made: dict[str, Counter[str]]  # by container id, what the agent should have counted: process, thread
    attached_tasks: Counter[str]  # by container id, the processes that were forked outside and attached
    faults: list[str]

    @property
    def complete(self) -> bool:
        return not any(fault.startswith("missing") for fault in self.faults)


def judge(events: list[Event], node: Node, *, api: bool) -> Judgement:
    """Compares each event of our containers with what its container has counted."""
    by_comm = {comm(node.nonce, ran.plan): ran for ran in node.ran.values()}
    by_id = {ran.plan.id: ran for ran in node.ran.values()}
    uids = {ran.pod.uid for ran in node.ran.values()}
    found = Judgement(Counter(), Counter(), Counter(), Counter(), Counter(), {id_: Counter() for id_ in by_id}, Counter(), [])
    ids: Counter[str] = Counter()
    numbers: dict[str, Counter[int]] = {id_: Counter() for id_ in by_id}  # of the tasks in each container's pid namespace
    own_numbers: dict[str, Counter[int]] = {id_: Counter() for id_ in by_id}
    for event in events:
        if event["event"] != "sched_process_fork":
            continue
        container = event["container"]["id"] if event["container"] else None
        mine = by_comm.get(event["parent_comm"])
        ran = mine or by_id.get(container)
        if ran is None:
            if event["k8s"].get("pod_uid") in uids:
                found.faults.append(f"of no container, in a pod of ours: {event['k8s']} {event['cgroup']}")
            continue
        ids[event["id"]] += 1
        verdict, why = judge_one(event, ran, node, api=api)
        which = found.own if mine else found.set_up
        if ran.plan.announced_after is None:
            which = found.sandbox if ran.plan.name is None else found.unannounced
        which[verdict] += 1
        found.unresolved[ran.plan.number] += verdict == "unresolved"
        if why:
            found.faults.append(f"{verdict}: container {ran.plan.number} ({ran.plan.shape}, pod {ran.pod.name}): {why}")
        if container in by_id and event["enrichment"]["by"] == "attach":
            found.attached_tasks[container] += 1
        elif container in by_id:
            found.made[container][event["kind"]] += 1
            if inside(event):
                numbers[container][event["child_ns_tid"]] += 1
        if mine:
            own_numbers[ran.plan.id][event["child_ns_tid"]] += 1
    found.faults.extend(f"twice: event {id_}" for id_, times in ids.items() if times > 1)
    for id_, ran in by_id.items():
        who = f"container {ran.plan.number} ({ran.plan.shape} x {ran.plan.turns})"
        # All tasks in its namespace, including the runtime's, by the event's container; and those that the workload created
        # after its marker, by the event's comm.
        for what, seen, true in [
            ("in its namespace", numbers[id_], range(1, ran.last + 1)),
            ("of its own", own_numbers[id_], range(ran.before + 1, ran.last + 1)),
        ]:
            truth = Counter(true)
            if lost := sorted((truth - seen).elements()):
                found.faults.append(f"missing: {who}: {what}, {lost} of {true}")
            if more := sorted((seen - truth).elements()):
                found.faults.append(f"too many: {who}: {what}, {more} beyond {true}")
    return found


def inside(event: Event) -> bool:
    """Whether the task was created in another pid namespace than the runtime's, which is ours."""
    return bool(event["namespaces"]["pid"] != OURS)


def judge_one(event: Event, ran: Ran, node: Node, *, api: bool) -> tuple[str, str | None]:
    """One of COLUMNS, and what is wrong."""
    state, by, _lag = event["enrichment"].values()
    pod, sandbox = ran.pod, ran.plan.name is None
    k8s, container = event["k8s"], event["container"] or {}
    reported: Key = (
        k8s.get("pod_uid"), container.get("id"), k8s.get("namespace"), k8s.get("pod"), container.get("name"),
        container.get("kind"), k8s.get("qos"), (k8s.get("labels") or {}).get("churn"),
    )  # fmt: skip
    kind = "sandbox" if sandbox else "app"
    known: Key = (pod.uid, ran.plan.id, pod.namespace, pod.name, ran.plan.name, kind, pod.qos.capitalize(), pod.uid)
    known = tuple("BestEffort" if one == "Besteffort" else one for one in known)
    from_path: Key = (pod.uid, ran.plan.id, *[None] * 6)
    path = (event["cgroup"] or {}).get("path") or ""
    if not path.endswith(ran.container.cgroups_path):
        return "wrong", f"the cgroup {path}"
    if inside(event) and event["child_ns_tid"] == 1 and event["child_pid"] != ran.container.pid:
        return "wrong", f"its first process is {ran.container.pid}, not {event['child_pid']}"
    methods = ({"birth"} if sandbox else {"status", "spec", "order"}) if api else {"cgroup"}
    # A process that the runtime forked outside and attached.
    if event["parent_comm"] != comm(node.nonce, ran.plan) and not inside(event):
        methods.add("attach")
    if state in ("resolved", "late"):
        if reported != known or by not in methods:
            return "wrong", f"{by}: {reported}, not {known}"
        return ("late" if state == "late" else "at once"), None
    pairs = zip(reported, known, strict=True)
    # A name may be missing, but not wrong; the pod's uid and the container's id are always there.
    if state != "unresolved" or reported[:2] != from_path[:2] or any(one not in (None, true) for one, true in pairs):
        return "wrong", f"{state} by {by}: {reported}, not {known}"
    if api and ran.plan.announced_after is None and not sandbox and reported[2:4] != known[2:4]:
        return "wrong", f"{reported}, though its pod is known"
    if not api and (reported != from_path or by not in methods):
        return "wrong", f"{state} by {by}: {reported}, though there is no API"
    return "unresolved", None


def tasks_of_their_own(node: Node) -> int:
    """What the workloads that the API has count."""
    return sum(ran.last - ran.before for ran in node.ran.values() if ran.plan.announced_after is not None)


async def delivered(agent: Agent, receiver: Receiver, node: Node, *, api: bool) -> None:
    """Waits until nothing is missing and nothing waits, at most for PATIENCE: then the judgement reports what is missing."""
    deadline = asyncio.get_running_loop().time() + WAIT + PATIENCE
    while asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(0.5)
        ledger = await asyncio.to_thread(agent.get, "/v1/ledger")
        waiting = ledger["sinks"]["test"]["queued"]["waiting"]
        if not waiting and judge(list(receiver.events), node, api=api).complete:
            return


def table(title: str, found: Judgement, node: Node, counted: Counter[str]) -> str:
    """The result, for people to read."""
    rans = [ran for ran in node.ran.values() if ran.plan.announced_after is not None]
    planned, own = sum(ran.plan.planned for ran in rans), sum(ran.last - ran.before for ran in rans)
    lived = sorted(ran.lived_ms for ran in rans if not ran.plan.stays)
    inside, made = sum(ran.last for ran in node.ran.values()), sum(map(Counter.total, found.made.values()))
    delays = sorted(node.announced.values()) or [0.0]
    announced = f"the API had each after {delays[0]:.2f} to {delays[-1]:.2f} s" if node.announced else "no API"
    lines = [
        f"{title}: seed {SEED}, {len(rans)} containers in {len({ran.pod.uid for ran in rans})} pods, {AT_ONCE} at once",
        f"  from marker to end {lived[0]:.0f} to {lived[-1]:.0f} ms, median {median(lived):.0f} ms;"
        f" {sum(1 for ran in rans if not ran.plan.planned)} did nothing; {announced}",
        f"  {'events':34}" + "".join(f"{name:>12}" for name in (*COLUMNS, "sum", "counted")),
    ]
    for name, counts, truth in [
        ("the workloads' own", found.own, own),
        ("the runtime's, before the marker", found.set_up, None),
        ("sandboxes", found.sandbox, None),
        ("containers the API never has", found.unannounced, None),
        ("all of them", found.own + found.set_up + found.sandbox + found.unannounced, None),
    ]:
        numbers = [*(counts[column] for column in COLUMNS), counts.total()]
        lines.append(f"  {name:34}" + "".join(f"{n:>12}" for n in (*numbers, "-" if truth is None else truth)))
    lines += [
        f"  the workloads planned {planned} tasks; their pid namespaces numbered {own} after the marker, {inside} in all",
        f"  forked in the containers, by events {made}, by the agent's /v1/pods"
        f" {counted['processes']} processes + {counted['threads']} threads, {counted['lost']} lost;"
        f" attached: {found.attached_tasks.total()} of {counted['entered']}",
        "",
    ]
    return "\n".join(lines)


def check_totals(ledger: dict[str, Any], found: Judgement, node: Node, *, api: bool) -> None:
    """The agent has sent what it counts for each container, under the same name, and its ledger is closed."""
    by_id = {ran.plan.id: ran for ran in node.ran.values()}
    seen = Counter(entry["container_id"] for entry in ledger["pods"] if entry["container_id"] in by_id)
    assert seen == Counter(by_id.keys())
    for entry in ledger["pods"]:
        if (ran := by_id.get(entry["container_id"])) is None:
            continue
        made = found.made[ran.plan.id]
        assert (entry["processes"], entry["threads"]) == (made["process"], made["thread"]), entry
        assert entry["emitted"] == entry["delivered"]["test"] == made.total(), entry
        # The runtime attaches its first process; if it is slow, that fork was already sent as the host's.
        assert found.attached_tasks[ran.plan.id] <= entry["entered"]
        name = ran.plan.name if ran.plan.announced_after is not None or ran.pod.is_named_by_its_spec else None
        kind = "app" if name else "sandbox" if ran.plan.name is None else None
        names = (ran.pod.namespace, ran.pod.name, name, kind) if api else (None, None, None, None)
        if ran.plan.number not in node.announced_too_late(WAIT):
            assert (entry["namespace"], entry["pod"], entry["container"], entry["kind"]) == names
        assert entry["pod_uid"] == ran.pod.uid
    assert found.attached_tasks
    mine = ledger["sinks"]["test"]
    assert ledger["closed"]
    # Forks of other processes of this machine may be suppressed meanwhile.
    assert ledger["captured"] - ledger["suppressed"] == ledger["received"] == mine["delivered"]
    assert not any(mine["queued"].values())
    # The kernel calls no tracepoint for a few tasks of this machine while other agents come and go.
    assert not any(count for reason, count in ledger["lost"].items() if reason != "unseen")
    assert not mine["lost"]


@contextmanager
def kubelets_cgroups(driver: Driver) -> Iterator[None]:
    """The cgroups of the root and of the QoS classes, which a kubelet makes at its start and keeps. The runtime here removes
    what is empty, so each holds another."""
    root = hierarchy().root / ("kubepods" if driver == "cgroupfs" else "kubepods.slice")
    classes = [f"kubepods-{qos}.slice" if driver == "systemd" else qos for qos in ("burstable", "besteffort")]
    held = [root / "held", *(root / name / "held" for name in classes)]
    for folder in held:
        folder.mkdir(parents=True)
    try:
        yield
    finally:
        for folder in reversed(held):
            folder.rmdir()
            with suppress(OSError):  # it was there before, with others' pods
                folder.parent.rmdir()


async def churn(
    start_agent: Callable[..., Agent],
    receiver: Receiver,
    runtime: Runtime,
    kubeconfig: Path,
    cluster: Cluster | None,
    containers: int,
    driver: Driver,
) -> tuple[Node, Judgement, dict[str, Any]]:
    """Starts the agent, runs the containers, stops the agent. Returns its last ledger, too."""
    api = cluster is not None
    # As on a node, the kubelet's root is there before the agent. It is given: what the first pods fork while the agent learns
    # it may be counted for the host.
    root = {"kubelet_cgroup_root": "/kubepods" if driver == "cgroupfs" else "/kubepods.slice"}
    with kubelets_cgroups(driver):
        agent = await asyncio.to_thread(
            start_agent,
            capture={"threads": True},  # so that every number of a pid namespace is an event
            kubernetes={"kubeconfig": str(kubeconfig), "wait": f"{WAIT:.0f}s", **root},
            sinks=[{"name": "test", "url": receiver.url, "batch": {"wait": "100ms"}}],
        )
        node = Node(runtime, cluster, AT_ONCE)
        await node.run(draw_pods(SEED, containers, driver))
    await delivered(agent, receiver, node, api=api)
    ledger = await asyncio.to_thread(agent.stop)
    return node, judge(receiver.events, node, api=api), ledger


def report(
    title: str, found: Judgement, node: Node, ledger: dict[str, Any], record: Callable[[str, object], None], capsys: Any
) -> None:
    """Prints the result, also when all is right, and adds it to the test report."""
    ids = {ran.plan.id for ran in node.ran.values()}
    counted: Counter[str] = Counter()
    for entry in ledger["pods"]:
        if entry["container_id"] in ids:
            counted.update({key: entry[key] for key in ("processes", "threads", "lost", "entered")})
    text = table(title, found, node, counted)
    record("churn", text)
    with capsys.disabled():
        sys.stdout.write(f"\n{text}")


@pytest.mark.parametrize("driver", ["cgroupfs", "systemd"])
async def test_each_short_lived_container_has_its_own_forks(
    start_agent: Callable[..., Agent],
    receiver: Receiver,
    runtime: Runtime,
    tmp_path: Path,
    record_property,
    capsys,
    driver: Driver,
) -> None:
    cluster = Cluster()
    async with KubernetesApi(cluster) as api:
        api.write_kubeconfig(tmp_path / "kubeconfig")
        kubeconfig, containers = tmp_path / "kubeconfig", CONTAINERS // 2
        node, found, ledger = await churn(start_agent, receiver, runtime, kubeconfig, cluster, containers, driver)
    report("churn", found, node, ledger, record_property, capsys)
    assert all(ran.last - ran.before == ran.plan.planned for ran in node.ran.values())
    assert found.faults == []
    assert not any(counts["wrong"] for counts in (found.own, found.set_up, found.sandbox, found.unannounced))
    # A container that the API never has is named by its pod's spec when that has no other; else it stays unresolved, with its
    # pod. It is not taken for a sandbox.
    silent = {ran.plan.number: ran for ran in node.ran.values() if ran.plan.name and ran.plan.announced_after is None}
    assert {n for n in silent if found.unresolved[n]} == {n for n, ran in silent.items() if not ran.pod.is_named_by_its_spec}
    assert found.unannounced["late"] > 0
    # On a machine that was too busy for the API to have them in time, the path was the only source.
    assert {number for number, count in found.unresolved.items() if count} - silent.keys() <= node.announced_too_late(WAIT)
    assert found.own.total() == tasks_of_their_own(node)
    check_totals(ledger, found, node, api=True)


@pytest.mark.parametrize("driver", ["cgroupfs", "systemd"])
async def test_without_an_api_each_short_lived_container_is_named_by_pod_uid_and_id(
    start_agent: Callable[..., Agent],
    receiver: Receiver,
    runtime: Runtime,
    tmp_path: Path,
    record_property,
    capsys,
    driver: Driver,
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # in use, and connections are refused: nothing listens
        KubernetesApi(Cluster(), port=unused.getsockname()[1]).write_kubeconfig(tmp_path / "kubeconfig")
        kubeconfig, containers = tmp_path / "kubeconfig", CONTAINERS // 4
        node, found, ledger = await churn(start_agent, receiver, runtime, kubeconfig, None, containers, driver)
    report("no API", found, node, ledger, record_property, capsys)
    assert all(ran.last - ran.before == ran.plan.planned for ran in node.ran.values())
    assert found.faults == []
    assert set(found.own + found.set_up + found.sandbox + found.unannounced) == {"unresolved"}
    assert found.own.total() == tasks_of_their_own(node)
    assert "list" in ledger["kubernetes"]["requests"]  # it has asked
    check_totals(ledger, found, node, api=False)
