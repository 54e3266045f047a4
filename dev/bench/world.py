"""Generates forks of pods on nodes, with the summaries and heartbeats of their agents, as checked lines.

What all forks of one parent have in common is created once, so that inserting is measured with little overhead.
"""

from __future__ import annotations

import random
from typing import Any

import orjson

from collector.ingest.attribution import attribution_of
from collector.ingest.fields import nanoseconds
from collector.model import Attribution, CheckedBatch, CheckedFork, CheckedNode, CheckedSummary, TaskCounts
from collector.model.fork_columns import pack
from collector.views.times import SECOND, stamp

__all__ = ["COMMS", "NODES", "PODS", "World", "stream"]

NODES, PODS, CPUS = 500, 20_000, 16
SHELLS = 4  # tasks per pod that fork
COMMS = ("sh", "bash", "python3", "curl", "node", "java", "runc:[2:INIT]", "healthcheck", "cat", "grep", "psql", "redis-cli")
_HOUR = 3600 * SECOND
_FIRST_PID = 30_000  # above all pids in pods, as on a node that has been up for an hour


class World:
    """Each pod draws from a few comms. `seed` makes every run the same."""

    def __init__(self, seed: int = 1) -> None:
        self.random = random.Random(seed)  # noqa: S311 - not for secrets
        self.pods = [_pod(number) for number in range(PODS)]
        self._sequences = [[0] * CPUS for _ in range(NODES)]
        self._pids = [_FIRST_PID] * NODES
        self._totals = [0] * PODS
        self._shells: dict[int, list[dict[str, Any]]] = {}
        self._stamps: tuple[int, str] = (-1, "")

    def batch(self, now: int, until: int, size: int) -> CheckedBatch:
        """Forks of ten nodes between two times (ns), and their pods' summaries, as in the agents' batches."""
        lines, draw = CheckedBatch(), self.random
        nodes = draw.sample(range(NODES), 10)
        step = max(1, (until - now) // size)
        touched: set[int] = set()
        for place in range(size):
            node = nodes[place % 10]
            number = self.draw_pod(node)
            touched.add(number)
            lines.forks.append(self._fork(number, node, now + place * step))
        for number in sorted(touched):
            lines.summaries.append(self._summary(number, until))
        for node in nodes:
            lines.nodes.append(self._node(node, until))
        return lines

    def draw_pod(self, node: int) -> int:
        """The number of one of its pods: a few fork much, most fork little."""
        return node + NODES * min(int(self.random.paretovariate(1.2)) - 1, PODS // NODES - 1)

    def _fork(self, number: int, node: int, at: int) -> CheckedFork:
        drawn = self.random.random
        cpu = int(drawn() * CPUS)
        sequences = self._sequences[node]
        sequence = sequences[cpu]
        sequences[cpu] = sequence + 1
        self._totals[number] += 1
        self._pids[node] = pid = _FIRST_PID + (self._pids[node] - _FIRST_PID + 1 + int(drawn() * 3)) % 4_000_000
        entity, ns_pid = f"{self.random.getrandbits(64):016x}", pid % 30_000
        shells = self._shells.get(number)
        if shells is None:
            shells = self._shells[number] = [
                self._shell(number, at, f"{self.random.getrandbits(64):016x}", 100) for _ in range(SHELLS)
            ]
        shell = int(drawn() * SHELLS)
        event = shells[shell].copy()
        comm = COMMS[(number + int(drawn() * 3)) % len(COMMS)]
        event["comm"] = event["parent_comm"] = comm
        event["timestamp"] = self._stamp(at)
        start = at - 17_000 - int(drawn() * 2000)
        event["start_time"] = event["leader_start_time"] = self._stamp(start)
        event["child_tid"] = event["child_pid"] = event["leader_tid"] = event["leader_pid"] = pid
        event["child_ns_tid"] = event["child_ns_pid"] = event["leader_ns_tid"] = event["leader_ns_pid"] = ns_pid
        event["child_ns_pids"] = [pid, ns_pid]
        event["process_entity_id"] = entity
        if drawn() < 0.1:
            shells[int(drawn() * SHELLS)] = self._shell(number, at, entity, pid)
        columns = pack(event, at, start, nanoseconds(event["parent_start_time"], "parent_start_time"))
        return CheckedFork(stream(node), cpu, sequence, 1000 + number, self.pods[number], 5, at, columns, None)

    def _shell(self, number: int, at: int, entity: str, pid: int) -> dict[str, Any]:
        """What the forks of all its children have in common."""
        created = stamp(at - at % _HOUR)
        return {
            "event": "sched_process_fork", "id": "", "timestamp": "", "kind": "process",
            **dict.fromkeys(("parent_tid", "parent_pid", "parent_process_tid", "parent_process_pid"), pid),
            **{f"parent_{of}": pid % 30_000 for of in ("ns_tid", "ns_pid", "process_ns_tid", "process_ns_pid")},
            **dict.fromkeys(("child_tid", "child_pid", "leader_tid", "leader_pid")),
            **dict.fromkeys(("child_ns_tid", "child_ns_pid", "leader_ns_tid", "leader_ns_pid")),
            "parent_start_time": created, "parent_process_start_time": created, "start_time": "", "leader_start_time": "",
            "comm": "", "parent_comm": "", "uid": 1000, "gid": 1000, "child_ns_pids": [],
            "child_ns_pids_truncated": False, "clone": [], "parent_cgroup": None,
            "namespaces": dict.fromkeys(("pid", "mnt", "net", "user", "uts", "ipc", "cgroup"), 4026530000 + number * 7),
            "process_entity_id": "", "parent_entity_id": entity,
            "enrichment": {"state": "resolved", "by": "status", "lag_ms": 0},
        }  # fmt: skip

    def _stamp(self, at: int) -> str:
        second, fraction = divmod(at, SECOND)
        if second != self._stamps[0]:
            self._stamps = second, (stamp(second * SECOND) or "")[:20]
        return f"{self._stamps[1]}{fraction:09d}Z"

    def _summary(self, number: int, end: int) -> CheckedSummary:
        total, name = self._totals[number], stream(number % NODES)
        totals = TaskCounts(total, 0, total, 0, 0, 0, 0)
        id_ = f"{name}.summary.{1000 + number}.{end // SECOND}"
        start, counts = end - 10 * SECOND, TaskCounts(min(9, total), 0, 0, 0, 0, 0, 0)
        return CheckedSummary(id_, name, 1000 + number, self.pods[number], 5, end, start, end, end // SECOND, counts, totals)

    def _node(self, node: int, end: int) -> CheckedNode:
        heads = dict(enumerate(self._sequences[node]))
        sent = sum(heads.values())
        counters = dict.fromkeys(TaskCounts._fields, 0) | {"processes": sent, "emitted": sent}
        sink = {"delivered": sent, "queued": {}, "lost": {}, "filtered": {}}
        ledger = {"captured": sent, "suppressed": 0, "kernel_workers": 0, "lost": {}, "sinks": {"collector": sink}}
        body = {
            "agent": {"version": "1"},
            "lag_ms": 0,
            "counts": counters,
            "totals": counters,
            "heads": heads,
            "ledger": ledger,
        }
        number, start = end // SECOND, end - 10 * SECOND
        id_ = f"{stream(node)}.node.{number}"
        packed_body = orjson.dumps(body, option=orjson.OPT_NON_STR_KEYS)
        return CheckedNode(
            id_, stream(node), "prod", f"node-{node}", end, start, end, number, packed_body, sent, heads, {"collector": sent}
        )


_STREAMS = [f"0ac846b9-54b9-46db-ad41-{node:012x}.9f3c51d2a7e04b68" for node in range(NODES)]


def stream(node: int) -> str:
    return _STREAMS[node]


def _pod(number: int) -> Attribution:
    deployment, node = f"service-{number // 20}", number % NODES
    return attribution_of(
        {
            "cgroup": {"id": 1000 + number, "path": f"/kubepods/burstable/pod{number:032x}/{number * 7919:064x}"},
            "container": {"id": f"{number * 7919:064x}", "name": "app",
                          "image": f"registry.example/{deployment}:1.{number % 7}"},
            "k8s": {
                "cluster": "prod", "node": f"node-{node}", "namespace": f"team-{number // 400}",
                "pod": f"{deployment}-{number:010x}", "pod_uid": f"{number:08x}-0000-4000-8000-000000000000",
                "labels": {"app": deployment, "tier": "web" if number % 3 else "batch"},
                "workload": {"kind": "Deployment", "name": deployment},
            },
        }
    )  # fmt: skip
