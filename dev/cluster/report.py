"""Compares what the collector has with what the containers counted, and prints it as a table. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dev.cluster.workloads import KINDS

__all__ = ["Row", "compare", "table", "verdict"]


@dataclass
class Row:
    """One kind of workload. `own`: what its containers counted. `containers`: of them, `equal`: those with as many events."""

    kind: str
    own: int = 0
    right: int = 0
    wrong: int = 0
    unresolved: int = 0
    containers: int = 0
    equal: int = 0
    examples: list[str] = field(default_factory=list)  # of other names

    def add(self, what: tuple[str, str, str], own: int, events: Iterable[Mapping[str, Any]]) -> None:
        """`what`: namespace, pod and container of the forks. `events`: those with their mark."""
        seen = 0
        for event in events:
            seen += 1
            k8s, container = event["k8s"], event["container"] or {}
            found = (k8s.get("namespace"), k8s.get("pod"), container.get("name"))
            if found == what:
                self.right += 1
            elif any(one is not None and one != right for one, right in zip(found, what, strict=True)):
                self.wrong += 1
                self.examples.append(f"{found} instead of {what}")
            else:
                self.unresolved += 1
                self.examples.append(f"{found} of {what}, by {event['enrichment']['by']}")
        self.own += own
        self.containers += 1
        self.equal += seen == own


def compare(
    counted: Iterable[tuple[tuple[str, str, str], str, int]], events: Mapping[str, list[Mapping[str, Any]]]
) -> list[Row]:
    """`counted`: namespace, pod and container; mark; own count. `events`: by mark. A restarted container has one mark."""
    own: dict[tuple[tuple[str, str, str], str], int] = defaultdict(int)
    for what, mark, count in counted:
        own[what, mark] += count
    rows = {number: Row(kind) for number, kind in KINDS.items()}
    for (what, mark), count in own.items():
        number = mark.removeprefix("busybox-")[:2]
        rows["13" if number == "23" else number].add(what, count, events.get(mark, []))
    return list(rows.values())


def table(rows: Iterable[Row]) -> list[str]:
    head = ("workload", "forks", "right", "wrong", "unresolved", "equal")
    lines = [(f"{head[0]:<24}" + "".join(f"{one:>11}" for one in head[1:]))]
    for row in rows:
        numbers = (row.own, row.right, row.wrong, row.unresolved, f"{row.equal} of {row.containers}")
        lines.append(f"{row.kind:<24}" + "".join(f"{one!s:>11}" for one in numbers))
    return lines


def verdict(rows: Iterable[Row]) -> list[str]:
    """What is not as it should be: names that are wrong, counts that differ, kinds that did not run."""
    found = []
    for row in rows:
        if not row.containers:
            found.append(f"{row.kind}: no container of it ran")
        if row.wrong:
            found.append(f"{row.kind}: {row.wrong} forks have a wrong name: {row.examples[0]}")
        if row.equal != row.containers:
            found.append(f"{row.kind}: {row.own} forks counted, {row.right + row.wrong + row.unresolved} events")
    return found
