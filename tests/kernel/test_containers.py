"""Forks in real containers, from the kernel to an accepted POST by the real agent."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dev.demo.containers.runtime import Container, Runtime

from .agent_process import Agent, until
from .conftest import Receiver
from .witness import Witness

pytestmark = [pytest.mark.kernel, pytest.mark.containers]

Start = Callable[..., Agent]

# Waits for /work/go, runs `what`, writes what it saw to /work/done, and stays, so that its counts do not change any more.
SCRIPT = """
import ctypes, json, os, threading, time
seen = {{}}
open("/work/here", "w").close()
while not os.path.exists("/work/go"):
    time.sleep(0.02)
{what}
with open("/work/done.new", "w") as file:
    json.dump(seen, file)
os.rename("/work/done.new", "/work/done")
time.sleep(600)
"""
# A cluster whose API server is unreachable: nothing listens on the discard port.
UNREACHABLE = """
{apiVersion: v1, kind: Config, current-context: a, contexts: [{name: a, context: {cluster: a, user: a}}],
 clusters: [{name: a, cluster: {server: "http://127.0.0.1:9"}}], users: [{name: a, user: {}}]}
"""
FORK_23 = """
pids = []
for _ in range(23):
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(write, str(os.getpid()).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    pids.append(int(os.read(read, 20)))
    os.close(read)
    os.close(write)
seen["pids"] = pids
seen["me"] = os.getpid()
"""
THREADS_23 = """
for _ in range(23):
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()
"""


def sink(receiver: Receiver) -> dict[str, Any]:
    return {"sinks": [{"name": "test", "url": receiver.url, "batch": {"wait": "100ms"}}]}


def at_rest(agent: Agent, container: Container) -> dict[str, Any]:
    """Waits until the container waits for its marker. Returns its counts."""
    until((container.work / "here").exists, "the container waits")
    return agent.known_container(container.id)


def go(container: Container) -> dict[str, Any]:
    """Sets the marker. Returns what the container saw."""
    (container.work / "go").touch()
    until((container.work / "done").exists, "the container is done")
    return dict(json.loads((container.work / "done").read_text()))


def run(runtime: Runtime, what: str, **more: Any) -> Container:
    return runtime.start(["/usr/bin/python3", "-c", SCRIPT.format(what=what)], **more)


def delivered(agent: Agent, receiver: Receiver, container: Container, count: int) -> list[dict[str, Any]]:
    """Waits until the agent has delivered `count` fork events of the container. Returns them all."""
    until(lambda: len(receiver.forks(container.id)) >= count, f"{count} events of the container arrive")
    return receiver.forks(container.id)


def test_23_forks_are_23_events_with_the_pids_that_the_container_saw(
    start_agent: Start, receiver: Receiver, runtime: Runtime, offline: dict[str, Any]
) -> None:
    agent = start_agent(**sink(receiver), **offline)
    container = run(runtime, FORK_23)
    before = at_rest(agent, container)
    seen = go(container)
    after = agent.container(container.id)
    assert after["processes"] - before["processes"] == 23
    assert after["threads"] == before["threads"]

    events = delivered(agent, receiver, container, after["processes"])
    assert len(events) == after["processes"]
    of_mine = [event for event in events if event["parent_ns_pid"] == seen["me"]]
    assert [event["child_ns_pid"] for event in of_mine] == seen["pids"]
    for event in of_mine:
        assert event["kind"] == "process"
        assert event["parent_pid"] == container.pid
        assert event["child_ns_pids"] == [event["child_pid"], event["child_ns_pid"]]
        assert event["cgroup"]["path"].endswith(f"pod{container.pod_uid}/{container.id}")
        assert event["k8s"]["pod_uid"] == container.pod_uid
        assert event["enrichment"] == {"state": "unresolved", "by": "cgroup", "lag_ms": 0}
    assert len({event["id"] for event in events}) == len(events)


@pytest.mark.parametrize("sent", [False, True])
def test_23_threads_are_counted_and_are_events_only_when_asked_for(
    start_agent: Start, receiver: Receiver, runtime: Runtime, offline: dict[str, Any], sent: bool
) -> None:
    agent = start_agent(**sink(receiver), **offline, capture={"threads": sent})
    container = run(runtime, THREADS_23 + FORK_23)  # the forks come last: when they have arrived, the threads would have, too
    before = at_rest(agent, container)
    go(container)
    after = agent.container(container.id)
    assert after["threads"] - before["threads"] == 23
    assert after["processes"] - before["processes"] == 23
    events = delivered(agent, receiver, container, after["processes"] + (after["threads"] if sent else 0))
    threads = [event for event in events if event["kind"] == "thread"]
    assert len(threads) == (after["threads"] if sent else 0)
    for event in threads[-23:] if sent else []:
        assert event["child_pid"] == event["leader_pid"] == container.pid
        assert event["child_tid"] != event["child_pid"]
        assert event["child_ns_pid"] == 1


def test_a_pid_namespace_inside_the_pod_shows_its_whole_chain_host_first(
    start_agent: Start, receiver: Receiver, runtime: Runtime, offline: dict[str, Any]
) -> None:
    nested = """
libc = ctypes.CDLL(None)
assert libc.unshare(0x20000000) == 0  # CLONE_NEWPID: for the children
pid = os.fork()
if pid == 0:
    inner = os.fork()
    if inner == 0:
        os._exit(0)
    os.waitpid(inner, 0)
    os._exit(0)
os.waitpid(pid, 0)
seen["pid"] = pid
"""
    agent = start_agent(**sink(receiver), **offline)
    container = run(runtime, nested, privileged=True)
    before = at_rest(agent, container)
    seen = go(container)
    events = delivered(agent, receiver, container, before["processes"] + 2)
    first, second = events[-2:]
    assert first["child_ns_pids"] == [first["child_pid"], seen["pid"], 1]
    assert first["child_ns_pid"] == 1
    assert second["child_ns_pids"][0] == second["child_pid"]
    assert second["child_ns_pids"][1] == seen["pid"] + 1
    assert second["child_ns_pids"][2] == second["child_ns_pid"] == 2
    assert (second["parent_pid"], second["parent_ns_pid"]) == (first["child_pid"], 1)
    assert not second["child_ns_pids_truncated"]


def test_a_chain_that_is_too_long_is_marked_as_truncated(
    start_agent: Start, receiver: Receiver, runtime: Runtime, offline: dict[str, Any]
) -> None:
    deep = """
libc = ctypes.CDLL(None)
def down(levels):
    assert libc.unshare(0x20000000) == 0
    pid = os.fork()
    if pid == 0:
        if levels:
            down(levels - 1)
        os._exit(0)
    os.waitpid(pid, 0)
down(9)
"""
    agent = start_agent(**sink(receiver), **offline)
    container = run(runtime, deep, privileged=True)
    before = at_rest(agent, container)
    go(container)
    deepest = delivered(agent, receiver, container, before["processes"] + 10)[-1]
    assert len(deepest["child_ns_pids"]) == 8
    assert deepest["child_ns_pids_truncated"]
    assert deepest["child_ns_pid"] == 1  # the innermost number has a field of its own


def test_a_hostile_comm_arrives_as_valid_json(
    start_agent: Start, receiver: Receiver, runtime: Runtime, offline: dict[str, Any]
) -> None:
    hostile = (
        """
comm = b'\\x01<b>"\\n\\xff\\''
assert ctypes.CDLL(None).prctl(15, comm, 0, 0, 0) == 0  # PR_SET_NAME
"""
        + FORK_23
    )
    agent = start_agent(**sink(receiver), **offline)
    container = run(runtime, hostile)
    at_rest(agent, container)
    seen = go(container)
    count = agent.container(container.id)["processes"]
    events = [event for event in delivered(agent, receiver, container, count) if event["parent_ns_pid"] == seen["me"]]
    assert {event["comm"] for event in events} == {event["parent_comm"] for event in events} == {"\x01<b>\"\n\ufffd'"}


def test_kubectl_exec_is_counted_as_attached_and_not_as_a_fork_of_the_pod(
    start_agent: Start, runtime: Runtime, receiver: Receiver, offline: dict[str, Any]
) -> None:
    agent = start_agent(**sink(receiver), **offline)
    container = run(runtime, "pass")
    before = at_rest(agent, container)
    assert runtime.exec(container, ["/bin/true"]).returncode == 0
    after = agent.container(container.id)
    entered = after["entered"] - before["entered"]
    assert entered >= 1
    until(lambda: len(receiver.attached_tasks(container.id)) >= after["entered"], "the events of the attached tasks arrive")
    attached_tasks = receiver.attached_tasks(container.id)
    assert len(attached_tasks) == after["entered"]
    for event in attached_tasks:
        assert event["cgroup"]["path"].endswith(container.id)
        assert container.id not in event["parent_cgroup"]["path"]
    assert len(delivered(agent, receiver, container, after["processes"])) == after["processes"]


def test_the_last_ledger_accounts_for_every_fork(
    start_agent: Start, receiver: Receiver, runtime: Runtime, offline: dict[str, Any], tmp_path: Path, witness: Witness
) -> None:
    agent = start_agent(**sink(receiver), **offline)
    container = run(runtime, FORK_23 + THREADS_23)
    at_rest(agent, container)
    go(container)
    runtime.delete(container)
    ledger = agent.stop()
    assert ledger["closed"]
    mine = ledger["sinks"]["test"]
    assert ledger["captured"] == mine["delivered"] + ledger["filtered"]["threads"]
    assert not any(mine["queued"].values())
    forks = [event for event in receiver.events if event["event"] == "sched_process_fork"]
    assert len(forks) == len({event["id"] for event in forks}) == mine["delivered"]
    # /proc/stat, which the kernel counts by itself, has the same sum.
    attach, now = ledger["proc_stat"]["attach"], ledger["proc_stat"]["now"]
    made = ledger["captured"] + ledger["kernel_workers"]
    assert now[0] - attach[1] - witness.unseen() <= made <= now[1] - attach[0]
    # The totals of the container's last summary are its counts; a lost summary does not change them.
    summaries = [event for event in receiver.events if event["event"] == "fork_summary" and event["container"]]
    last = [event for event in summaries if event["container"]["id"] == container.id][-1]["totals"]
    assert (last["emitted"], last["lost"]) == (last["processes"], 0)
    assert last["processes"] == len(receiver.forks(container.id))
    assert last["threads"] >= 23


def test_forks_that_wait_for_their_pod_are_delivered_when_the_agent_stops(
    start_agent: Start, receiver: Receiver, runtime: Runtime, tmp_path: Path
) -> None:
    (tmp_path / "kubeconfig").write_text(UNREACHABLE)
    agent = start_agent(**sink(receiver), kubernetes={"kubeconfig": str(tmp_path / "kubeconfig"), "wait": "60s"})
    container = run(runtime, FORK_23)
    at_rest(agent, container)
    go(container)
    assert not receiver.forks(container.id)  # the API may still name their pod
    ledger = agent.stop()
    assert ledger["closed"]
    events = receiver.forks(container.id)
    assert len(events) >= 23
    assert {event["enrichment"]["state"] for event in events} == {"unresolved"}
    assert {event["k8s"]["pod_uid"] for event in events} == {container.pod_uid}
