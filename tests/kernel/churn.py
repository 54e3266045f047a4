"""Short-lived containers for the churn test: what it starts, when the API knows it, and what the containers count.

The expected numbers come from the kernel, inside each container: a pid namespace numbers its tasks one after another, so all
tasks ever created in it are 1 to ns_last_pid. From its marker on a workload has a comm of its own; it is in its forks' events.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from dev.demo.containers.bundles import Driver, Qos
from dev.demo.containers.runtime import Container, Runtime
from dev.demo.kubernetes import pod_objects
from dev.demo.kubernetes.cluster import Cluster

CLASSES: tuple[Qos, ...] = ("burstable", "besteffort", "guaranteed")
LATEST = 2.0  # seconds until the API knows a container's id, at the most
PATIENCE = 60.0  # seconds for a container that takes milliseconds, on a busy machine

# $1 its name, $2 what it does, $3 how often, $4 whether it stays. The last read of ns_last_pid is a fork, and counts as one.
SHELL = """
before=$(cat /proc/sys/kernel/ns_last_pid)
printf %s "$1" > /proc/self/comm
: > /work/here
i=0
while [ $i -lt $3 ]; do
  case $2 in
    in-turn) : & wait $! ;;
    at-once) : & ;;
    nested) ( : & : & wait ) & wait $! ;;
    pipes) : | : | : ;;
    commands) /bin/true ;;
  esac
  i=$((i + 1))
done
wait
last=$before
[ $3 = 0 ] || last=$(cat /proc/sys/kernel/ns_last_pid)
echo "$before $last end" > /work/numbers
[ $4 = ends ] || exec sleep 600
"""
PYTHON = """
import os, sys, threading, time
name, _, turns, stays = sys.argv[1:]
def last_pid():
    with open("/proc/sys/kernel/ns_last_pid") as file:
        return int(file.read())
def fork():
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
before = last_pid()
with open("/proc/self/comm", "w") as file:
    file.write(name)
open("/work/here", "w").close()
for _ in range(int(turns)):
    thread = threading.Thread(target=fork)
    thread.start()
    thread.join()
last = last_pid()
with open("/work/numbers", "w") as file:
    print(before, last, "end", file=file)
time.sleep(0 if stays == "ends" else 600)
"""
# Tasks in a turn, and the tasks of the last read of ns_last_pid.
SHAPES = {"in-turn": (1, 1), "at-once": (1, 1), "nested": (3, 1), "pipes": (3, 1), "commands": (1, 1), "threads": (2, 0)}
TURNS = (0, 0, 1, 2, 3, 5, 7, 11, 23, 97)  # primes, and often 0


@dataclass(frozen=True)
class ContainerPlan:
    """One container, from its creation to its end. `name` None: the pod's sandbox."""

    number: int
    name: str | None
    shape: str
    turns: int
    stays: bool
    announced_after: float | None  # seconds from its start until the API has its id; None: never
    id: str = field(default_factory=lambda: secrets.token_hex(32))

    @property
    def planned(self) -> int:
        """Tasks that it is to create after its marker."""
        each, last_read = SHAPES[self.shape]
        return self.turns * each + last_read if self.turns else 0


@dataclass(frozen=True)
class Pod:
    """`lines`: containers side by side; in each line those that follow one another under one name."""

    namespace: str
    name: str
    driver: Driver
    qos: Qos
    sandbox: ContainerPlan
    lines: tuple[tuple[ContainerPlan, ...], ...]
    leaves: Literal["while-events-wait", "when-all-is-announced", "never"]
    successor: Pod | None = None  # a pod of the same name, created when this one is deleted
    uid: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def is_named_by_its_spec(self) -> bool:
        """Whether the API never has its container's id, and need not."""
        return self.name.startswith("only")

    def containers(self) -> Iterator[ContainerPlan]:
        """Containers with a name; without the successor's."""
        for line in self.lines:
            yield from line

    @property
    def description(self) -> pod_objects.Pod:
        names = tuple((str(line[0].name), ("sh",)) for line in self.lines)
        return pod_objects.Pod(self.namespace, self.name, self.uid, names, labels=(("churn", self.uid),), qos=self.qos)


@dataclass(frozen=True)
class Ran:
    """What a container has counted itself: the last number of its pid namespace at the marker and at the end."""

    plan: ContainerPlan
    pod: Pod
    container: Container
    before: int
    last: int
    lived_ms: float  # from the marker to the end


def draw_pods(seed: int, containers: int, driver: Driver) -> list[Pod]:
    """About that many containers, not counting sandboxes and those that the API never has, in pods of every kind in turn. All
    but uids and ids is determined by the seed. `driver`: a kubelet has one, and with it one root for all pods."""
    rng = random.Random(seed)  # noqa: S311  no secret
    numbers = iter(range(10**6))
    pods: list[Pod] = []
    drawn = 0

    def container(name: str | None, announced: bool = True) -> ContainerPlan:
        number = next(numbers)
        if name is None:
            return ContainerPlan(number, None, "in-turn", 0, stays=True, announced_after=None)
        shape = "threads" if number % 25 == 7 else rng.choice([one for one in SHAPES if one != "threads"])
        after = rng.uniform(0, LATEST)
        return ContainerPlan(number, name, shape, rng.choice(TURNS), rng.random() < 0.15, after if announced else None)

    def pod(name: str, lines: list[list[str]], leaves: str, successor: Pod | None = None) -> Pod:
        nonlocal drawn
        qos = CLASSES[(len(pods) + len(pods) // 7) % len(CLASSES)]
        announced = not name.startswith(("unannounced", "only"))
        sandbox = container(None)
        drawn_lines = tuple(tuple(container(one, announced) for one in line) for line in lines)
        drawn += sum(map(len, lines)) if announced else 0
        return Pod(f"ns{len(pods) % 3}", name, driver, qos, sandbox, drawn_lines, leaves, successor)  # type: ignore[arg-type]

    while drawn < containers:
        number = len(pods)
        match number % 7:
            case 0:
                pods.append(pod(f"one-{number}", [["app"]], "never"))
            case 1:
                pods.append(pod(f"several-{number}", [["app"], ["proxy"], ["log"], ["app-2"]], "when-all-is-announced"))
            case 2:
                pods.append(pod(f"anew-{number}", [["app", "app", "app"], ["proxy"]], "when-all-is-announced"))
            case 3:
                pods.append(pod(f"short-{number}", [["app"]], "while-events-wait"))
            case 4:
                third = pod(f"set-{number}", [["app"]], "never")
                second = pod(f"set-{number}", [["app"]], "while-events-wait", third)
                pods.append(pod(f"set-{number}", [["app"]], "while-events-wait", second))
            case 5:
                pods.append(pod(f"unannounced-{number}", [["app"], ["proxy"]], "when-all-is-announced"))
            case 6:
                pods.append(pod(f"only-{number}", [["app"]], "when-all-is-announced"))
    return pods


class Node:
    """Runs pods as kubelet and runtime do, `at_once` containers side by side. `cluster` None: there is no API."""

    def __init__(self, runtime: Runtime, cluster: Cluster | None, at_once: int) -> None:
        self.nonce = secrets.token_hex(3)  # the start of each workload's comm: this test may run twice at the same time
        self.ran: dict[int, Ran] = {}
        self.announced: dict[int, float] = {}  # seconds from before a container was created until the API had it
        self._runtime = runtime
        self._cluster = cluster
        self._slots = asyncio.Semaphore(at_once)
        self._threads = ThreadPoolExecutor(at_once)
        self._began: dict[int, float] = {}  # loop time just before it was created
        self._here: set[int] = set()
        self._ended: set[int] = set()

    async def run(self, pods: list[Pod]) -> None:
        """Until all of them have ended and the API has them. At most 24 pods run at a time."""
        pods_at_once = asyncio.Semaphore(24)

        async def turn(pod: Pod) -> None:
            async with pods_at_once:
                successor: Pod | None = pod
                while successor is not None:
                    successor = await self._pod(successor)

        try:
            async with asyncio.TaskGroup() as group:
                for pod in pods:
                    group.create_task(turn(pod))
        finally:
            self._threads.shutdown()

    def announced_too_late(self, wait: float) -> set[int]:
        """Numbers of the containers whose ids the API had so late that an agent which waits for `wait` seconds need not know
        them. On a machine that keeps up: none."""
        assert wait > LATEST + 1
        return {number for number, after in self.announced.items() if after > wait - 1}

    async def _pod(self, pod: Pod) -> Pod | None:
        """Its successor, once it is deleted."""
        if self._cluster is not None and pod.uid not in {one["metadata"]["uid"] for one in self._cluster}:
            self._cluster.add_pod(pod.description)
        async with self._slots:
            sandbox = await self._in_thread(self._start, pod, pod.sandbox)
            self.ran[pod.sandbox.number] = await self._in_thread(self._account, pod, pod.sandbox, sandbox)
        await asyncio.gather(*(self._line(pod, line) for line in pod.lines))
        if self._cluster is not None and pod.leaves == "when-all-is-announced":
            self._cluster.delete_pod(pod.uid)
        async with self._slots:
            await self._in_thread(self._runtime.delete, sandbox)
        return pod.successor

    async def _line(self, pod: Pod, line: tuple[ContainerPlan, ...]) -> None:
        announcements: list[asyncio.Task[None]] = []
        for at, plan in enumerate(line):
            async with self._slots:
                self._began[plan.number] = asyncio.get_running_loop().time()
                container = await self._in_thread(self._start, pod, plan)
                self._here.add(plan.number)
                if self._cluster is not None and plan.announced_after is not None:
                    announcements.append(asyncio.create_task(self._announce(pod, line, at, announcements[-1:])))
                    await asyncio.sleep(0)  # so that its clock begins now
                self.ran[plan.number] = await self._in_thread(self._account, pod, plan, container)
                await self._in_thread(self._runtime.delete, container)
            self._ended.add(plan.number)
            self._announce_end(pod, plan)
        await asyncio.gather(*announcements)

    async def _announce(self, pod: Pod, line: tuple[ContainerPlan, ...], at: int, before: list[asyncio.Task[None]]) -> None:
        """Gives the container's id to the API, and the next container's if it runs by then: a status is of the moment."""
        assert self._cluster is not None
        await asyncio.sleep(line[at].announced_after or 0)
        await asyncio.gather(*before)
        if line[at].number in self.announced:
            return
        manifest = self._cluster.pod(pod.uid)
        for plan in line[at : at + 2]:
            if plan.number not in self._here:  # it does not run yet
                break
            manifest = pod_objects.running(manifest, str(plan.name), plan.id, _now())
            if plan.number in self._ended:
                manifest = pod_objects.terminated(manifest, str(plan.name), 0, _now(), plan.id)
            self.announced[plan.number] = asyncio.get_running_loop().time() - self._began[plan.number]
        self._cluster.replace_pod(manifest)
        if pod.leaves == "while-events-wait":
            self._cluster.delete_pod(pod.uid)  # at the same time as the API first has the id
            if pod.successor is not None:
                self._cluster.add_pod(pod.successor.description)

    def _announce_end(self, pod: Pod, plan: ContainerPlan) -> None:
        if self._cluster is None:
            return
        present = {one["metadata"]["uid"]: one for one in self._cluster}
        if pod.uid not in present:
            return
        if pod.leaves == "while-events-wait" and plan.number not in self.announced:
            self._cluster.replace_pod(pod_objects.being_deleted(present[pod.uid], _now()))
        elif plan.number in self.announced:
            self._cluster.container_terminated(pod.uid, str(plan.name), 0, plan.id)

    def _start(self, pod: Pod, plan: ContainerPlan) -> Container:
        command = ["/usr/bin/python3", "-c", PYTHON] if plan.shape == "threads" else ["/bin/sh", "-c", SHELL, "sh"]
        return self._runtime.start(
            [*command, comm(self.nonce, plan), plan.shape, str(plan.turns), "stays" if plan.stays else "ends"],
            name=plan.name or "sandbox",
            pod_uid=pod.uid,
            container_id=plan.id,
            qos=pod.qos,
            driver=pod.driver,
        )

    def _account(self, pod: Pod, plan: ContainerPlan, container: Container) -> Ran:
        """Waits until it has written its numbers."""
        file, deadline = container.work / "numbers", time.monotonic() + PATIENCE
        if not plan.stays:
            self._runtime.wait(container, PATIENCE)
        while not (words := _text(file).split()) or words[-1] != "end":
            if not plan.stays or time.monotonic() > deadline:
                raise AssertionError(f"container {plan.number} ({plan.shape}) wrote no numbers: {container.log.read_text()}")
            time.sleep(0.005)
        lived = file.stat().st_mtime_ns - (container.work / "here").stat().st_mtime_ns
        return Ran(plan, pod, container, int(words[0]), int(words[1]), lived / 1e6)

    async def _in_thread(self, what, *args):
        return await asyncio.get_running_loop().run_in_executor(self._threads, what, *args)


def comm(nonce: str, plan: ContainerPlan) -> str:
    """At most 15 bytes, as the kernel has it."""
    return f"{nonce}-{plan.number:04}"


def _text(file: Path) -> str:
    return file.read_text() if file.exists() else ""


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
