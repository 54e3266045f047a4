"""Encodes forks and the agent's own events as items for framing.otlp: a resource and a log record, as protobuf.

A fork's record is joined from cached bytes: those of its parent context and attribution, and a format for its own numbers,
which differ only in length. Field numbers: opentelemetry-proto 1.10, logs.proto.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from agent.model import Attribution, Event, Fork, ParentContext, state_of
from agent.sinks.encoders.fragments import FragmentCache, NumberCache
from agent.sinks.encoders.messages import caller_name, event_message, location
from agent.sinks.encoders.native import k8s_fields
from agent.sinks.encoders.otel.attributes import Value, attributes, flat, literal, utf8
from agent.sinks.encoders.otel.resource import resource
from agent.sinks.encoders.shared_fields import namespace_fields, task_fields
from agent.sinks.encoders.times import Rfc3339
from agent.sinks.protobuf import nested, varint
from wire.events import FORK, FORK_STORM, FORK_SUMMARY, GAP, NODE_SUMMARY

__all__ = ["OtelEncoder"]

_EVENT_NAMES: Final = {
    FORK: "process.fork",
    FORK_SUMMARY: "process.fork.summary",
    NODE_SUMMARY: "process.fork.node_summary",
    FORK_STORM: "process.fork.storm",
    GAP: "process.fork.gap",
}
_INFO: Final = b"\x10\x09" + nested(3, b"INFO")
_WARN: Final = b"\x10\x0d" + nested(3, b"WARN")
_TIME, _OBSERVED = b"\x09", b"\x59"  # tags of time_unix_nano and observed_time_unix_nano, fixed64
_ATTRIBUTES: Final = 6
_LAST: Final = (1 << 63) - 1  # ns, in 2262: receivers keep them in a signed integer
_Inums = tuple[int | None, ...]
_Clone = tuple[str, ...] | None
# What determines a layout: the lengths of the varints of pid, ns_pid, tid and ns_tid; the levels of pid namespaces, or 0 for
# more than two; whether the child is a thread, whose process has another start time.
_Shape = tuple[int, int, int, int, int, bool]


class _ParentContextBytes(NamedTuple):
    """The part of a record that a ParentContext determines.

    `forked`, `started`: the message's beginning, for a process and for a thread. `is_thread`: the children are threads.
    """

    attributes: bytes
    forked: bytes
    started: bytes
    is_thread: bool


class _AttributionBytes(NamedTuple):
    """The part of a record that an Attribution determines.

    `usual`: its attributes, for a fork whose parent is in the same cgroup and that was resolved at once. Else they are joined
    of `cgroup`, `at_once` or `late`, and the `as_parent` of the parent's attribution.
    """

    resource: bytes
    location: bytes
    usual: bytes
    cgroup: bytes
    at_once: bytes
    late: bytes
    as_parent: bytes


class OtelEncoder:
    """`without`: names of attributes to leave out; `body` is the message, which repeats pids, comm and names.

    The id is never left out, since a receiver detects duplicates by it.
    """

    def __init__(self, cluster: str, node: str, without: Collection[str] = ()) -> None:
        self._cluster = cluster
        self._node = node
        self._without = frozenset(without) - {"log.record.uid"}
        self._time = Rfc3339()
        self._heads = {thread: self._head(thread) for thread in (False, True)}
        self._ids: NumberCache[int, bytes] = NumberCache(self._id_head, 256)
        self._bodies: NumberCache[int, bytes] = NumberCache(self._body_head, 1024)
        self._layouts: NumberCache[_Shape, bytes] = NumberCache(self._layout, 256)
        self._lags: NumberCache[int, bytes] = NumberCache(self._lag, 1024)
        self._complete = [self._attributes({"forklore.child_ns_pids_truncated": truncated}) for truncated in (False, True)]
        self._parent_contexts: FragmentCache[ParentContext, _ParentContextBytes] = FragmentCache(self._parent_context)
        self._attributions: FragmentCache[Attribution, _AttributionBytes] = FragmentCache(self._attribution)

    def forks(self, stream: str, forks: Sequence[Fork]) -> list[bytes]:
        """Written for speed: names are local, and unusual cases are left to functions."""
        parent_contexts, attributions, layouts, time = self._parent_contexts, self._attributions, self._layouts, self._time
        ids, bodies, heads = self._ids, self._bodies, self._heads
        items = []
        for fork in forks:
            sequence, ns, cpu, thread, child, chain, levels, parent_context, attribution, parent_attribution, lag_ms, _ = fork
            task, forked, started, is_thread = parent_contexts[parent_context]
            resource, where, attributed, cgroup, at_once, late, _ = attributions[attribution]
            if parent_attribution is not None or lag_ms is not None:
                parents = b"" if parent_attribution is None else attributions[parent_attribution].as_parent
                attributed = b"".join((cgroup, parents, at_once if lag_ms is None else late, self._lags[lag_ms or 0]))
            name = f"{stream}.{cpu}.{sequence}".encode()
            tid, ns_tid, pid, ns_pid, start, entity = child
            if (
                tid is not None
                and ns_tid is not None
                and pid is not None
                and ns_pid is not None
                and start is not None
                and entity is not None
            ):
                a, b = varint(pid), varint(ns_pid)
                c, d = (a, b) if tid == pid and ns_tid == ns_pid else (varint(tid), varint(ns_tid))
                simple = levels if levels < 3 else 0
                layout = layouts[len(a), len(b), len(c), len(d), simple, is_thread]
                own = layout % (a, b, c, d, time(start).encode(), entity.encode(), c, d)
                if not simple:
                    own += self._chain(chain, levels)
            else:
                own = self._child(fork, is_thread=is_thread)
            number = b"?" if tid is None else b"%d" % tid
            body = b"%b%b%b" % (started if thread else forked, number, where)
            moment = ns.to_bytes(8, "little") if 0 <= ns <= _LAST else _moment(ns)
            record = b"".join((
                heads[thread], moment, _OBSERVED, moment, ids[len(name)], name, bodies[len(body)] % body, own, attributed, task,
            ))  # fmt: skip
            items.append(b"%b\x12%b%b" % (resource, varint(len(record)), record))
        return items

    def event(self, event: Event) -> bytes:
        k8s, container = event["k8s"], event.get("container")
        kind = event["event"]
        rest = {key: value for key, value in event.items() if key not in ("event", "id", "timestamp", "k8s", "container")}
        named: dict[str, Value] = {"log.record.uid": event["id"], "forklore.event": kind}
        named.update(flat("forklore", rest))
        message = utf8(event_message(event, location(k8s, container)))
        moment = _moment(_ns(event["timestamp"]))
        record = b"".join((
            _WARN if kind in (GAP, FORK_STORM) else _INFO,
            nested(12, _EVENT_NAMES[kind].encode()),
            _TIME, moment, _OBSERVED, moment,
            self._bodies[len(message)] % message,
            self._attributes(named),
        ))  # fmt: skip
        return self._resource(k8s, container) + nested(2, record)

    def _head(self, thread: bool) -> bytes:
        """The part that all forks have in common, up to their time."""
        named: dict[str, Value] = {"forklore.event": FORK, "forklore.kind": "thread" if thread else "process"}
        return _INFO + nested(12, _EVENT_NAMES[FORK].encode()) + self._attributes(named) + _TIME

    def _id_head(self, length: int) -> bytes:
        """The bytes before an id of this length."""
        return self._attributes({"log.record.uid": "-" * length})[:-length]

    def _body_head(self, length: int) -> bytes:
        """A format of the body, for a message of this length."""
        if "body" in self._without:
            return b"%.0b"
        return literal(nested(5, nested(1, b"-" * length))[:-length]) + b"%b"

    def _layout(self, shape: _Shape) -> bytes:
        """A format of the child's own attributes, for varints of these lengths.

        Its values: pid, ns_pid, tid, ns_tid; start and entity; tid and ns_tid again, for a chain of one or two levels. With 0
        levels the chain comes after it.
        """
        pid, ns_pid, tid, ns_tid, levels, is_thread = shape
        chain = [tid, ns_tid][:levels]
        # The largest number of each length stands for all of them.
        most = [(1 << 7 * length) - 1 for length in (pid, ns_pid, tid, ns_tid)]
        numbers = dict(zip(("process.pid", "process.vpid", "forklore.child_tid", "forklore.child_ns_tid"), most, strict=True))
        start = "forklore.start_time" if is_thread else "process.creation.time"
        parts = [
            self._placeholder(name, number, length) for (name, number), length in zip(numbers.items(), shape, strict=False)
        ]
        parts += [self._placeholder(start, "-" * 30, 30), self._placeholder("forklore.process_entity_id", "-" * 16, 16)]
        if not levels:
            return b"".join((*parts, b"%.0b%.0b"))
        array = self._attributes({"forklore.child_ns_pids": most[2 : 2 + levels]})
        before = array[: len(array) - sum(chain) - 3 * (levels - 1)]
        between = [literal(before), *(literal(bytes((0x0A, 1 + length, 0x18))) for length in chain[1:])]
        parts += [part + b"%b" for part in between] if array else [b"%.0b"] * levels
        parts += [b"%.0b"] * (2 - levels)
        return b"".join(parts) + literal(self._complete[False])

    def _chain(self, chain: Sequence[int | None], levels: int) -> bytes:
        return self._attributes({"forklore.child_ns_pids": chain}) + self._complete[levels > len(chain)]

    def _placeholder(self, name: str, like: Value, length: int) -> bytes:
        """A format of one attribute, for values of `length` bytes, as `like` has."""
        whole = self._attributes({name: like})
        return literal(whole[:-length]) + b"%b" if whole else b"%.0b"

    def _child(self, fork: Fork, *, is_thread: bool) -> bytes:
        """What a layout makes, when something is unknown."""
        child = fork.child
        start = "forklore.start_time" if is_thread else "process.creation.time"
        return self._attributes({
            "process.pid": child.pid,
            "process.vpid": child.ns_pid,
            "forklore.child_tid": child.tid,
            "forklore.child_ns_tid": child.ns_tid,
            start: None if child.start is None else self._time(child.start),
            "forklore.process_entity_id": child.entity,
        }) + self._chain(fork.chain, fork.levels)  # fmt: skip

    def _parent_context(self, parent_context: ParentContext) -> _ParentContextBytes:
        above = task_fields("forklore.parent_process", parent_context.parent_process, self._time)
        named: dict[str, Value] = {
            "process.parent_pid": above.pop("forklore.parent_process_pid"),
            "process.executable.name": parent_context.comm,
            "process.user.id": parent_context.uid,
            "forklore.gid": parent_context.gid,
            "forklore.parent_comm": parent_context.parent_comm,
            **task_fields("forklore.parent", parent_context.parent, self._time),
            **above,
            "forklore.parent_entity_id": parent_context.parent_process.entity,
        }
        if parent_context.leader is not None:  # a thread, whose process is older
            leader = task_fields("forklore.leader", parent_context.leader, self._time)
            named |= {"process.creation.time": leader.pop("forklore.leader_start_time"), **leader}
        who = utf8(caller_name(parent_context))
        encoded = self._attributes(named) + self._namespace_attributes(parent_context.namespaces, parent_context.clone)
        return _ParentContextBytes(encoded, who + b" forked ", who + b" started thread ", parent_context.leader is not None)

    def _namespace_attributes(self, inums: _Inums, clone: _Clone) -> bytes:
        return self._attributes({"forklore.clone": clone, **dict(flat("forklore.namespaces", namespace_fields(inums)))})

    def _attribution(self, attribution: Attribution) -> _AttributionBytes:
        fields = k8s_fields(attribution, self._cluster, self._node)
        k8s, container = fields["k8s"], fields["container"]
        where = utf8(f" {location(k8s, container)}")
        cgroup = self._cgroup("forklore.cgroup", attribution)
        at_once, late = (
            self._attributes(
                {"forklore.enrichment.by": attribution.by, "forklore.enrichment.state": state_of(attribution, lag_ms)}
            )
            for lag_ms in (None, 0)
        )
        usual = b"".join((cgroup, at_once, self._lags[0]))
        as_parent = self._cgroup("forklore.parent_cgroup", attribution)
        return _AttributionBytes(self._resource(k8s, container), where, usual, cgroup, at_once, late, as_parent)

    def _cgroup(self, name: str, attribution: Attribution) -> bytes:
        return self._attributes({f"{name}.id": attribution.cgroup, f"{name}.path": attribution.path})

    def _lag(self, lag_ms: int) -> bytes:
        return self._attributes({"forklore.enrichment.lag_ms": lag_ms})

    def _resource(self, k8s: dict[str, Any], container: dict[str, Any] | None) -> bytes:
        return nested(1, attributes(1, resource(k8s, container), self._without))

    def _attributes(self, named: dict[str, Value]) -> bytes:
        return attributes(_ATTRIBUTES, named, self._without)


def _moment(ns: int) -> bytes:
    """A fixed64. 0 means unknown in OTLP: the wall clock was before 1970."""
    return min(max(ns, 0), _LAST).to_bytes(8, "little")


def _ns(moment: str) -> int:
    """ns since 1970, of a time as Rfc3339 makes it: in UTC, with nine decimals."""
    return int(datetime.fromisoformat(moment[:19]).replace(tzinfo=UTC).timestamp()) * 1_000_000_000 + int(moment[20:29])
