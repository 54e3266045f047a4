"""Real containers that are hostile by their cgroups: thousands of them, deeper than PATH_MAX, or at the path of another pod."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from dev.demo.containers.leftovers import directories
from dev.demo.containers.runtime import Container, Runtime

from .agent_process import Agent, until
from .conftest import Receiver
from .scenes import Scene, eventually, has_forked

pytestmark = [pytest.mark.kernel, pytest.mark.containers, pytest.mark.timeout(240)]

MADE = 3_000  # cgroups of one container: of these 64 have a record
NESTED, NAME = 24, 200  # cgroups inside each other, and the bytes of each name: 4,824, and PATH_MAX is 4,096
FORKS = 23
# Makes cgroups by `make`, waits for the marker `go`, and forks once, and in that process {forks} times, after `enter`.
SCRIPT = """
import json, os, time
top = "/sys/fs/cgroup/pids" if os.path.exists("/sys/fs/cgroup/pids") else "/sys/fs/cgroup"
{make}
deepest = os.open(".", os.O_RDONLY)
os.chdir("/")
open("/work/here", "w").close()
while not os.path.exists("/work/go"):
    time.sleep(0.02)
pid = os.fork()
if pid == 0:
    {enter}
    for _ in range({forks}):
        try:
            os.posix_spawn("/nothing", ["x"], {{}})
        except FileNotFoundError:
            pass
    os._exit(0)
os.waitpid(pid, 0)
with open("/work/done.new", "w") as file:
    json.dump(os.fstat(deepest).st_ino, file)
os.rename("/work/done.new", "/work/done")
time.sleep(600)
"""
ENTER = 'os.write(os.open("cgroup.procs", os.O_WRONLY, dir_fd=deepest), b"0")'
THOUSANDS = f"""
for number in range({MADE}):
    os.mkdir(f"{{top}}/x{{number}}")
os.chdir(f"{{top}}/x{MADE - 1}")
"""
DEEPER_THAN_PATH_MAX = f"""
os.chdir(top)
for _ in range({NESTED}):
    os.mkdir("x" * {NAME})
    os.chdir("x" * {NAME})
"""


@contextmanager
def hostile(runtime: Runtime, make: str) -> Iterator[Container]:
    """A container that may write to its own cgroup, and has made others inside. They are removed at the end."""
    script = SCRIPT.format(make=make, enter=ENTER, forks=FORKS)
    container = runtime.start(["/usr/bin/python3", "-c", script], writable_cgroups=True)
    try:
        until((container.work / "here").exists, "the container has made its cgroups")
        yield container
    finally:
        for top in directories(container.cgroups_path):
            # By descriptors: their paths may be longer than PATH_MAX.
            for _, names, _, folder in os.fwalk(top, topdown=False):
                for name in names:
                    os.rmdir(name, dir_fd=folder)


def fork(container: Container) -> int:
    """Returns the cgroup that it has forked in."""
    (container.work / "go").touch()
    until((container.work / "done").exists, "the container has forked")
    return int(json.loads((container.work / "done").read_text()))


@pytest.mark.parametrize("make", [THOUSANDS, DEEPER_THAN_PATH_MAX], ids=["thousands", "deeper than PATH_MAX"])
def test_forks_in_cgroups_that_a_container_makes_are_counted_and_named_as_its_own(
    start_agent: Callable[..., Agent], receiver: Receiver, runtime: Runtime, offline: dict[str, Any], make: str
) -> None:
    with hostile(runtime, make) as container:
        sinks = [{"name": "test", "url": receiver.url, "batch": {"wait": "100ms"}}]
        agent = start_agent(**offline, sinks=sinks)  # it finds the cgroups at its start
        cgroup = fork(container)
        until(lambda: agent.container(container.id)["processes"] >= 1 + FORKS, "its forks are counted")

        def inside() -> list[dict[str, Any]]:
            return [event for event in receiver.forks(container.id) if event["cgroup"]["id"] == cgroup]

        until(lambda: len(inside()) >= FORKS, "its forks arrive")
        after = agent.container(container.id)
        events = inside()
    assert after["processes"] == 1 + FORKS
    assert len(events) == FORKS
    assert {event["k8s"]["pod_uid"] for event in events} == {container.pod_uid}


async def test_a_container_at_the_path_of_another_pod_outside_the_kubelets_root_is_the_hosts(
    scene: Scene, receiver: Receiver, runtime: Runtime
) -> None:
    victim = await scene.forker("cart", 50)
    sinks = [{"name": "test", "url": receiver.url, "batch": {"wait": "100ms"}}]
    agent = await scene.start_agent(sinks=sinks)
    victim.go()
    await has_forked(agent, victim, 1)
    path = f"/user.slice/user-1000.slice/user@1000.service/kubepods/burstable/pod{victim.uid}/{victim.container.id}"
    script = SCRIPT.format(make="", enter="", forks=FORKS)
    claiming = await asyncio.to_thread(runtime.start, ["/usr/bin/python3", "-c", script], cgroups=path)
    await asyncio.to_thread(fork, claiming)

    def claimed() -> list[dict[str, Any]]:
        forks = (event for event in list(receiver.events) if event["event"] == "sched_process_fork")
        return [event for event in forks if event["cgroup"]["path"] == path and event["enrichment"]["by"] != "attach"]

    async def have_arrived() -> bool:
        return len(claimed()) >= 1 + FORKS

    await eventually(have_arrived)
    made = await asyncio.to_thread(victim.stop)

    async def all_of_the_victim() -> bool:
        return len(receiver.forks(victim.container.id)) >= made

    await eventually(all_of_the_victim)
    for event in claimed():
        assert event["enrichment"]["state"] == "host"
        assert (event["container"], event["k8s"]["pod"]) == (None, None)
    assert len(receiver.forks(victim.container.id)) == made
    assert {event["k8s"]["pod"] for event in receiver.forks(victim.container.id)} == {"cart"}
