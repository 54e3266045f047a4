"""The demo's node: pods with real containers that behave like workloads, and the statuses that a kubelet would report.

`shop/cart-...` is a shell loop with a sandbox beside it, `shop/worker-...` a Python process that forks pools and starts
threads, `batch/report-...` a cron job whose pods come and go. Each writes down the task count of its own pid namespace, with
which the agent's counts are compared.
"""

import asyncio
import secrets
import time
import uuid
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from dev.demo.containers.bundles import Qos
from dev.demo.containers.runtime import Container, Runtime
from dev.demo.kubernetes.cluster import Cluster
from dev.demo.kubernetes.pod_objects import Owner, Pod

STATUS_DELAY = 1.0  # seconds from a container's start to the first status that has its id, as in the recordings
REPORT_INTERVAL = 3.0  # seconds between two runs of the cron job
REPORT_KEPT_FOR = 4.0  # seconds that a finished run's pod stays in the API
LETTERS = "bcdfghjklmnpqrstvwxz2456789"  # the letters of Kubernetes' random names

# The kernel numbers every task, process or thread, of a pid namespace: the last number is their count. (The shell's own
# `read` reads byte by byte, and this file has an answer only at its beginning.)
_NOTE = "cat /proc/sys/kernel/ns_last_pid >>/work/tasks"
_CART = f"{_NOTE}; while :; do ls / >/dev/null; date >/dev/null; wc -c /etc/passwd >/dev/null; {_NOTE}; sleep 0.4; done"
_REPORT = f"{_NOTE}; for i in 1 2 3 4 5; do date >/dev/null; done; sleep 0.3; {_NOTE}"
_WORKER = """
import multiprocessing, os, threading, time

def note():
    with open("/proc/sys/kernel/ns_last_pid") as count, open("/work/tasks", "a") as tasks:
        tasks.write(count.read())

def work():
    sum(range(20_000))

note()
while True:
    for _ in range(3):
        children = []
        for _ in range(4):
            child = os.fork()
            if not child:
                work()
                os._exit(0)
            children.append(child)
        for child in children:
            os.waitpid(child, 0)
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        note()
        time.sleep(0.7)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        pool.map(abs, range(8))
    note()
"""


@dataclass(frozen=True)
class Workload:
    """What one of the demo's controllers keeps running, or runs repeatedly."""

    namespace: str
    name: str
    container: str
    argv: tuple[str, ...]
    qos: Qos
    sandbox: bool = False  # with a pause-like container that is in no status


CART = Workload("shop", "cart", "app", ("sh", "-c", _CART), "burstable", sandbox=True)
WORKER = Workload("shop", "worker", "pool", ("/usr/bin/python3", "-c", _WORKER), "guaranteed")
REPORT = Workload("batch", "report", "run", ("sh", "-c", _REPORT), "besteffort")


@dataclass(frozen=True)
class EndedContainer:
    """A container that has ended. `tasks`: the least number of processes and threads that it created since `start_counting`."""

    namespace: str
    pod: str
    container: str
    container_id: str
    tasks: int


class Node:
    """Runs workloads in real containers, and reports their statuses to the cluster.

    An async context manager. An error in the background cancels its block, and is raised at the end of it.
    """

    def __init__(self, cluster: Cluster, runtime: Runtime, name: str = "node1") -> None:
        self.name = name
        self._cluster = cluster
        self._runtime = runtime
        self._background = asyncio.TaskGroup()
        self._stopping = asyncio.Event()
        self._cron: asyncio.Task[None] | None = None
        self._statuses: dict[str, asyncio.Task[None]] = {}  # by container id: running ones that are not reported yet
        self._running: dict[str, tuple[Container, Pod]] = {}  # by container id
        self._tasks_before: dict[str, int] = {}  # by container id: tasks that it had created at `start_counting`
        self._ended: list[EndedContainer] = []

    async def __aenter__(self) -> Self:
        await self._background.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.stop()
        finally:
            cancelled = error if isinstance(error, asyncio.CancelledError) else None
            try:
                await self._background.__aexit__(type(cancelled) if cancelled else None, cancelled, trace)
            except BaseExceptionGroup as group:
                raise group.exceptions[0] from None

    async def start(self, workload: Workload) -> None:
        """Starts a Deployment's pod. Returns when its container runs; its status is reported a second later."""
        template = _random(10)
        owner = Owner("ReplicaSet", f"{workload.name}-{template}", str(uuid.uuid4()))
        labels = (("app", workload.name), ("pod-template-hash", template))
        await self._start(workload, owner, labels)

    def run_cron(self) -> None:
        """Runs REPORT repeatedly, each time in a new pod, until `stop`."""
        self._cron = self._background.create_task(self._run_cron())

    def start_counting(self) -> None:
        """Excludes the tasks up to now from `ended_containers`."""
        self._tasks_before = {container.id: _tasks(container) for container, _ in self._running.values()}

    async def stop(self) -> None:
        """Ends every container when the cron job's current run is over. The pods stay in the API."""
        self._stopping.set()
        if self._cron is not None:
            await asyncio.wait([self._cron])
        for status in self._statuses.values():
            status.cancel()
        await asyncio.gather(*(self._remove(container, pod) for container, pod in list(self._running.values())))

    def ended_containers(self) -> tuple[EndedContainer, ...]:
        """The containers that have ended, in this order, without sandboxes."""
        return tuple(self._ended)

    async def _start(self, workload: Workload, owner: Owner, labels: tuple[tuple[str, str], ...]) -> tuple[Container, Pod]:
        pod = Pod(
            namespace=workload.namespace,
            name=f"{owner.name}-{_random(5)}",
            uid=str(uuid.uuid4()),
            containers=((workload.container, workload.argv),),
            node=self.name,
            labels=labels,
            owner=owner,
            qos=workload.qos,
        )
        self._cluster.add_pod(pod)  # before its first process, as in Kubernetes
        if workload.sandbox:
            await self._start_container(pod, "sandbox", ("sleep", "1000000"))
        container = await self._start_container(pod, workload.container, workload.argv)
        self._statuses[container.id] = self._background.create_task(self._report_running(pod, container))
        return container, pod

    async def _start_container(self, pod: Pod, name: str, argv: tuple[str, ...]) -> Container:
        container = await asyncio.to_thread(self._runtime.start, argv, name=name, pod_uid=pod.uid, qos=pod.qos)
        self._running[container.id] = (container, pod)
        return container

    async def _report_running(self, pod: Pod, container: Container) -> None:
        await asyncio.sleep(STATUS_DELAY)
        del self._statuses[container.id]
        self._cluster.container_running(pod.uid, container.name, container.id)

    async def _run_cron(self) -> None:
        minute = int(time.time()) // 60  # a real cron job's runs are numbered by the minute; ours are more frequent
        while not self._stopping.is_set():
            owner = Owner("Job", f"{REPORT.name}-{minute}", str(uuid.uuid4()))
            labels = (("batch.kubernetes.io/job-name", owner.name), ("job-name", owner.name))
            container, pod = await self._start(REPORT, owner, labels)
            exit_code = await asyncio.to_thread(self._runtime.wait, container)
            if (pending_status := self._statuses.pop(container.id, None)) is not None:
                pending_status.cancel()
            self._background.create_task(self._report_ended(pod, container, exit_code))
            await self._remove(container, pod)
            minute += 1
            await self._wait_unless_stopping(REPORT_INTERVAL)

    async def _report_ended(self, pod: Pod, container: Container, exit_code: int) -> None:
        """A kubelet reports a short container only when it has ended, with the same delay."""
        await self._wait_unless_stopping(STATUS_DELAY)
        self._cluster.container_terminated(pod.uid, container.name, exit_code, container.id)
        await self._wait_unless_stopping(REPORT_KEPT_FOR)
        if not self._stopping.is_set():
            self._cluster.delete_pod(pod.uid)

    async def _wait_unless_stopping(self, seconds: float) -> None:
        await asyncio.wait([asyncio.ensure_future(self._stopping.wait())], timeout=seconds)

    async def _remove(self, container: Container, pod: Pod) -> None:
        self._runtime.kill(container)
        await asyncio.to_thread(self._runtime.wait, container)
        if container.name != "sandbox":
            tasks = _tasks(container) - self._tasks_before.get(container.id, _tasks(container, first=True))
            self._ended.append(EndedContainer(pod.namespace, pod.name, container.name, container.id, tasks))
        del self._running[container.id]
        await asyncio.to_thread(self._runtime.delete, container)


def _tasks(container: Container, *, first: bool = False) -> int:
    """The last (or first) task count that the container wrote down; 0 if there is none."""
    notes = container.work / "tasks"
    lines = notes.read_text().split("\n")[:-1] if notes.exists() else []  # the rest after the last newline is incomplete
    return int(lines[0 if first else -1]) if lines else 0


def _random(length: int) -> str:
    return "".join(secrets.choice(LETTERS) for _ in range(length))
