"""Containers that come and go: what the churn test starts, when the API hears of it, and what the containers themselves count.

The truth is the kernel's, from inside each container: a pid namespace numbers its tasks one after another, so all that were
ever made in it are 1 to ns_last_pid; and from its marker on a workload bears a comm that is its own, which every fork's
event carries. Must not live here: anything that forklore found out, and any assertion.
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

PLACES: tuple[tuple[Driver, Qos], ...] = (
    ("cgroupfs", "burstable"),
    ("systemd", "besteffort"),
    ("cgroupfs", "guaranteed"),
    ("systemd", "burstable"),
    ("cgroupfs", "besteffort"),
    ("systemd", "guaranteed"),
)
LATEST = 2.0  # seconds until the API has heard of a container's id, at the most
PATIENCE = 60.0  # seconds for a container that takes milliseconds, on a busy machine

# $1 its name, $2 what it does, $3 how often, $4 whether it stays. The last look is a fork of its own, and is counted as one.
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
echo "$before $last end" > /work/said
[ $4 = ends ] || exec sleep 600
"""
PYTHON = """
import os, sys, threading, time
name, _, turns, stays = sys.argv[1:]
def look():
    with open("/proc/sys/kernel/ns_last_pid") as file:
        return int(file.read())
def fork():
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
before = look()
with open("/proc/self/comm", "w") as file:
    file.write(name)
open("/work/here", "w").close()
for _ in range(int(turns)):
    thread = threading.Thread(target=fork)
    thread.start()
    thread.join()
last = look()
with open("/work/said", "w") as file:
    print(before, last, "end", file=file)
time.sleep(0 if stays == "ends" else 600)
"""
# Tasks a turn, and whether a closing look comes on top.
SHAPES = {"in-turn": (1, 1), "at-once": (1, 1), "nested": (3, 1), "pipes": (3, 1), "commands": (1, 1), "threads": (2, 0)}
TURNS = (0, 0, 1, 2, 3, 5, 7, 11, 23, 97)  # primes, and often nothing at all


@dataclass(frozen=True)
class Life:
    """One container, from its making to its end. `name` None: the pod's sandbox."""

    number: int
    name: str | None
    shape: str
    turns: int
    stays: bool
    told_after: float | None  # seconds from its start until the API tells its id; None: never
    id: str = field(default_factory=lambda: secrets.token_hex(32))

    @property
    def planned(self) -> int:
        """Tasks that it means to make after its marker."""
        each, look = SHAPES[self.shape]
        return self.turns * each + look if self.turns else 0


@dataclass(frozen=True)
class Pod:
    """`lines`: containers side by side, in each those that follow one another under one name."""

    namespace: str
    name: str
    driver: Driver
    qos: Qos
    sandbox: Life
    lines: tuple[tuple[Life, ...], ...]
    leaves: Literal["while-events-wait", "when-all-is-told", "never"]
    heir: Pod | None = None  # has its name, and comes when it is gone
    uid: str = field(default_factory=lambda: str(uuid.uuid4()))

    def lives(self) -> Iterator[Life]:
        """Those with a name; the heir's not."""
        for line in self.lines:
            yield from line

    @property
    def description(self) -> pod_objects.Pod:
        names = tuple((str(line[0].name), ("sh",)) for line in self.lines)
        return pod_objects.Pod(self.namespace, self.name, self.uid, names, labels=(("churn", self.uid),), qos=self.qos)


@dataclass(frozen=True)
class Ran:
    """What became of a life, by its own account: the namespace's last number at the marker and at the end."""

    life: Life
    pod: Pod
    container: Container
    before: int
    last: int
    lived_ms: float  # from the marker to its last word


def draw_pods(seed: int, containers: int) -> list[Pod]:
    """About as many containers (sandboxes and those that the API never tells of apart), in pods of every kind in turn. Only
    uids and ids are not the seed's."""
    rng = random.Random(seed)  # noqa: S311  no secret
    numbers = iter(range(10**6))
    pods: list[Pod] = []
    drawn = 0

    def life(name: str | None, told: bool = True) -> Life:
        number = next(numbers)
        if name is None:
            return Life(number, None, "in-turn", 0, stays=True, told_after=None)
        shape = "threads" if number % 25 == 7 else rng.choice([one for one in SHAPES if one != "threads"])
        after = rng.uniform(0, LATEST)
        return Life(number, name, shape, rng.choice(TURNS), rng.random() < 0.15, after if told else None)

    def pod(name: str, lines: list[list[str]], leaves: str, heir: Pod | None = None) -> Pod:
        nonlocal drawn
        driver, qos = PLACES[(len(pods) + len(pods) // 6) % len(PLACES)]
        told = not name.startswith("untold")
        sandbox, drawn_lines = life(None), tuple(tuple(life(one, told) for one in line) for line in lines)
        drawn += sum(map(len, lines)) if told else 0
        return Pod(f"ns{len(pods) % 3}", name, driver, qos, sandbox, drawn_lines, leaves, heir)  # type: ignore[arg-type]

    while drawn < containers:
        number = len(pods)
        match number % 6:
            case 0:
                pods.append(pod(f"one-{number}", [["app"]], "never"))
            case 1:
                pods.append(pod(f"several-{number}", [["app"], ["proxy"], ["log"], ["app-2"]], "when-all-is-told"))
            case 2:
                pods.append(pod(f"anew-{number}", [["app", "app", "app"], ["proxy"]], "when-all-is-told"))
            case 3:
                pods.append(pod(f"short-{number}", [["app"]], "while-events-wait"))
            case 4:
                third = pod(f"set-{number}", [["app"]], "never")
                second = pod(f"set-{number}", [["app"]], "while-events-wait", third)
                pods.append(pod(f"set-{number}", [["app"]], "while-events-wait", second))
            case 5:
                pods.append(pod(f"untold-{number}", [["app"], ["proxy"]], "when-all-is-told"))
    return pods


class Node:
    """Runs pods as kubelet and runtime would, `at_once` containers side by side. `cluster` None: nobody is told of anything."""

    def __init__(self, runtime: Runtime, cluster: Cluster | None, at_once: int) -> None:
        self.nonce = secrets.token_hex(3)  # begins each workload's comm: others may run this test beside us
        self.ran: dict[int, Ran] = {}
        self.told: dict[int, float] = {}  # seconds from before a container was made until the API told of it
        self._runtime = runtime
        self._cluster = cluster
        self._room = asyncio.Semaphore(at_once)
        self._threads = ThreadPoolExecutor(at_once)
        self._began: dict[int, float] = {}  # loop time just before it was made
        self._here: set[int] = set()
        self._ended: set[int] = set()

    async def run(self, pods: list[Pod]) -> None:
        """Until all of them ended and the API has told of them. At most a few dozen pods are there at a time."""
        crowd = asyncio.Semaphore(24)

        async def turn(pod: Pod) -> None:
            async with crowd:
                heir: Pod | None = pod
                while heir is not None:
                    heir = await self._pod(heir)

        try:
            async with asyncio.TaskGroup() as group:
                for pod in pods:
                    group.create_task(turn(pod))
        finally:
            self._threads.shutdown()

    def told_too_late(self, wait: float) -> set[int]:
        """Numbers of the containers whose ids the API told so long after LATEST that an agent which waits for `wait` seconds
        can't be asked to know them. On a machine that keeps up: none."""
        assert wait > LATEST + 1
        return {number for number, after in self.told.items() if after > wait - 1}

    async def _pod(self, pod: Pod) -> Pod | None:
        """Its heir, once it is gone."""
        if self._cluster is not None and pod.uid not in {one["metadata"]["uid"] for one in self._cluster}:
            self._cluster.add_pod(pod.description)
        async with self._room:
            sandbox = await self._in_thread(self._start, pod, pod.sandbox)
            self.ran[pod.sandbox.number] = await self._in_thread(self._account, pod, pod.sandbox, sandbox)
        await asyncio.gather(*(self._line(pod, line) for line in pod.lines))
        if self._cluster is not None and pod.leaves == "when-all-is-told":
            self._cluster.delete_pod(pod.uid)
        async with self._room:
            await self._in_thread(self._runtime.delete, sandbox)
        return pod.heir

    async def _line(self, pod: Pod, line: tuple[Life, ...]) -> None:
        tellings: list[asyncio.Task[None]] = []
        for at, life in enumerate(line):
            async with self._room:
                self._began[life.number] = asyncio.get_running_loop().time()
                container = await self._in_thread(self._start, pod, life)
                self._here.add(life.number)
                if self._cluster is not None and life.told_after is not None:
                    tellings.append(asyncio.create_task(self._tell(pod, line, at, tellings[-1:])))
                    await asyncio.sleep(0)  # so that its clock begins now
                self.ran[life.number] = await self._in_thread(self._account, pod, life, container)
                await self._in_thread(self._runtime.delete, container)
            self._ended.add(life.number)
            self._say_how_it_ended(pod, life)
        await asyncio.gather(*tellings)

    async def _tell(self, pod: Pod, line: tuple[Life, ...], at: int, before: list[asyncio.Task[None]]) -> None:
        """The API learns of the container's id, and of its follower's if there is one by then: a status is of the moment."""
        assert self._cluster is not None
        await asyncio.sleep(line[at].told_after or 0)
        await asyncio.gather(*before)
        if line[at].number in self.told:
            return
        thing = self._cluster.pod(pod.uid)
        for life in line[at : at + 2]:
            if life.number not in self._here:  # it follows, and does not yet
                break
            thing = pod_objects.running(thing, str(life.name), life.id, _now())
            if life.number in self._ended:
                thing = pod_objects.terminated(thing, str(life.name), 0, _now(), life.id)
            self.told[life.number] = asyncio.get_running_loop().time() - self._began[life.number]
        self._cluster.replace_pod(thing)
        if pod.leaves == "while-events-wait":
            self._cluster.delete_pod(pod.uid)  # in one breath with its first word of the id
            if pod.heir is not None:
                self._cluster.add_pod(pod.heir.description)

    def _say_how_it_ended(self, pod: Pod, life: Life) -> None:
        if self._cluster is None:
            return
        present = {one["metadata"]["uid"]: one for one in self._cluster}
        if pod.uid not in present:
            return
        if pod.leaves == "while-events-wait" and life.number not in self.told:
            self._cluster.replace_pod(pod_objects.leaving(present[pod.uid], _now()))
        elif life.number in self.told:
            self._cluster.container_terminated(pod.uid, str(life.name), 0, life.id)

    def _start(self, pod: Pod, life: Life) -> Container:
        command = ["/usr/bin/python3", "-c", PYTHON] if life.shape == "threads" else ["/bin/sh", "-c", SHELL, "sh"]
        return self._runtime.start(
            [*command, comm(self.nonce, life), life.shape, str(life.turns), "stays" if life.stays else "ends"],
            name=life.name or "sandbox",
            pod_uid=pod.uid,
            container_id=life.id,
            qos=pod.qos,
            driver=pod.driver,
        )

    def _account(self, pod: Pod, life: Life, container: Container) -> Ran:
        """Waits for its last word."""
        said, deadline = container.work / "said", time.monotonic() + PATIENCE
        if not life.stays:
            self._runtime.wait(container, PATIENCE)
        while not (words := _text(said).split()) or words[-1] != "end":
            if not life.stays or time.monotonic() > deadline:
                raise AssertionError(f"container {life.number} ({life.shape}) said nothing: {container.log.read_text()}")
            time.sleep(0.005)
        lived = said.stat().st_mtime_ns - (container.work / "here").stat().st_mtime_ns
        return Ran(life, pod, container, int(words[0]), int(words[1]), lived / 1e6)

    async def _in_thread(self, what, *args):
        return await asyncio.get_running_loop().run_in_executor(self._threads, what, *args)


def comm(nonce: str, life: Life) -> str:
    """At most 15 bytes, as the kernel has it."""
    return f"{nonce}-{life.number:04}"


def _text(file: Path) -> str:
    return file.read_text() if file.exists() else ""


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
