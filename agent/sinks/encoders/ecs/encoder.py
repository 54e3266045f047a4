"""Encodes forks and the agent's own events as ECS documents. Pure.

A fork's document is joined from fragments, as in the native schema: those of its parent context and attribution are cached.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import orjson

from agent.model import Attribution, Event, Fork, ParentContext, Task
from agent.sinks.encoders.ecs.objects import (
    ECS_VERSION,
    agent_event_object,
    attribution_objects,
    child_attributes,
    fork_event_object,
    parent_context_objects,
    unmapped_agent_event,
    unmapped_attribution,
)
from agent.sinks.encoders.fragments import FragmentCache
from agent.sinks.encoders.messages import caller_name, event_message, location
from agent.sinks.encoders.native import k8s_fields
from agent.sinks.encoders.shared_fields import enrichment_members, json_members, without_nulls
from agent.sinks.encoders.times import Rfc3339

__all__ = ["EcsEncoder"]

_MODULE: Final = "forklore"
_DATASET: Final = "forklore.process"
_DATA_STREAM: Final = ("type", "dataset", "namespace")


class _ParentContextText(NamedTuple):
    """The part of a document that a ParentContext determines: members, each followed by a comma, but for the last of `process`.

    `leader_start`: when a thread's process started; None: the child is a process. `unmapped`: what ECS has no field for.
    """

    caller: str
    process: str
    leader_start: str | None
    related: str
    unmapped: str


class _AttributionText(NamedTuple):
    """`usual`: `unmapped` and the enrichment, for a fork whose parent is in the same cgroup and that was resolved at once."""

    objects: str
    unmapped: str
    usual: str


class EcsEncoder:
    """Its items are documents without a newline. `version`: the agent's.

    `data_stream`: where documents go, as `<type>-<dataset>-<namespace>`; any other name, or None, is not a data stream.
    """

    def __init__(self, cluster: str, node: str, version: str, data_stream: str | None = None) -> None:
        self._cluster = cluster
        self._node = node
        self._version = version
        parts = data_stream.split("-") if data_stream else []
        self._data_stream = dict(zip(_DATA_STREAM, parts, strict=True)) if len(parts) == 3 and all(parts) else None
        self._module = {"module": _MODULE, "dataset": self._data_stream["dataset"] if self._data_stream else _DATASET}
        self._time = Rfc3339()
        self._parent_contexts: FragmentCache[ParentContext, _ParentContextText] = FragmentCache(self._parent_context)
        self._attributions: FragmentCache[Attribution, _AttributionText] = FragmentCache(self._attribution)

    def forks(self, stream: str, forks: Sequence[Fork]) -> list[str]:
        """Written for speed: names are local, and unusual cases are left to functions."""
        parent_contexts, attributions, time = self._parent_contexts, self._attributions, self._time
        head = f'{{"event":{{"id":"{stream}.'
        of_process, of_thread = (
            f"{json_members({**fork_event_object(thread), **self._module})[:-1]}}}," for thread in (False, True)
        )
        common = json_members(self._common(stream))
        documents = []
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
            who, process, leader_start, related, of_parent_context = parent_contexts[parent_context]
            objects, of_attribution, rest = attributions[attribution]
            if parent_attribution is not None or lag_ms is not None:
                rest = of_attribution + enrichment_members(attribution, parent_attribution, lag_ms)
            tid, ns_tid, pid, ns_pid, start, entity = child
            number: int | str | None = tid if thread else pid
            if tid is None or ns_tid is None or pid is None or ns_pid is None or start is None or entity is None:
                own, of_child = self._incomplete_child(child, leader_start)
                number = "?" if number is None else number
                numbers = orjson.dumps(chain).decode()[1:-1]
            else:
                own = f'"pid":{pid},"vpid":{ns_pid},"entity_id":"{entity}","thread":{{"id":{tid}}},'
                of_child = f'"child_ns_tid":{ns_tid},'
                if leader_start is None:
                    own = f'{own}"start":"{time(start)}",'
                else:
                    own += leader_start
                    of_child = f'{of_child}"start_time":"{time(start)}",'
                numbers = f"{tid},{ns_tid}" if len(chain) == 2 else orjson.dumps(chain).decode()[1:-1]
            documents.append(
                f'{head}{cpu}.{sequence}","sequence":{sequence},{of_thread if thread else of_process}"@timestamp":"{time(ns)}",'
                f'{who} {"started thread" if thread else "forked"} {number}","process":{{{own}{process}}},{related}{objects}'
                f'{common}"forklore":{{"kind":"{"thread" if thread else "process"}",{of_parent_context}{rest}{of_child}'
                f'"child_ns_pids":[{numbers}],"child_ns_pids_truncated":{"true" if levels > len(chain) else "false"}}}}}'
            )
        return documents

    def event(self, event: Event) -> str:
        common = self._common(event["id"])
        if (kernel := event.get("agent", {}).get("kernel")) is not None:
            common["host"]["os"]["kernel"] = kernel
        document = {
            "event": {**agent_event_object(event), **self._module},
            "@timestamp": event["timestamp"],
            "message": event_message(event, location(event["k8s"], event.get("container"))),
            "related": {"hosts": [self._node]},
            **attribution_objects(event["k8s"], event.get("container")),
            **common,
            "forklore": unmapped_agent_event(event),
        }
        return orjson.dumps(document).decode()

    def _common(self, stream: str) -> dict[str, Any]:
        """Members of all documents. `stream`: or an id, which begins with it."""
        return without_nulls({
            "ecs": {"version": ECS_VERSION},
            "agent": {"type": _MODULE, "name": self._node, "version": self._version},
            "host": {"name": self._node, "boot": {"id": stream.partition(".")[0]}, "os": {"type": "linux"}},
            "data_stream": self._data_stream,
        })  # fmt: skip

    def _incomplete_child(self, child: Task, leader_start: str | None) -> tuple[str, str]:
        """The child's parts of `process` and `forklore` when something of it is unknown."""
        start = {} if child.start is None else {"start" if leader_start is None else "start_time": self._time(child.start)}
        own, ns_tid = json_members(child_attributes(child)), json_members(without_nulls({"child_ns_tid": child.ns_tid}))
        if leader_start is None:
            return own + json_members(start), ns_tid
        return own + leader_start, ns_tid + json_members(start)

    def _parent_context(self, parent_context: ParentContext) -> _ParentContextText:
        process, related, unmapped = parent_context_objects(parent_context, self._node, self._time)
        leader = parent_context.leader
        return _ParentContextText(
            caller=json_members({"message": caller_name(parent_context)})[:-2],
            process=json_members(process)[:-1],
            leader_start=None
            if leader is None
            else ""
            if leader.start is None
            else json_members({"start": self._time(leader.start)}),
            related=json_members({"related": related}),
            unmapped=json_members(unmapped),
        )

    def _attribution(self, attribution: Attribution) -> _AttributionText:
        fields = k8s_fields(attribution, self._cluster, self._node)
        unmapped = json_members(unmapped_attribution(fields))
        objects = json_members(attribution_objects(fields["k8s"], fields["container"]))
        return _AttributionText(objects, unmapped, unmapped + enrichment_members(attribution, None, None))
