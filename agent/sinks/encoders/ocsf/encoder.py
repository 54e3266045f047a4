"""Forks and the agent's own events as OCSF events. Pure.

A fork's event is a join of fragments, as native's line is: what its origin and its subject say is made once and kept. Must not
live here: what is mapped to what (objects, classes).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

from agent.model import Attribution, Event, Fork, ParentContext, Task
from agent.sinks.encoders.facts import found, inner, known
from agent.sinks.encoders.fragments import ATTRIBUTIONS, Fragments
from agent.sinks.encoders.native import k8s_fields
from agent.sinks.encoders.ocsf.classes import OCSF_VERSION, PROFILES, fork_class, own_class, own_leftovers
from agent.sinks.encoders.ocsf.objects import (
    INT32_MOST,
    child_of,
    container_of,
    device_of,
    leftovers_of,
    moment,
    parent_context_of,
    read_moment,
)
from agent.sinks.encoders.sentences import caller, sentence, where
from agent.sinks.encoders.times import Rfc3339
from wire.events import FORK

__all__ = ["OcsfEncoder"]


class _ParentContextText(NamedTuple):
    """An origin's share: members, each with a comma. `begun`: when a thread's process started; None: the child is its own
    process."""

    caller: str
    actor: str
    process: str
    begun: str | None
    leftovers: str


class _AttributionText(NamedTuple):
    """`usual`: the leftovers, with the parent in the same cgroup and the name known at once."""

    container: str
    leftovers: str
    usual: str


class OcsfEncoder:
    """Its items are events without a newline. `version`: the agent's."""

    def __init__(self, cluster: str, node: str, version: str) -> None:
        self._cluster = cluster
        self._node = node
        self._product = {"name": "forklore", "vendor_name": "forklore", "version": version}
        self._time = Rfc3339()
        self._parent_contexts: Fragments[ParentContext, _ParentContextText] = Fragments(self._parent_context, 1024)
        self._attributions: Fragments[Attribution, _AttributionText] = Fragments(self._attribution, ATTRIBUTIONS)

    def forks(self, stream: str, forks: Sequence[Fork]) -> list[str]:
        """The one loop that is written for speed: its names are local, and what is unusual is left to functions."""
        parent_contexts, attributions, time = self._parent_contexts, self._attributions, self._time
        about = inner(self._metadata(FORK))[:-1]
        device = device_of(self._node, stream)
        of_process, of_thread = (f"{about}}},{inner({**fork_class(thread), 'device': device})}" for thread in (False, True))
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
            who, actor, process, leader_begun, of_parent_context = parent_contexts[parent_context]
            container, of_attribution, rest = attributions[attribution]
            if parent_attribution is not None or lag_ms is not None:
                rest = of_attribution + found(attribution, parent_attribution, lag_ms)
            number = f'"sequence":{sequence},' if sequence <= INT32_MOST else ""
            tid, ns_tid, pid, ns_pid, start, entity = child
            shown: int | str | None = tid if thread else pid
            if tid is None or ns_tid is None or pid is None or ns_pid is None or start is None or entity is None:
                own, of_child = self._partly(child, leader_begun, f"{stream}.{cpu}.{sequence}")
                shown = "?" if shown is None else shown
                numbers = orjson.dumps(chain).decode()[1:-1]
            else:
                own = f'"pid":{pid},"ptid":{tid},"namespace_pid":{ns_pid},"uid":"{entity}"'
                of_child = f'"child_ns_tid":{ns_tid},'
                if leader_begun is None:
                    own = f'"created_time":{start // 1_000_000},"created_time_dt":"{time(start)}",{own}'
                else:
                    own = leader_begun + own
                    of_child = f'{of_child}"start_time":"{time(start)}",'
                numbers = f"{tid},{ns_tid}" if len(chain) == 2 else orjson.dumps(chain).decode()[1:-1]
            events.append(
                f'{{"time":{ns // 1_000_000},"time_dt":"{time(ns)}",{who} {"started thread" if thread else "forked"} {shown}",'
                f'"metadata":{{"uid":"{stream}.{cpu}.{sequence}",{number}{of_thread if thread else of_process}{actor}'
                f'"process":{{{process}{container}{own}}},"unmapped":{{{of_parent_context}{rest}{of_child}"child_ns_pids":[{numbers}],'
                f'"child_ns_pids_truncated":{"true" if levels > len(chain) else "false"}}}}}'
            )
        return events

    def event(self, event: Event) -> str:
        device = device_of(self._node, event["id"])
        if (kernel := event.get("agent", {}).get("kernel")) is not None:
            device["os"]["kernel_release"] = kernel
        told = {
            **read_moment("time", event["timestamp"]),
            "message": sentence(event, where(event["k8s"], event.get("container"))),
            "metadata": {"uid": event["id"], **self._metadata(event["event"])},
            **own_class(event),
            "device": known({**device, "container": container_of(event["k8s"], event.get("container"))}),
            "unmapped": own_leftovers(event),
        }
        return orjson.dumps(told).decode()

    def _metadata(self, kind: str) -> dict[str, Any]:
        return {"event_code": kind, "version": OCSF_VERSION, "product": self._product, "profiles": PROFILES}

    def _partly(self, child: Task, leader_begun: str | None, event_id: str) -> tuple[str, str]:
        """The child's share when something of it is unknown."""
        own = child_of(child, event_id)
        rest: dict[str, Any] = {"child_ns_tid": child.ns_tid}
        if leader_begun is None:
            own |= moment("created_time", child.start, self._time)
        elif child.start is not None:
            rest["start_time"] = self._time(child.start)
        return (leader_begun or "") + inner(own)[:-1], inner(known(rest))

    def _parent_context(self, parent_context: ParentContext) -> _ParentContextText:
        actor, process, leftovers = parent_context_of(parent_context, self._time)
        leader = parent_context.leader
        return _ParentContextText(
            caller=inner({"message": caller(parent_context)})[:-2],
            actor=inner({"actor": actor}),
            process=inner(process),
            begun=None if leader is None else inner(moment("created_time", leader.start, self._time)),
            leftovers=inner(leftovers),
        )

    def _attribution(self, attribution: Attribution) -> _AttributionText:
        told = k8s_fields(attribution, self._cluster, self._node)
        container = container_of(told["k8s"], told["container"])
        leftovers = inner(leftovers_of(told, labels_told=container is not None))
        return _AttributionText(inner(known({"container": container})), leftovers, leftovers + found(attribution, None, None))
