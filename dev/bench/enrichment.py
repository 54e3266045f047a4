"""The cost of attribution in an event's enrichment: the real Attributions beside a plain dict, on the same events, in turns.

`python -m dev.bench.enrichment` runs it alone.
"""

from __future__ import annotations

import gc
import random
import statistics
import time
from collections.abc import Callable, Iterator

from agent.attribution.attached_tasks import AttachedTasks
from agent.attribution.attributions import Attributions
from agent.attribution.cgroups import Cgroups
from agent.attribution.enricher import Enricher
from agent.attribution.fork_decoder import ForkDecoder, RecordLayout
from agent.attribution.kubelet_root import KubeletRoot
from agent.attribution.pods import Pods
from agent.attribution.pods.objects import pod_of
from agent.interfaces import AttachedTaskSource, AttributionSource
from agent.kernel.clock import WallClock
from agent.kernel.records import CHAIN, FORK, FORK_SLOT, NUMBERS, PARENT_CONTEXT
from agent.model import Attribution
from dev.demo.kubernetes import pod_objects

PODS = 250  # as many as a big node is allowed
SERVICES = 40  # of the host: systemd's
EVENTS = 20_000  # a round: a second of a very busy node
ROUNDS = 21
TURN = 4096  # events the agent takes at once
CHANGE_EVERY = 100  # events between two MODIFIED: 200 a second, more than an API server sends for one node
AIM_NS = 1000.0
NOW = "2026-11-22T19:46:33Z"
LAYOUT = RecordLayout(FORK_SLOT, FORK.iter_unpack, PARENT_CONTEXT.unpack, NUMBERS.unpack)


class ConstantAttributions:
    """From a dict that never changes."""

    def __init__(self, attributions: dict[int, Attribution]) -> None:
        self.find = attributions.get
        self.resolve_now = self.resolve_final = attributions.__getitem__


class NothingAttached:
    """No task was moved."""

    def cgroup_of(self, _tid: int, _start: int) -> int | None:
        return None


class Node:
    """A node full of pods, with both shapes of paths: cgroups and pods as the agent holds them.

    `objects`: the API's. `forking`: the cgroups that fork, of containers and services. `containers`: the container id in
    the path of each of them.
    """

    def __init__(self, chance: random.Random, pods: int = PODS) -> None:
        self._chance = chance
        self.cgroups, self.pods = Cgroups(), Pods()
        self.objects: list[pod_objects.Json] = []
        self.forking: list[int] = []
        self.containers: dict[int, str | None] = {}
        self._sandboxes: list[int] = []
        for number in range(SERVICES):
            self._forks(self._created(f"/system.slice/service-{number}.service"), None)
        for number in range(pods):
            self._pod(number)
        self.pods.replace([pod for one in self.objects if (pod := pod_of(one))], 0.0)
        root = KubeletRoot()
        root.known = True  # and no path: this node has pods by both of the kubelet's drivers
        self.attributions = Attributions(self.cgroups, self.pods, root, api=True)
        for sandbox in self._sandboxes:  # their first forks have waited: the final answers are cached
            assert self.attributions.resolve_final(sandbox).by == "birth"

    def _pod(self, number: int) -> None:
        uid = f"{self._chance.getrandbits(32):08x}-{number:04x}-4043-83a2-{self._chance.getrandbits(48):012x}"
        name = self._chance.choice(["cart", "payments-eu-west", "db", "a" * 40, "otel-collector"])
        template = f"{self._chance.getrandbits(36):09x}"
        pod = pod_objects.Pod(
            f"team-{number % 17}",
            f"{name}-{template}-{number:05x}",
            uid,
            (("app", ("sleep", "1")), (f"proxy-{number % 3}", ("sleep", "1"))),
            labels=(("app", name), ("app.kubernetes.io/part-of", "shop"), ("pod-template-hash", template)),
            owner=pod_objects.Owner("ReplicaSet", f"{name}-{template}", "0"),
        )
        api_object = pod_objects.scheduled(pod, NOW)
        above = f"/kubepods/burstable/pod{uid}/"
        scoped = f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{uid.replace('-', '_')}.slice/cri-containerd-"
        for container in (None, "app", f"proxy-{number % 3}"):  # None: the sandbox, which forks nothing
            made = f"{self._chance.getrandbits(256):064x}"
            path = f"{scoped}{made}.scope" if number % 2 else above + made
            if container is None:
                self._sandboxes.append(self._created(path))
            else:
                self._forks(self._created(path), made)
                api_object = pod_objects.running(api_object, container, made, NOW)
        self.objects.append(api_object)

    def _created(self, path: str) -> int:
        return self.cgroups.add(4000 + len(self.cgroups), path.encode(), 0).id

    def _forks(self, cgroup: int, container: str | None) -> None:
        self.forking.append(cgroup)
        self.containers[cgroup] = container

    def modify(self) -> None:
        """Changes a random pod, as the watch does for a MODIFIED event."""
        at = self._chance.randrange(len(self.objects))
        metadata = {**self.objects[at]["metadata"], "labels": {"turn": str(self._chance.random())}}
        changed = pod_of({**self.objects[at], "metadata": metadata})
        assert changed is not None
        self.pods.put(changed)

    def records(self) -> tuple[list[int], bytes]:
        """Random cgroups, and a ring's fork record from each; one in twenty goes into another cgroup than the parent's."""
        drawn, raw = self._chance.choices(self.forking, k=EVENTS), bytearray()
        for sequence, cgroup in enumerate(drawn):
            task, comm = 10_000 + cgroup, f"worker-{cgroup % 97}".encode()
            parent = (task, 7, task, 7, 80)
            parent_context = PARENT_CONTEXT.pack(
                *parent, *parent, 0, 0, 0, 0, 0, 0x1200011, comm, comm, 1000, 1000, *range(11, 18)
            )
            above = self.forking[0] if sequence % 20 == 0 else cgroup
            tid = 20_000 + sequence
            chain = NUMBERS.pack(9, *[0] * (CHAIN - 2))
            raw += FORK.pack(
                sequence, 10**9 + sequence, cgroup, above, tid, 9, tid, 9, 10**9, chain, 0, 2, 0, cgroup, parent_context
            )
        return drawn, bytes(raw)

    def real(self) -> Enricher:
        """As the pipeline builds it."""
        return self._enricher(self.attributions, AttachedTasks())

    def plain(self) -> Enricher:
        """The same attributions, from a dict that never changes: the least possible cost."""
        constant = {cgroup: self.attributions.resolve_now(cgroup) for cgroup in self.forking}
        return self._enricher(ConstantAttributions(constant), NothingAttached())

    def _enricher(self, attributions: AttributionSource, attached_tasks: AttachedTaskSource) -> Enricher:
        decoder = ForkDecoder(LAYOUT, 7, WallClock(10**18))
        return Enricher(decoder, attributions, attached_tasks, wait_ns=5 * 10**9, most=50_000)


def find_cost(node: Node, drawn: list[int], turn: int, changed: Callable[[], None]) -> float:
    """ns of CPU an event of Attributions.find alone, without the loop around it."""
    find, spent = node.attributions.find, 0
    for at in range(0, len(drawn), turn):
        changed()
        some = drawn[at : at + turn]
        began = time.thread_time_ns()
        for cgroup in some:
            find(cgroup)
        middle = time.thread_time_ns()
        for _ in some:
            pass
        spent += 2 * middle - began - time.thread_time_ns()
    return spent / len(drawn)


def enrich_cost(enricher: Enricher, raw: bytes, turn: int, changed: Callable[[], None]) -> float:
    """ns of CPU an event of Enricher.enrich as a whole, without `changed`, which is called between the turns."""
    spent = enriched = 0
    for at in range(0, len(raw), turn * FORK_SLOT):
        changed()
        some = raw[at : at + turn * FORK_SLOT]
        began = time.thread_time_ns()
        forks = enricher.enrich(some, 2 * 10**9)
        spent += time.thread_time_ns() - began
        enriched += len(forks)
    assert enriched == EVENTS
    return spent / EVENTS


def check(node: Node, raw: bytes) -> None:
    """Asserts that each event has the container that its cgroup's path names."""
    for fork in node.real().enrich(raw, 2 * 10**9):
        container = fork.attribution.container
        assert (container.id if container else None) == node.containers[fork.counted]
        assert fork.attribution.state == ("resolved" if container else "host")


def rounds(node: Node, turn: int, changed: Callable[[], None]) -> Iterator[tuple[float, ...]]:
    """The costs of find; of enrich; of enrich with a dict; what attribution adds."""
    drawn, raw = node.records()
    check(node, raw)
    real, plain = node.real(), node.plain()
    for enricher in (real, plain):  # warm, both
        enrich_cost(enricher, raw, turn, changed)
    for number in range(ROUNDS):
        gc.collect()
        alone = find_cost(node, drawn, turn, changed)
        if number % 2:  # neither is always the first
            base, whole = enrich_cost(plain, raw, turn, changed), enrich_cost(real, raw, turn, changed)
        else:
            whole, base = enrich_cost(real, raw, turn, changed), enrich_cost(plain, raw, turn, changed)
        yield alone, whole, base, whole - base


def main() -> None:
    node = Node(random.Random(23))  # noqa: S311  the same node each time
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)  # as the agent does
    print(
        f"\nEnrichment with {PODS} pods and {len(node.cgroups)} cgroups, "
        f"half of them with either driver's paths; {len(node.forking)} of them fork:"
        f"\nns of CPU an event, median (least to most) of {ROUNDS} rounds of {EVENTS} events, in turns\n"
    )
    for title, turn, changed in (
        ("pods as they are", TURN, lambda: None),
        (f"a pod MODIFIED every {CHANGE_EVERY} events", CHANGE_EVERY, node.modify),
    ):
        print(f"{title}, taken {turn} at a time")
        names = ("Attributions.find alone", "Enricher.enrich", "Enricher.enrich, with a dict", "what attribution adds")
        for name, values in zip(names, zip(*rounds(node, turn, changed), strict=True), strict=True):
            middle = statistics.median(values)
            aim = f"   aim < {AIM_NS:.0f}: {'yes' if middle < AIM_NS else 'NO'}" if name == names[-1] else ""
            print(f"  {name:36} {middle:6.0f} ({min(values):.0f} to {max(values):.0f}){aim}")


if __name__ == "__main__":
    main()
