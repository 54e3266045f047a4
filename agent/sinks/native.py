"""The native schema, as newline-delimited JSON: wire.events, field by field. Pure.

A line is a join of fragments: 2 us a fork, where a dict and its serialisation take 8. Strings that a container chose pass
through orjson, which escapes them; everything else is numbers and our own words. Must not live here: other schemas.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import orjson

from agent.nouns import Event, Fork, Origin, Subject, Task
from agent.sinks.fragments import Fragments
from agent.sinks.times import Rfc3339
from wire.events import FORK

__all__ = ["NativeEncoder", "whose"]

_NAMESPACES: Final = ("pid", "mnt", "net", "user", "uts", "ipc", "cgroup")


def _json(value: object) -> str:
    return orjson.dumps(value).decode()


def whose(subject: Subject, cluster: str, node: str) -> dict[str, Any]:
    """The part of an event that says whose it is: cgroup, container, k8s."""
    pod, container = subject.pod, subject.container
    return {
        "cgroup": {"id": subject.cgroup, "path": subject.path},
        "container": container and {
            "id": container.id,
            "name": container.name,
            "image": container.image,
            "image_id": container.image_id,
            "kind": container.kind,
            "runtime": container.runtime,
        },
        "k8s": {
            "cluster": cluster,
            "node": node,
            "namespace": pod and pod.namespace,
            "pod": pod and pod.name,
            "pod_uid": subject.pod_uid,
            "labels": pod and dict(pod.labels),
            "workload": pod and pod.workload and {"kind": pod.workload[0], "name": pod.workload[1]},
            "service_account": pod and pod.service_account,
            "qos": pod and pod.qos,
        },
    }  # fmt: skip


class _OriginText:
    """An origin's share of the line, in the order of the line."""

    __slots__ = ("above", "comm", "leader", "namespaces", "parent", "parent_entity")

    def __init__(self, origin: Origin, time: Rfc3339) -> None:
        self.parent = _task("parent_", origin.parent, time)
        self.above = _task("parent_process_", origin.parent_process, time)
        self.leader = _task("leader_", origin.leader, time) if origin.leader else None
        self.comm = (
            f'"comm":{_json(origin.comm)},"parent_comm":{_json(origin.parent_comm)},'
            f'"uid":{_json(origin.uid)},"gid":{_json(origin.gid)},'
        )
        inums = dict(zip(_NAMESPACES, origin.namespaces, strict=True))
        self.namespaces = f'"namespaces":{_json(inums)},"clone":{_json(origin.clone)},'
        self.parent_entity = f'"parent_entity_id":{_json(origin.parent_process.entity)},'


def _task(prefix: str, task: Task, time: Rfc3339, start: str | None = None) -> str:
    tid, ns_tid, pid, ns_pid = ("null" if number is None else number for number in task[:4])
    moment = "null" if task.start is None else f'"{time(task.start)}"'
    return (
        f'"{prefix}tid":{tid},"{prefix}ns_tid":{ns_tid},"{prefix}pid":{pid},"{prefix}ns_pid":{ns_pid},'
        f'"{start or prefix + "start_time"}":{moment},'
    )


class NativeEncoder:
    """`stream`: the ids' first half, `<boot id>.<epoch>`."""

    def __init__(self, stream: str, cluster: str, node: str) -> None:
        self._stream = stream
        self._cluster = cluster
        self._node = node
        self._time = Rfc3339()
        self._origins: Fragments[Origin, _OriginText] = Fragments(lambda origin: _OriginText(origin, self._time), 2048)
        self._subjects: Fragments[Subject, str] = Fragments(self._subject, 2048)

    def forks(self, forks: Iterable[Fork]) -> list[str]:
        """One line each, without the newline."""
        return [self._line(fork) for fork in forks]

    def event(self, event: Event) -> str:
        """An event of the agent's own: it is in this schema's shape already."""
        return _json(event)

    def _subject(self, subject: Subject) -> str:
        return _json(whose(subject, self._cluster, self._node))[1:-1]

    def _line(self, fork: Fork) -> str:
        sequence, ns, cpu, thread, child, chain, levels, origin, subject, parent_subject, lag_ms = fork
        text = self._origins[origin]
        time = self._time
        tid, ns_tid, pid, ns_pid, start, entity = child
        if ns_tid is None or ns_pid is None or start is None:
            child_text = _task("child_", child, time, "start_time")
            leader_text = text.leader or _task("leader_", child, time)
        else:
            moment = time(start)
            child_text = (
                f'"child_tid":{tid},"child_ns_tid":{ns_tid},"child_pid":{pid},"child_ns_pid":{ns_pid},"start_time":"{moment}",'
            )
            leader_text = text.leader or (
                f'"leader_tid":{tid},"leader_ns_tid":{ns_tid},"leader_pid":{pid},"leader_ns_pid":{ns_pid},'
                f'"leader_start_time":"{moment}",'
            )
        numbers = f"{chain[0]},{chain[1]}" if len(chain) == 2 else _json(chain)[1:-1]
        entity_text = "null" if entity is None else f'"{entity}"'
        parent_cgroup = "null"
        if parent_subject is not None:
            parent_cgroup = _json({"id": parent_subject.cgroup, "path": parent_subject.path})
        by = "null" if subject.by is None else f'"{subject.by}"'
        return (
            f'{{"event":"{FORK}","id":"{self._stream}.{cpu}.{sequence}","timestamp":"{time(ns)}",'
            f'"kind":"{"thread" if thread else "process"}",{text.parent}{child_text}{text.above}{leader_text}{text.comm}'
            f'"child_ns_pids":[{numbers}],{text.namespaces}"process_entity_id":{entity_text},{text.parent_entity}'
            f'{self._subjects[subject]},"parent_cgroup":{parent_cgroup},'
            f'"enrichment":{{"state":"{fork.state}","by":{by},"lag_ms":{lag_ms or 0}}},'
            f'"child_ns_pids_truncated":{"true" if levels > len(chain) else "false"}}}'
        )
