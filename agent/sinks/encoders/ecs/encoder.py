"""Forks and the agent's own events as ECS documents. Pure.

A fork's document is a join of fragments, as native's line is: what its origin and its subject say is made once and kept.

Must not live here: what is mapped to what (objects).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import orjson

from agent.model import Attribution, Event, Fork, ParentContext, Task
from agent.sinks.encoders.ecs.objects import (
    ECS_VERSION,
    about_fork,
    about_own,
    attribution_leftovers,
    attribution_of,
    child_of,
    own_leftovers,
    parent_context_of,
)
from agent.sinks.encoders.facts import found, inner, known
from agent.sinks.encoders.fragments import ATTRIBUTIONS, Fragments
from agent.sinks.encoders.native import k8s_fields
from agent.sinks.encoders.sentences import caller, sentence, where
from agent.sinks.encoders.times import Rfc3339

__all__ = ["EcsEncoder"]

_MODULE: Final = "forklore"
_DATASET: Final = "forklore.process"
_DATA_STREAM: Final = ("type", "dataset", "namespace")


class _ParentContextText(NamedTuple):
    """An origin's share: members, each with a comma but the last of `process`, which ends its object. `begun`: when a thread's
    process started; None: the child is its own process."""

    caller: str
    process: str
    begun: str | None
    related: str
    leftovers: str


class _AttributionText(NamedTuple):
    """`usual`: the leftovers, with the parent in the same cgroup and the name known at once."""

    objects: str
    leftovers: str
    usual: str


class EcsEncoder:
    """Its items are documents without a newline. `version`: the agent's. `data_stream`: where they go, as
    `<type>-<dataset>-<namespace>`; with any other name, or None, it is no data stream."""

    def __init__(self, cluster: str, node: str, version: str, data_stream: str | None = None) -> None:
        self._cluster = cluster
        self._node = node
        self._version = version
        parts = data_stream.split("-") if data_stream else []
        self._data_stream = dict(zip(_DATA_STREAM, parts, strict=True)) if len(parts) == 3 and all(parts) else None
        self._module = {"module": _MODULE, "dataset": self._data_stream["dataset"] if self._data_stream else _DATASET}
        self._time = Rfc3339()
        self._parent_contexts: Fragments[ParentContext, _ParentContextText] = Fragments(self._parent_context, 1024)
        self._attributions: Fragments[Attribution, _AttributionText] = Fragments(self._attribution, ATTRIBUTIONS)

    def forks(self, stream: str, forks: Sequence[Fork]) -> list[str]:
        """The one loop that is written for speed: its names are local, and what is unusual is left to functions."""
        parent_contexts, attributions, time = self._parent_contexts, self._attributions, self._time
        head = f'{{"event":{{"id":"{stream}.'
        of_process, of_thread = (f"{inner({**about_fork(thread), **self._module})[:-1]}}}," for thread in (False, True))
        common = inner(self._common(stream))
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
            who, process, leader_begun, related, of_parent_context = parent_contexts[parent_context]
            objects, of_attribution, rest = attributions[attribution]
            if parent_attribution is not None or lag_ms is not None:
                rest = of_attribution + found(attribution, parent_attribution, lag_ms)
            tid, ns_tid, pid, ns_pid, start, entity = child
            shown: int | str | None = tid if thread else pid
            if tid is None or ns_tid is None or pid is None or ns_pid is None or start is None or entity is None:
                own, of_child = self._partly(child, leader_begun)
                shown = "?" if shown is None else shown
                numbers = orjson.dumps(chain).decode()[1:-1]
            else:
                own = f'"pid":{pid},"vpid":{ns_pid},"entity_id":"{entity}","thread":{{"id":{tid}}},'
                of_child = f'"child_ns_tid":{ns_tid},'
                if leader_begun is None:
                    own = f'{own}"start":"{time(start)}",'
                else:
                    own += leader_begun
                    of_child = f'{of_child}"start_time":"{time(start)}",'
                numbers = f"{tid},{ns_tid}" if len(chain) == 2 else orjson.dumps(chain).decode()[1:-1]
            documents.append(
                f'{head}{cpu}.{sequence}","sequence":{sequence},{of_thread if thread else of_process}"@timestamp":"{time(ns)}",'
                f'{who} {"started thread" if thread else "forked"} {shown}","process":{{{own}{process}}},{related}{objects}'
                f'{common}"forklore":{{"kind":"{"thread" if thread else "process"}",{of_parent_context}{rest}{of_child}'
                f'"child_ns_pids":[{numbers}],"child_ns_pids_truncated":{"true" if levels > len(chain) else "false"}}}}}'
            )
        return documents

    def event(self, event: Event) -> str:
        common = self._common(event["id"])
        if (kernel := event.get("agent", {}).get("kernel")) is not None:
            common["host"]["os"]["kernel"] = kernel
        document = {
            "event": {**about_own(event), **self._module},
            "@timestamp": event["timestamp"],
            "message": sentence(event, where(event["k8s"], event.get("container"))),
            "related": {"hosts": [self._node]},
            **attribution_of(event["k8s"], event.get("container")),
            **common,
            "forklore": own_leftovers(event),
        }
        return orjson.dumps(document).decode()

    def _common(self, stream: str) -> dict[str, Any]:
        """`stream`: or any id, which begins with it."""
        return known({
            "ecs": {"version": ECS_VERSION},
            "agent": {"type": _MODULE, "name": self._node, "version": self._version},
            "host": {"name": self._node, "boot": {"id": stream.partition(".")[0]}, "os": {"type": "linux"}},
            "data_stream": self._data_stream,
        })  # fmt: skip

    def _partly(self, child: Task, leader_begun: str | None) -> tuple[str, str]:
        """The child's share when something of it is unknown."""
        start = {} if child.start is None else {"start" if leader_begun is None else "start_time": self._time(child.start)}
        own, ns_tid = inner(child_of(child)), inner(known({"child_ns_tid": child.ns_tid}))
        if leader_begun is None:
            return own + inner(start), ns_tid
        return own + leader_begun, ns_tid + inner(start)

    def _parent_context(self, parent_context: ParentContext) -> _ParentContextText:
        process, related, leftovers = parent_context_of(parent_context, self._node, self._time)
        leader = parent_context.leader
        return _ParentContextText(
            caller=inner({"message": caller(parent_context)})[:-2],
            process=inner(process)[:-1],
            begun=None if leader is None else "" if leader.start is None else inner({"start": self._time(leader.start)}),
            related=inner({"related": related}),
            leftovers=inner(leftovers),
        )

    def _attribution(self, attribution: Attribution) -> _AttributionText:
        told = k8s_fields(attribution, self._cluster, self._node)
        leftovers = inner(attribution_leftovers(told))
        objects = inner(attribution_of(told["k8s"], told["container"]))
        return _AttributionText(objects, leftovers, leftovers + found(attribution, None, None))
