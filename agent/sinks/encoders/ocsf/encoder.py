"""Encodes forks and the agent's own events as OCSF events. Pure.

A fork's event is joined from fragments, as in the native schema: those of its parent context and attribution are cached.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

from agent.model import Attribution, Event, Fork, ParentContext, Task
from agent.sinks.encoders.fragments import FragmentCache
from agent.sinks.encoders.messages import caller_name, event_message, location
from agent.sinks.encoders.native import k8s_fields
from agent.sinks.encoders.ocsf.classes import OCSF_VERSION, PROFILES, agent_event_class, fork_class, unmapped_agent_event
from agent.sinks.encoders.ocsf.objects import (
    INT32_MAX,
    child_attributes,
    container_object,
    device_object,
    parent_context_objects,
    parse_time_attributes,
    time_attributes,
    unmapped_attribution,
)
from agent.sinks.encoders.shared_fields import enrichment_members, json_members, without_nulls
from agent.sinks.encoders.times import Rfc3339
from wire.events import FORK

__all__ = ["OcsfEncoder"]


class _ParentContextText(NamedTuple):
    """The part of an event that a ParentContext determines: members, each followed by a comma.

    `leader_start`: when a thread's process started; None: the child is a process. `unmapped`: what OCSF has no attribute for.
    """

    caller: str
    actor: str
    process: str
    leader_start: str | None
    unmapped: str


class _AttributionText(NamedTuple):
    """`usual`: `unmapped` and the enrichment, for a fork whose parent is in the same cgroup and that was resolved at once."""

    container: str
    unmapped: str
    usual: str


class OcsfEncoder:
    """Its items are events without a newline. `version`: the agent's."""

    def __init__(self, cluster: str, node: str, version: str) -> None:
        self._cluster = cluster
        self._node = node
        self._product = {"name": "forklore", "vendor_name": "forklore", "version": version}
        self._time = Rfc3339()
        self._parent_contexts: FragmentCache[ParentContext, _ParentContextText] = FragmentCache(self._parent_context)
        self._attributions: FragmentCache[Attribution, _AttributionText] = FragmentCache(self._attribution)

    def forks(self, stream: str, forks: Sequence[Fork]) -> list[str]:
        """Written for speed: names are local, and unusual cases are left to functions."""
        parent_contexts, attributions, time = self._parent_contexts, self._attributions, self._time
        about = json_members(self._metadata(FORK))[:-1]
        device = device_object(self._node, stream)
        of_process, of_thread = (
            f"{about}}},{json_members({**fork_class(thread), 'device': device})}" for thread in (False, True)
        )
        events = []
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
            who, actor, process, leader_start, of_parent_context = parent_contexts[parent_context]
            container, of_attribution, rest = attributions[attribution]
            if parent_attribution is not None or lag_ms is not None:
                rest = of_attribution + enrichment_members(attribution, parent_attribution, lag_ms)
            sequence_member = f'"sequence":{sequence},' if sequence <= INT32_MAX else ""
            tid, ns_tid, pid, ns_pid, start, entity = child
            number: int | str | None = tid if thread else pid
            if tid is None or ns_tid is None or pid is None or ns_pid is None or start is None or entity is None:
                own, of_child = self._incomplete_child(child, leader_start, f"{stream}.{cpu}.{sequence}")
                number = "?" if number is None else number
                numbers = orjson.dumps(chain).decode()[1:-1]
            else:
                own = f'"pid":{pid},"ptid":{tid},"namespace_pid":{ns_pid},"uid":"{entity}"'
                of_child = f'"child_ns_tid":{ns_tid},'
                if leader_start is None:
                    own = f'"created_time":{start // 1_000_000},"created_time_dt":"{time(start)}",{own}'
                else:
                    own = leader_start + own
                    of_child = f'{of_child}"start_time":"{time(start)}",'
                numbers = f"{tid},{ns_tid}" if len(chain) == 2 else orjson.dumps(chain).decode()[1:-1]
            events.append(
                f'{{"time":{ns // 1_000_000},"time_dt":"{time(ns)}",{who} {"started thread" if thread else "forked"} {number}",'
                f'"metadata":{{"uid":"{stream}.{cpu}.{sequence}",{sequence_member}{of_thread if thread else of_process}{actor}'
                f'"process":{{{process}{container}{own}}},"unmapped":{{{of_parent_context}{rest}{of_child}"child_ns_pids":[{numbers}],'
                f'"child_ns_pids_truncated":{"true" if levels > len(chain) else "false"}}}}}'
            )
        return events

    def event(self, event: Event) -> str:
        device = device_object(self._node, event["id"])
        if (kernel := event.get("agent", {}).get("kernel")) is not None:
            device["os"]["kernel_release"] = kernel
        fields = {
            **parse_time_attributes("time", event["timestamp"]),
            "message": event_message(event, location(event["k8s"], event.get("container"))),
            "metadata": {"uid": event["id"], **self._metadata(event["event"])},
            **agent_event_class(event),
            "device": without_nulls({**device, "container": container_object(event["k8s"], event.get("container"))}),
            "unmapped": unmapped_agent_event(event),
        }
        return orjson.dumps(fields).decode()

    def _metadata(self, kind: str) -> dict[str, Any]:
        return {"event_code": kind, "version": OCSF_VERSION, "product": self._product, "profiles": PROFILES}

    def _incomplete_child(self, child: Task, leader_start: str | None, event_id: str) -> tuple[str, str]:
        """The child's parts of `process` and `unmapped` when something of it is unknown."""
        own = child_attributes(child, event_id)
        rest: dict[str, Any] = {"child_ns_tid": child.ns_tid}
        if leader_start is None:
            own |= time_attributes("created_time", child.start, self._time)
        elif child.start is not None:
            rest["start_time"] = self._time(child.start)
        return (leader_start or "") + json_members(own)[:-1], json_members(without_nulls(rest))

    def _parent_context(self, parent_context: ParentContext) -> _ParentContextText:
        actor, process, unmapped = parent_context_objects(parent_context, self._time)
        leader = parent_context.leader
        return _ParentContextText(
            caller=json_members({"message": caller_name(parent_context)})[:-2],
            actor=json_members({"actor": actor}),
            process=json_members(process),
            leader_start=None if leader is None else json_members(time_attributes("created_time", leader.start, self._time)),
            unmapped=json_members(unmapped),
        )

    def _attribution(self, attribution: Attribution) -> _AttributionText:
        fields = k8s_fields(attribution, self._cluster, self._node)
        container = container_object(fields["k8s"], fields["container"])
        unmapped = json_members(unmapped_attribution(fields, labels_mapped=container is not None))
        return _AttributionText(
            json_members(without_nulls({"container": container})),
            unmapped,
            unmapped + enrichment_members(attribution, None, None),
        )
