"""The native schema: wire.events, field by field, as JSON. Pure.

A line is joined from fragments: 2 us for each fork, where a dict and its serialisation take 8. Strings that a container may
have chosen pass through orjson, which escapes them; everything else is numbers and our own words.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import orjson

from agent.model import Attribution, Event, Fork, ParentContext, Task, state_of
from agent.sinks.encoders.fragments import FragmentCache
from agent.sinks.encoders.shared_fields import NAMESPACES
from agent.sinks.encoders.times import Rfc3339
from wire.events import FORK

__all__ = ["NativeEncoder", "k8s_fields"]

_Inums = tuple[int | None, ...]
_Clone = tuple[str, ...] | None


def _json(value: object) -> str:
    return orjson.dumps(value).decode()


def k8s_fields(attribution: Attribution, cluster: str, node: str) -> dict[str, Any]:
    """An attribution as the event's `cgroup`, `container` and `k8s` objects."""
    pod, container = attribution.pod, attribution.container
    return {
        "cgroup": {"id": attribution.cgroup, "path": attribution.path},
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
            "pod_uid": attribution.pod_uid,
            "labels": pod and dict(pod.labels),
            **({"annotations": dict(pod.annotations)} if pod and pod.annotations else {}),
            "workload": pod and pod.workload and {"kind": pod.workload[0], "name": pod.workload[1]},
            "service_account": pod and pod.service_account,
            "qos": pod and pod.qos,
        },
    }  # fmt: skip


class _ParentContextText(NamedTuple):
    """The part of the line that a ParentContext determines, in the line's order. `leader` None: the child is its own."""

    parent: str
    above: str
    leader: str | None
    comm: str
    namespaces: str
    parent_entity: str


class _AttributionText(NamedTuple):
    """`fields`: k8s_fields() as JSON members. `usual`: these, `parent_cgroup` and `enrichment`, for a fork whose parent is in
    the same cgroup and that was resolved at once."""

    fields: str
    usual: str


def _namespaces(inums: _Inums, clone: _Clone) -> str:
    return f'"namespaces":{_json(dict(zip(NAMESPACES, inums, strict=True)))},"clone":{_json(clone)},'


def _task(prefix: str, task: Task, time: Rfc3339) -> str:
    tid, ns_tid, pid, ns_pid, start, _ = _json_values(task, time)
    return (
        f'"{prefix}tid":{tid},"{prefix}ns_tid":{ns_tid},"{prefix}pid":{pid},"{prefix}ns_pid":{ns_pid},'
        f'"{prefix}start_time":{start},'
    )


def _json_values(task: Task, time: Rfc3339) -> tuple[int | str, ...]:
    """A task's fields as JSON, with `null` for what is unknown."""
    *numbers, start, entity = task
    values: list[int | str] = ["null" if number is None else number for number in numbers]
    return (*values, "null" if start is None else f'"{time(start)}"', "null" if entity is None else f'"{entity}"')


class NativeEncoder:
    """Its items are lines without the newline."""

    def __init__(self, cluster: str, node: str) -> None:
        self._cluster = cluster
        self._node = node
        self._time = Rfc3339()
        self._parent_contexts: FragmentCache[ParentContext, _ParentContextText] = FragmentCache(self._parent_context)
        self._attributions: FragmentCache[Attribution, _AttributionText] = FragmentCache(self._attribution)

    def forks(self, stream: str, forks: Iterable[Fork]) -> list[str]:
        """Written for speed: names are local, and unusual cases are left to functions."""
        parent_contexts, attributions, time = self._parent_contexts, self._attributions, self._time
        head = f'{{"event":"{FORK}","id":"{stream}.'
        lines = []
        for (
            sequence,
            ns,
            cpu,
            thread,
            child,
            chain,
            levels,
            parent_context,
            attribution,
            parent_attribution,
            lag_ms,
            _,
        ) in forks:
            parent, above, leader, comm, namespaces, parent_entity = parent_contexts[parent_context]
            tid, ns_tid, pid, ns_pid, start, entity = child
            moment: int | str
            if tid is None or ns_tid is None or pid is None or ns_pid is None or start is None or entity is None:
                tid, ns_tid, pid, ns_pid, moment, entity = _json_values(child, time)  # type: ignore[assignment]
            else:
                moment, entity = f'"{time(start)}"', f'"{entity}"'
            if leader is None:
                leader = (
                    f'"leader_tid":{tid},"leader_ns_tid":{ns_tid},"leader_pid":{pid},"leader_ns_pid":{ns_pid},'
                    f'"leader_start_time":{moment},'
                )
            text, rest = attributions[attribution]
            if parent_attribution is not None or lag_ms is not None:
                rest = self._rest(text, attribution, parent_attribution, lag_ms)
            numbers = f"{tid},{ns_tid}" if len(chain) == 2 else tid if len(chain) == 1 else _json(chain)[1:-1]
            lines.append(
                f'{head}{cpu}.{sequence}","timestamp":"{time(ns)}","kind":"{"thread" if thread else "process"}",{parent}'
                f'"child_tid":{tid},"child_ns_tid":{ns_tid},"child_pid":{pid},"child_ns_pid":{ns_pid},"start_time":{moment},'
                f'{above}{leader}{comm}"child_ns_pids":[{numbers}],{namespaces}"process_entity_id":{entity},{parent_entity}'
                f'{rest}"child_ns_pids_truncated":{"true" if levels > len(chain) else "false"}}}'
            )
        return lines

    def event(self, event: Event) -> str:
        """An event of the agent itself has this schema already."""
        return _json(event)

    def _parent_context(self, parent_context: ParentContext) -> _ParentContextText:
        time = self._time
        return _ParentContextText(
            parent=_task("parent_", parent_context.parent, time),
            above=_task("parent_process_", parent_context.parent_process, time),
            leader=_task("leader_", parent_context.leader, time) if parent_context.leader else None,
            comm=f'"comm":{_json(parent_context.comm)},"parent_comm":{_json(parent_context.parent_comm)},'
            f'"uid":{_json(parent_context.uid)},"gid":{_json(parent_context.gid)},',
            namespaces=_namespaces(parent_context.namespaces, parent_context.clone),
            parent_entity=f'"parent_entity_id":{_json(parent_context.parent_process.entity)},',
        )

    def _attribution(self, attribution: Attribution) -> _AttributionText:
        text = _json(k8s_fields(attribution, self._cluster, self._node))[1:-1]
        return _AttributionText(text, self._rest(text, attribution, None, None))

    def _rest(self, fields: str, attribution: Attribution, parent: Attribution | None, lag_ms: int | None) -> str:
        parent_cgroup = None if parent is None else {"id": parent.cgroup, "path": parent.path}
        enrichment = {"state": state_of(attribution, lag_ms), "by": attribution.by, "lag_ms": lag_ms or 0}
        return f'{fields},"parent_cgroup":{_json(parent_cgroup)},"enrichment":{_json(enrichment)},'
