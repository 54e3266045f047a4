"""The kinds of events, each with its check: a parsed line in, a checked noun out, or `Refused`.

A new kind is one function and one line in `CHECKS`. What is not in the contract is left out rather than refused, so that a
newer agent can say more than this collector knows; what may be unknown and is absent counts as `null`, so that an older one
can say less. Pure. Must not live here: HTTP, SQL, and checks of single values (`fields`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, NoReturn

import orjson

from collector.http.quoting import quoted
from collector.ingest.attribution import attribution_of, host_of
from collector.ingest.fields import (
    MAX_AMOUNT,
    Refused,
    amount,
    array,
    count,
    mapping,
    maybe_count,
    maybe_text,
    maybe_time,
    nanoseconds,
    one_of,
    text,
)
from collector.model import (
    HOST,
    UNNUMBERED,
    CheckedFork,
    CheckedGap,
    CheckedLines,
    CheckedNode,
    CheckedStorm,
    CheckedSummary,
    TaskCounts,
)
from wire.events import FORK, FORK_STORM, FORK_SUMMARY, GAP, NODE_SUMMARY, NOT_OBSERVABLE
from wire.ids import parse_fork_id

__all__ = ["CHECKS", "check"]

FORK_COUNTS: Final = (
    *(
        f"{task}_{part}"
        for task in ("parent", "child", "parent_process", "leader")
        for part in ("tid", "ns_tid", "pid", "ns_pid")
    ),
    "uid",
    "gid",
)
FORK_TIMES: Final = ("parent_start_time", "start_time", "parent_process_start_time", "leader_start_time")
NAMESPACES: Final = ("pid", "mnt", "net", "user", "uts", "ipc", "cgroup")
COMM: Final = 64  # characters: TASK_COMM_LEN is 16 bytes, a kernel worker's long name is 64
ID: Final = 256  # characters
CPUS: Final = 8192
ENRICHED: Final = ("resolved", "late", "host", "unresolved")
ENRICHED_BY: Final = ("status", "cgroup", "attach", "birth")
# How much an event's word about its cgroup is worth: a later `unresolved` must not take a pod its name again.
RANKS: Final = {"resolved": 4, "late": 4, "host": 2, "unresolved": 0}
_STREAM: Final = re.compile(r"[0-9a-f-]{36}\.[0-9a-f]{16}")
_ENTITY: Final = re.compile(r"[0-9a-f]{16}")


def check(line: object, into: CheckedLines) -> None:
    """Sorts one parsed line in. Raises `Refused`."""
    if type(line) is not dict:
        raise Refused(f"a line is one JSON object, not {quoted(line)}")
    kind = line.get("event")
    chosen = CHECKS.get(kind) if type(kind) is str else None
    if chosen is None:
        raise Refused(f"event: {quoted(kind)} is a kind that this collector does not know; it knows {', '.join(CHECKS)}")
    chosen(line, into)


def _fork(line: dict[str, Any], into: CheckedLines) -> None:
    try:
        stream, cpu, sequence = parse_fork_id(text(line.get("id"), "id", ID))
    except ValueError as wrong:
        raise Refused(f"id: {quoted(str(wrong))}") from None
    if cpu >= CPUS:
        raise Refused(f"id: {cpu} is not the number of a CPU")
    if sequence > 2**63 - 2:
        raise Refused(f"id: sequence {sequence} is over 63 bits")
    time = nanoseconds(line.get("timestamp"), "timestamp")
    kind = one_of(line.get("kind"), "kind", ("process", "thread"))
    get = line.get
    kept: dict[str, Any] = {"event": FORK, "id": line["id"], "timestamp": line["timestamp"], "kind": kind}
    for name in FORK_COUNTS:
        value = get(name)
        kept[name] = value if type(value) is int and 0 <= value < 2**32 else _small(value, name)
    for name in FORK_TIMES:
        kept[name] = maybe_time(get(name), name)
    kept["comm"] = maybe_text(get("comm"), "comm", COMM)
    parent_comm = kept["parent_comm"] = maybe_text(get("parent_comm"), "parent_comm", COMM)
    chain = get("child_ns_pids")
    kept["child_ns_pids"] = [_small(pid, "child_ns_pids") for pid in array([] if chain is None else chain, "child_ns_pids", 32)]
    kept["child_ns_pids_truncated"] = get("child_ns_pids_truncated") is True
    inums = get("namespaces")
    inums = mapping({} if inums is None else inums, "namespaces", 32)
    kept["namespaces"] = {name: maybe_count(inums.get(name), f"namespaces.{name}") for name in NAMESPACES}
    flags = get("clone")
    kept["clone"] = None if flags is None else [text(flag, "clone", 32) for flag in array(flags, "clone", 64)]
    for name in ("process_entity_id", "parent_entity_id"):
        kept[name] = _entity(get(name), name)
    kept["parent_cgroup"] = _cgroup(get("parent_cgroup"), "parent_cgroup")
    kept["enrichment"] = enrichment = _enrichment(get("enrichment"))
    attribution = attribution_of(line)
    host = enrichment["state"] == "host" or attribution.cgroup is None
    into.forks.append(
        CheckedFork(
            stream,
            cpu,
            sequence,
            HOST if host else attribution.cgroup or 0,
            attribution,
            RANKS[enrichment["state"]] + attribution.named,
            time,
            kind == "process",
            parent_comm,
            kept,
            host_of(line) if enrichment["by"] == "attach" else None,
        )
    )


def _summary(line: dict[str, Any], into: CheckedLines) -> None:
    name, stream, number = _own_id(line.get("id"))
    start, end = _interval(line.get("interval"))
    attribution = attribution_of(line)
    into.summaries.append(
        CheckedSummary(
            name,
            stream,
            HOST if attribution.cgroup is None else attribution.cgroup,
            attribution,
            RANKS[_enrichment(line.get("enrichment"))["state"]] + attribution.named,
            nanoseconds(line.get("timestamp"), "timestamp"),
            start,
            end,
            number,
            TaskCounts(**_counters(line.get("counts"), "counts")),
            TaskCounts(**_counters(line.get("totals"), "totals")),
        )
    )


def _node(line: dict[str, Any], into: CheckedLines) -> None:
    name, stream, number = _own_id(line.get("id"))
    start, end = _interval(line.get("interval"))
    agent = mapping(line.get("agent"), "agent", 32)
    attribution = attribution_of(line)
    kept = {
        "agent": {text(key, "agent", 64): text(value, "agent", 256) for key, value in agent.items()},
        "lag_ms": count(line.get("lag_ms"), "lag_ms"),
        "counts": _counters(line.get("counts"), "counts"),
        "totals": _counters(line.get("totals"), "totals"),
        "heads": (heads := _heads(line.get("heads"))),
        "ledger": (ledger := _ledger(line.get("ledger"))),
    }
    time = nanoseconds(line.get("timestamp"), "timestamp")
    into.nodes.append(
        CheckedNode(
            name,
            stream,
            attribution.cluster,
            attribution.node,
            time,
            start,
            end,
            number,
            orjson.dumps(kept),
            ledger["captured"],
            {int(cpu): head for cpu, head in heads.items()},
            {sink: said["delivered"] for sink, said in ledger["sinks"].items()},
        )
    )


def _gap(line: dict[str, Any], into: CheckedLines) -> None:
    name, stream, by_now = _own_id(line.get("id"))
    start, end = _interval(line.get("interval"))
    attribution = attribution_of(line)
    state = _enrichment(line.get("enrichment"))["state"]
    reason = text(line.get("reason"), "reason", 64, empty=False)
    # Without a cgroup it is the host's own, or of the whole node: then nobody knows which pods it is of.
    of_host = attribution.pod_uid is None and state == "host" and (attribution.cgroup is not None or reason not in UNNUMBERED)
    into.gaps.append(
        CheckedGap(
            name,
            stream,
            HOST if of_host else attribution.cgroup,
            attribution,
            RANKS[state] + attribution.named,
            nanoseconds(line.get("timestamp"), "timestamp"),
            start,
            end,
            text(line.get("missing"), "missing", 64, empty=False),
            0 if reason == NOT_OBSERVABLE and line.get("count") is None else amount(line.get("count"), "count"),
            reason,
            maybe_text(line.get("sink"), "sink", 128, empty=False),
            by_now if by_now <= MAX_AMOUNT else 0,
        )
    )


def _storm(line: dict[str, Any], into: CheckedLines) -> None:
    name, stream, _ = _own_id(line.get("id"))
    start, end = _interval(line.get("interval"))
    nanoseconds(line.get("timestamp"), "timestamp")
    attribution = attribution_of(line)
    if attribution.cgroup is None:
        raise Refused("cgroup: a storm is of a pod, and its cgroup is not said")
    into.storms.append(
        CheckedStorm(
            name,
            stream,
            attribution.cgroup,
            count(line.get("storm"), "storm"),
            attribution,
            RANKS[_enrichment(line.get("enrichment"))["state"]],
            start,
            end,
            one_of(line.get("phase"), "phase", ("start", "stop")) == "stop",
            count(line.get("limit"), "limit"),
            count(line.get("hold_s"), "hold_s"),
            TaskCounts(**_counters(line.get("counts"), "counts")),
            TaskCounts(**_counters(line.get("totals"), "totals")),
        )
    )


CHECKS: Final[dict[str, Callable[[dict[str, Any], CheckedLines], None]]] = {
    FORK: _fork,
    FORK_SUMMARY: _summary,
    NODE_SUMMARY: _node,
    GAP: _gap,
    FORK_STORM: _storm,
}


def _small(value: object, name: str) -> int | None:
    """A pid, a uid: 32 bits, or unknown."""
    if value is None or (type(value) is int and 0 <= value < 2**32):
        return value
    raise Refused(f"{name}: {quoted(value)} is not a whole number of 32 bits")


def _entity(value: object, name: str) -> str | None:
    if value is None or (type(value) is str and _ENTITY.fullmatch(value)):
        return value
    raise Refused(f"{name}: {quoted(value)} is not 16 hex digits")


def _known_stream(stream: str) -> None:
    if not _STREAM.fullmatch(stream):
        raise Refused(f"id: {quoted(stream)} is not a boot id and an epoch in hex digits")


def _own_id(value: object) -> tuple[str, str, int]:
    """`<boot id>.<epoch>.<kind>.<...>.<number>` -> the id, its stream, its number (0 when the last part is none)."""
    name = text(value, "id", ID)
    boot, _, rest = name.partition(".")
    epoch, _, own = rest.partition(".")
    _known_stream(f"{boot}.{epoch}")
    if not own or not own.isascii() or not own.isprintable():
        raise Refused(f"id: {quoted(name)} does not end in a kind and a number")
    last = own.rpartition(".")[2]
    return name, f"{boot}.{epoch}", int(last) if last.isdigit() and len(last) <= 18 else 0


def _interval(value: object) -> tuple[int, int]:
    both = mapping(value, "interval", 16)
    start, end = nanoseconds(both.get("start"), "interval.start"), nanoseconds(both.get("end"), "interval.end")
    if end < start:
        raise Refused("interval: ends before it starts")
    return start, end


def _cgroup(value: object, name: str) -> dict[str, Any] | None:
    if value is None:
        return None
    cgroup = mapping(value, name, 16)
    return {"id": count(cgroup.get("id"), f"{name}.id"), "path": maybe_text(cgroup.get("path"), f"{name}.path", 4096)}


def _enrichment(value: object) -> dict[str, Any]:
    said = mapping(value, "enrichment", 16)
    by = said.get("by")
    return {
        "state": one_of(said.get("state"), "enrichment.state", ENRICHED),
        "by": None if by is None else one_of(by, "enrichment.by", ENRICHED_BY),
        "lag_ms": count(said.get("lag_ms", 0), "enrichment.lag_ms"),
    }


def _counters(value: object, name: str) -> dict[str, int]:
    counts = mapping(value, name, 64)
    return {key: amount(counts.get(key), f"{name}.{key}") for key in TaskCounts._fields}


def _amounts(value: object, name: str) -> dict[str, int]:
    return {text(key, name, 64): amount(n, name) for key, n in mapping(value, name, 256).items()}


def _heads(value: object) -> dict[str, int]:
    heads = mapping(value, "heads", CPUS)
    for cpu in heads:
        if not (cpu.isascii() and cpu.isdigit() and len(cpu) <= 4 and str(int(cpu)) == cpu and int(cpu) < CPUS):
            _not_a_cpu(cpu)
    return {cpu: amount(head, f"heads.{cpu}") for cpu, head in heads.items()}


def _not_a_cpu(cpu: str) -> NoReturn:
    raise Refused(f"heads: {quoted(cpu)} is not the number of a CPU")


def _ledger(value: object) -> dict[str, Any]:
    said = mapping(value, "ledger", 64)
    sinks = mapping(said.get("sinks"), "ledger.sinks", 64)
    return {
        "captured": amount(said.get("captured"), "ledger.captured"),
        "suppressed": amount(said.get("suppressed"), "ledger.suppressed"),
        "kernel_workers": amount(said.get("kernel_workers"), "ledger.kernel_workers"),
        "lost": _amounts(said.get("lost"), "ledger.lost"),
        "sinks": {text(name, "ledger.sinks", 128): _sink(sink) for name, sink in sinks.items()},
    }


def _sink(value: object) -> dict[str, Any]:
    sink = mapping(value, "ledger.sinks", 64)
    rooms = {part: _amounts(sink.get(part), f"ledger.sinks.{part}") for part in ("queued", "lost", "filtered")}
    return {"delivered": amount(sink.get("delivered"), "ledger.sinks.delivered"), **rooms}
