"""Hundreds of real containers that live for milliseconds, and whose every fork must be told, once, and as theirs.

The workloads' own account is the measure (`churn` says how they come by it); it is compared with what an HTTP receiver got and
with what the agent counted. Must not live here: how containers and pods are made, and any assertion about time.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import pytest

from dev.demo.containers.runtime import Runtime
from dev.demo.kubernetes.api_server import KubernetesApi
from dev.demo.kubernetes.cluster import Cluster

from .churn import Node, Ran, comm, draw_pods
from .conftest import PATIENCE, Agent, Receiver

# 20 s alone; but beside other tests with containers it stands in line for the one lock of dev.demo.containers.leftovers.
pytestmark = [pytest.mark.kernel, pytest.mark.containers, pytest.mark.timeout(300)]

SEED = 20260
AT_ONCE = 6
WAIT = 5.0  # seconds; also the settings' default
COLUMNS = ("at once", "late", "unresolved", "wrong")
OURS = Path("/proc/self/ns/pid").stat().st_ino
Event = dict[str, Any]
Key = tuple[str | None, ...]


class Judgement(NamedTuple):
    """`own`: what workloads did after their marker; `set_up`: the runtime's part, and what a workload did before its marker;
    `sandbox`: all of a sandbox; `untold`: all of a container that the API never tells of. Counts by COLUMNS."""

    own: Counter[str]
    set_up: Counter[str]
    sandbox: Counter[str]
    untold: Counter[str]
    unnamed: Counter[int]  # unresolved ones by the container's number
    made: dict[str, Counter[str]]  # by container id, what the agent should have counted: process, thread
    attached_tasks: Counter[str]  # by container id, the processes that were made outside and moved in
    faults: list[str]

    @property
    def complete(self) -> bool:
        return not any(fault.startswith("missing") for fault in self.faults)


def judge(events: list[Event], node: Node, *, api: bool) -> Judgement:
    """Holds each event of ours against what its container says."""
    by_comm = {comm(node.nonce, ran.life): ran for ran in node.ran.values()}
    by_id = {ran.life.id: ran for ran in node.ran.values()}
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
        if ran.life.told_after is None:
            which = found.sandbox if ran.life.name is None else found.untold
        which[verdict] += 1
        found.unnamed[ran.life.number] += verdict == "unresolved"
        if why:
            found.faults.append(f"{verdict}: container {ran.life.number} ({ran.life.shape}, pod {ran.pod.name}): {why}")
        if container in by_id and event["enrichment"]["by"] == "attach":
            found.attached_tasks[container] += 1
        elif container in by_id:
            found.made[container][event["kind"]] += 1
            if inside(event):
                numbers[container][event["child_ns_tid"]] += 1
        if mine:
            own_numbers[ran.life.id][event["child_ns_tid"]] += 1
    found.faults.extend(f"twice: event {id_}" for id_, times in ids.items() if times > 1)
    for id_, ran in by_id.items():
        who = f"container {ran.life.number} ({ran.life.shape} x {ran.life.turns})"
        # Everything in its namespace, the runtime's tasks included, by the container that forklore says; and what the workload
        # made after its marker, by the comm that it has.
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
    """Whether the task was made in a pid namespace other than the runtime's, which is ours."""
    return bool(event["namespaces"]["pid"] != OURS)


def judge_one(event: Event, ran: Ran, node: Node, *, api: bool) -> tuple[str, str | None]:
    """One of COLUMNS, and what is amiss."""
    state, by, _lag = event["enrichment"].values()
    pod, sandbox = ran.pod, ran.life.name is None
    k8s, container = event["k8s"], event["container"] or {}
    said: Key = (
        k8s.get("pod_uid"), container.get("id"), k8s.get("namespace"), k8s.get("pod"), container.get("name"),
        container.get("kind"), k8s.get("qos"), (k8s.get("labels") or {}).get("churn"),
    )  # fmt: skip
    kind = "sandbox" if sandbox else "app"
    known: Key = (pod.uid, ran.life.id, pod.namespace, pod.name, ran.life.name, kind, pod.qos.capitalize(), pod.uid)
    known = tuple("BestEffort" if one == "Besteffort" else one for one in known)
    from_path: Key = (pod.uid, ran.life.id, *[None] * 6)
    path = (event["cgroup"] or {}).get("path") or ""
    if not path.endswith(ran.container.cgroups_path):
        return "wrong", f"the cgroup {path}"
    if inside(event) and event["child_ns_tid"] == 1 and event["child_pid"] != ran.container.pid:
        return "wrong", f"its first process is {ran.container.pid}, not {event['child_pid']}"
    told_by = {"birth" if sandbox else "status"} if api else {"cgroup"}
    # A process that the runtime made outside and moved in.
    if event["parent_comm"] != comm(node.nonce, ran.life) and not inside(event):
        told_by.add("attach")
    if state in ("resolved", "late"):
        if said != known or by not in told_by:
            return "wrong", f"{by}: {said}, not {known}"
        return ("late" if state == "late" else "at once"), None
    pairs = zip(said, known, strict=True)
    # What is not named may be missing; what is must be right, and uid and id always are.
    if state != "unresolved" or said[:2] != from_path[:2] or any(one not in (None, true) for one, true in pairs):
        return "wrong", f"{state} by {by}: {said}, not {known}"
    if api and ran.life.told_after is None and not sandbox and said[2:4] != known[2:4]:
        return "wrong", f"{said}, though its pod is known"
    if not api and (said != from_path or by not in told_by):
        return "wrong", f"{state} by {by}: {said}, though nobody was there to tell"
    return "unresolved", None


def tasks_of_their_own(node: Node) -> int:
    """What the workloads of which the API tells count."""
    return sum(ran.last - ran.before for ran in node.ran.values() if ran.life.told_after is not None)


async def delivered(agent: Agent, receiver: Receiver, node: Node, *, api: bool) -> None:
    """Waits until nothing is missing and nothing waits; in vain for PATIENCE: then the judgement says what is."""
    deadline = asyncio.get_running_loop().time() + WAIT + PATIENCE
    while asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(0.5)
        ledger = await asyncio.to_thread(agent.get, "/v1/ledger")
        waiting = ledger["sinks"]["test"]["queued"]["waiting"]
        if not waiting and judge(list(receiver.events), node, api=api).complete:
            return


def table(title: str, found: Judgement, node: Node, counted: Counter[str]) -> str:
    """The result, for people."""
    rans = [ran for ran in node.ran.values() if ran.life.told_after is not None]
    planned, own = sum(ran.life.planned for ran in rans), sum(ran.last - ran.before for ran in rans)
    lived = sorted(ran.lived_ms for ran in rans if not ran.life.stays)
    inside, made = sum(ran.last for ran in node.ran.values()), sum(map(Counter.total, found.made.values()))
    told = sorted(node.told.values()) or [0.0]
    heard = f"the API told of each after {told[0]:.2f} to {told[-1]:.2f} s" if node.told else "no API"
    lines = [
        f"{title}: seed {SEED}, {len(rans)} containers in {len({ran.pod.uid for ran in rans})} pods, {AT_ONCE} at once",
        f"  from marker to last word {lived[0]:.0f} to {lived[-1]:.0f} ms, median {median(lived):.0f} ms;"
        f" {sum(1 for ran in rans if not ran.life.planned)} did nothing; {heard}",
        f"  {'events':34}" + "".join(f"{name:>12}" for name in (*COLUMNS, "sum", "counted")),
    ]
    for name, counts, truth in [
        ("the workloads' own", found.own, own),
        ("the runtime's, before the marker", found.set_up, None),
        ("sandboxes", found.sandbox, None),
        ("containers the API never tells of", found.untold, None),
        ("all of them", found.own + found.set_up + found.sandbox + found.untold, None),
    ]:
        numbers = [*(counts[column] for column in COLUMNS), counts.total()]
        lines.append(f"  {name:34}" + "".join(f"{n:>12}" for n in (*numbers, "-" if truth is None else truth)))
    lines += [
        f"  the workloads meant to make {planned} tasks; their pid namespaces numbered {own} after the marker, {inside} in all",
        f"  forked in the containers, by events {made}, by the agent's /v1/pods"
        f" {counted['processes']} processes + {counted['threads']} threads, {counted['lost']} lost;"
        f" moved in: {found.attached_tasks.total()} of {counted['entered']}",
        "",
    ]
    return "\n".join(lines)


def check_totals(ledger: dict[str, Any], found: Judgement, node: Node, *, api: bool) -> None:
    """What the agent counts for each container is what it sent, under the same name, and its ledger is closed."""
    by_id = {ran.life.id: ran for ran in node.ran.values()}
    seen = Counter(entry["container_id"] for entry in ledger["pods"] if entry["container_id"] in by_id)
    assert seen == Counter(by_id.keys())
    for entry in ledger["pods"]:
        if (ran := by_id.get(entry["container_id"])) is None:
            continue
        made = found.made[ran.life.id]
        assert (entry["processes"], entry["threads"]) == (made["process"], made["thread"]), entry
        assert entry["emitted"] == entry["delivered"]["test"] == made.total(), entry
        # The runtime moves its first process in; when it was slow to, that one's fork had been told as the host's by then.
        assert found.attached_tasks[ran.life.id] <= entry["entered"]
        name = ran.life.name if ran.life.told_after is not None else None
        kind = "app" if name else "sandbox" if ran.life.name is None else None
        names = (ran.pod.namespace, ran.pod.name, name, kind) if api else (None, None, None, None)
        if ran.life.number not in node.told_too_late(WAIT):
            assert (entry["namespace"], entry["pod"], entry["container"], entry["kind"]) == names
        assert entry["pod_uid"] == ran.pod.uid
    assert found.attached_tasks
    mine = ledger["sinks"]["test"]
    assert ledger["closed"]
    # Whatever else storms on this machine meanwhile is not told one by one.
    assert ledger["captured"] - ledger["suppressed"] == ledger["received"] == mine["delivered"]
    assert not any(mine["queued"].values())
    assert not any(ledger["lost"].values())
    assert not mine["lost"]


async def churn(
    start_agent: Callable[..., Agent],
    receiver: Receiver,
    runtime: Runtime,
    kubeconfig: Path,
    cluster: Cluster | None,
    containers: int,
) -> tuple[Node, Judgement, dict[str, Any]]:
    """The agent comes first, the containers come and go, the agent leaves; its last ledger."""
    api = cluster is not None
    agent = await asyncio.to_thread(
        start_agent,
        capture={"threads": True},  # so that every number of a pid namespace is an event
        kubernetes={"kubeconfig": str(kubeconfig), "wait": f"{WAIT:.0f}s"},
        sinks=[{"name": "test", "url": receiver.url, "batch": {"wait": "100ms"}}],
    )
    node = Node(runtime, cluster, AT_ONCE)
    await node.run(draw_pods(SEED, containers))
    await delivered(agent, receiver, node, api=api)
    ledger = await asyncio.to_thread(agent.leave)
    return node, judge(receiver.events, node, api=api), ledger


def report(
    title: str, found: Judgement, node: Node, ledger: dict[str, Any], say: Callable[[str, object], None], capsys: Any
) -> None:
    """Printed also when nothing is wrong, and kept in the record."""
    ids = {ran.life.id for ran in node.ran.values()}
    counted: Counter[str] = Counter()
    for entry in ledger["pods"]:
        if entry["container_id"] in ids:
            counted.update({key: entry[key] for key in ("processes", "threads", "lost", "entered")})
    text = table(title, found, node, counted)
    say("churn", text)
    with capsys.disabled():
        sys.stdout.write(f"\n{text}")


async def test_200_containers_that_come_and_go_are_each_told_as_themselves(
    start_agent: Callable[..., Agent], receiver: Receiver, runtime: Runtime, tmp_path: Path, record_property, capsys
) -> None:
    cluster = Cluster()
    async with KubernetesApi(cluster) as api:
        api.write_kubeconfig(tmp_path / "kubeconfig")
        node, found, ledger = await churn(start_agent, receiver, runtime, tmp_path / "kubeconfig", cluster, 200)
    report("churn", found, node, ledger, record_property, capsys)
    assert all(ran.last - ran.before == ran.life.planned for ran in node.ran.values())
    assert found.faults == []
    assert not any(counts["wrong"] for counts in (found.own, found.set_up, found.sandbox, found.untold))
    # Neither a sandbox nor anybody else's: what nobody has named stays unresolved, with its pod.
    assert set(found.untold) == {"unresolved"}
    # Where this machine was too busy to let the API speak in time, nothing but the path can have told.
    untold = {ran.life.number for ran in node.ran.values() if ran.life.name and ran.life.told_after is None}
    assert {number for number, count in found.unnamed.items() if count} - untold <= node.told_too_late(WAIT)
    assert found.own.total() == tasks_of_their_own(node)
    check_totals(ledger, found, node, api=True)


async def test_with_no_api_to_ask_each_of_60_containers_is_told_by_pod_uid_and_id(
    start_agent: Callable[..., Agent], receiver: Receiver, runtime: Runtime, tmp_path: Path, record_property, capsys
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # taken, and refused: nothing listens
        KubernetesApi(Cluster(), port=nobody.getsockname()[1]).write_kubeconfig(tmp_path / "kubeconfig")
        node, found, ledger = await churn(start_agent, receiver, runtime, tmp_path / "kubeconfig", None, 60)
    report("no API", found, node, ledger, record_property, capsys)
    assert all(ran.last - ran.before == ran.life.planned for ran in node.ran.values())
    assert found.faults == []
    assert set(found.own + found.set_up + found.sandbox + found.untold) == {"unresolved"}
    assert found.own.total() == tasks_of_their_own(node)
    assert "list" in ledger["kubernetes"]["requests"]  # it did ask
    check_totals(ledger, found, node, api=False)
