"""Forks and the agent's own events -> items for framing.otlp: a resource and a log record, as protobuf.

A fork's record is joined from bytes made once: its task's (ParentContext), its container's (Attribution), and a format for the
numbers of
its own, which differ only in length. Field numbers: opentelemetry-proto 1.10, logs.proto. Must not live here: whose a fork is.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from agent.model import Attribution, Event, Fork, ParentContext, state_of
from agent.sinks.encoders.facts import by_name, namespaces
from agent.sinks.encoders.fragments import ATTRIBUTIONS, Fragments
from agent.sinks.encoders.native import k8s_fields
from agent.sinks.encoders.otel.attributes import Value, attributes, flat, literal, utf8
from agent.sinks.encoders.otel.resource import resource
from agent.sinks.encoders.sentences import caller, sentence, where
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
_LAST: Final = (1 << 63) - 1  # in 2262: receivers hold these nanoseconds in a signed number
_Shape = tuple[int, int, int, int, int, bool]
_Inums = tuple[int | None, ...]
_Clone = tuple[str, ...] | None


class _ParentContextBytes(NamedTuple):
    """`forked`, `started`: the sentence's beginning, of a process and of a thread."""

    attributes: bytes
    forked: bytes
    started: bytes
    led: bool


class _AttributionBytes(NamedTuple):
    """`usual`: all that a record says of it, with the parent in the same cgroup and the name known at once. Else that is joined
    of `cgroup`, `at_once` or `late`, and of another's `as_parent`."""

    resource: bytes
    where: bytes
    usual: bytes
    cgroup: bytes
    at_once: bytes
    late: bytes
    as_parent: bytes


class OtelEncoder:
    """`without`: names of attributes that are left out; `body` is the sentence, which repeats pids, comm and names. The id
    stays: a receiver knows by it what it has already."""

    def __init__(self, cluster: str, node: str, without: Collection[str] = ()) -> None:
        self._cluster = cluster
        self._node = node
        self._without = frozenset(without) - {"log.record.uid"}
        self._time = Rfc3339()
        self._heads = {thread: self._head(thread) for thread in (False, True)}
        self._ids: Fragments[int, bytes] = Fragments(self._id_head, 256)
        self._bodies: Fragments[int, bytes] = Fragments(self._body_head, 1024)
        self._layouts: Fragments[_Shape, bytes] = Fragments(self._layout, 256)
        self._lags: Fragments[int, bytes] = Fragments(self._lag, 1024)
        self._complete = [self._attributes({"forklore.child_ns_pids_truncated": truncated}) for truncated in (False, True)]
        self._namespaces: Fragments[tuple[_Inums, _Clone], bytes] = Fragments(self._of_namespaces, 512)
        self._parent_contexts: Fragments[ParentContext, _ParentContextBytes] = Fragments(self._parent_context, 1024)
        self._attributions: Fragments[Attribution, _AttributionBytes] = Fragments(self._attribution, ATTRIBUTIONS)

    def forks(self, stream: str, forks: Sequence[Fork]) -> list[bytes]:
        """The one loop that is written for speed: its names are local, and what is unusual is left to functions."""
        parent_contexts, attributions, layouts, time = self._parent_contexts, self._attributions, self._layouts, self._time
        ids, bodies, heads = self._ids, self._bodies, self._heads
        items = []
        for fork in forks:
            sequence, ns, cpu, thread, child, chain, levels, parent_context, attribution, parent_attribution, lag_ms, _ = fork
            task, forked, started, led = parent_contexts[parent_context]
            resource, where, theirs, cgroup, at_once, late, _ = attributions[attribution]
            if parent_attribution is not None or lag_ms is not None:
                parents = b"" if parent_attribution is None else attributions[parent_attribution].as_parent
                theirs = b"".join((cgroup, parents, at_once if lag_ms is None else late, self._lags[lag_ms or 0]))
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
                layout = layouts[len(a), len(b), len(c), len(d), simple, led]
                own = layout % (a, b, c, d, time(start).encode(), entity.encode(), c, d)
                if not simple:
                    own += self._chain(chain, levels)
            else:
                own = self._own(fork, led=led)
            number = b"?" if tid is None else b"%d" % tid
            body = b"%b%b%b" % (started if thread else forked, number, where)
            moment = ns.to_bytes(8, "little") if 0 <= ns <= _LAST else _moment(ns)
            record = b"".join((
                heads[thread], moment, _OBSERVED, moment, ids[len(name)], name, bodies[len(body)] % body, own, theirs, task,
            ))  # fmt: skip
            items.append(b"%b\x12%b%b" % (resource, varint(len(record)), record))
        return items

    def event(self, event: Event) -> bytes:
        k8s, container = event["k8s"], event.get("container")
        kind = event["event"]
        rest = {key: value for key, value in event.items() if key not in ("event", "id", "timestamp", "k8s", "container")}
        named: dict[str, Value] = {"log.record.uid": event["id"], "forklore.event": kind}
        named.update(flat("forklore", rest))
        words = utf8(sentence(event, where(k8s, container)))
        moment = _moment(_ns(event["timestamp"]))
        record = b"".join((
            _WARN if kind in (GAP, FORK_STORM) else _INFO,
            nested(12, _EVENT_NAMES[kind].encode()),
            _TIME, moment, _OBSERVED, moment,
            self._bodies[len(words)] % words,
            self._attributes(named),
        ))  # fmt: skip
        return self._resource(k8s, container) + nested(2, record)

    def _head(self, thread: bool) -> bytes:
        """What all forks have in common, up to their time."""
        named: dict[str, Value] = {"forklore.event": FORK, "forklore.kind": "thread" if thread else "process"}
        return _INFO + nested(12, _EVENT_NAMES[FORK].encode()) + self._attributes(named) + _TIME

    def _id_head(self, length: int) -> bytes:
        """What stands before an id of this length."""
        return self._attributes({"log.record.uid": "-" * length})[:-length]

    def _body_head(self, length: int) -> bytes:
        """A format of the body, for a sentence of this length."""
        if "body" in self._without:
            return b"%.0b"
        return literal(nested(5, nested(1, b"-" * length))[:-length]) + b"%b"

    def _layout(self, shape: _Shape) -> bytes:
        """A format of what only the child has, for numbers that are so many bytes long: pid, ns_pid, tid, ns_tid; its start and
        entity; tid and ns_tid again, for a chain of one or two levels. Of 0 levels: the chain comes after it."""
        pid, ns_pid, tid, ns_tid, levels, led = shape
        chain = [tid, ns_tid][:levels]
        # The largest number of that many bytes stands for all of them.
        most = [(1 << 7 * length) - 1 for length in (pid, ns_pid, tid, ns_tid)]
        numbers = dict(zip(("process.pid", "process.vpid", "forklore.child_tid", "forklore.child_ns_tid"), most, strict=True))
        start = "forklore.start_time" if led else "process.creation.time"
        parts = [self._hole(name, number, length) for (name, number), length in zip(numbers.items(), shape, strict=False)]
        parts += [self._hole(start, "-" * 30, 30), self._hole("forklore.process_entity_id", "-" * 16, 16)]
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

    def _hole(self, name: str, like: Value, length: int) -> bytes:
        """A format of one attribute, for a value that takes as many bytes as `like` does."""
        whole = self._attributes({name: like})
        return literal(whole[:-length]) + b"%b" if whole else b"%.0b"

    def _own(self, fork: Fork, *, led: bool) -> bytes:
        """As a layout has it, the slow way: where something is unknown."""
        child = fork.child
        return self._attributes({
            "process.pid": child.pid,
            "process.vpid": child.ns_pid,
            "forklore.child_tid": child.tid,
            "forklore.child_ns_tid": child.ns_tid,
            "forklore.start_time" if led else "process.creation.time": None if child.start is None else self._time(child.start),
            "forklore.process_entity_id": child.entity,
        }) + self._chain(fork.chain, fork.levels)  # fmt: skip

    def _parent_context(self, parent_context: ParentContext) -> _ParentContextBytes:
        above = by_name("forklore.parent_process", parent_context.parent_process, self._time)
        named: dict[str, Value] = {
            "process.parent_pid": above.pop("forklore.parent_process_pid"),
            "process.executable.name": parent_context.comm,
            "process.user.id": parent_context.uid,
            "forklore.gid": parent_context.gid,
            "forklore.parent_comm": parent_context.parent_comm,
            **by_name("forklore.parent", parent_context.parent, self._time),
            **above,
            "forklore.parent_entity_id": parent_context.parent_process.entity,
        }
        if parent_context.leader is not None:  # the process is older than this thread of it
            leader = by_name("forklore.leader", parent_context.leader, self._time)
            named |= {"process.creation.time": leader.pop("forklore.leader_start_time"), **leader}
        who = utf8(caller(parent_context))
        told = self._attributes(named) + self._namespaces[parent_context.namespaces, parent_context.clone]
        return _ParentContextBytes(told, who + b" forked ", who + b" started thread ", parent_context.leader is not None)

    def _of_namespaces(self, both: tuple[_Inums, _Clone]) -> bytes:
        """Which tasks have in common that never met."""
        inums, clone = both
        return self._attributes({"forklore.clone": clone, **dict(flat("forklore.namespaces", namespaces(inums)))})

    def _attribution(self, attribution: Attribution) -> _AttributionBytes:
        told = k8s_fields(attribution, self._cluster, self._node)
        k8s, container = told["k8s"], told["container"]
        words = utf8(f" {where(k8s, container)}")
        cgroup = self._cgroup("forklore.cgroup", attribution)
        at_once, late = (
            self._attributes(
                {"forklore.enrichment.by": attribution.by, "forklore.enrichment.state": state_of(attribution, lag_ms)}
            )
            for lag_ms in (None, 0)
        )
        usual = b"".join((cgroup, at_once, self._lags[0]))
        as_parent = self._cgroup("forklore.parent_cgroup", attribution)
        return _AttributionBytes(self._resource(k8s, container), words, usual, cgroup, at_once, late, as_parent)

    def _cgroup(self, name: str, attribution: Attribution) -> bytes:
        return self._attributes({f"{name}.id": attribution.cgroup, f"{name}.path": attribution.path})

    def _lag(self, lag_ms: int) -> bytes:
        return self._attributes({"forklore.enrichment.lag_ms": lag_ms})

    def _resource(self, k8s: dict[str, Any], container: dict[str, Any] | None) -> bytes:
        return nested(1, attributes(1, resource(k8s, container), self._without))

    def _attributes(self, named: dict[str, Value]) -> bytes:
        return attributes(_ATTRIBUTES, named, self._without)


def _moment(ns: int) -> bytes:
    """0 is OTLP's unknown: the wall clock's, before 1970."""
    return min(max(ns, 0), _LAST).to_bytes(8, "little")


def _ns(moment: str) -> int:
    """Of an RFC 3339 time as Rfc3339 makes it: in UTC, with nine digits after the second."""
    return int(datetime.fromisoformat(moment[:19]).replace(tzinfo=UTC).timestamp()) * 1_000_000_000 + int(moment[20:29])
