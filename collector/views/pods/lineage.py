"""Who forked whom: the forked processes of a pod as a forest, with depth, fan-out and descendants.

A process whose parent was forked before the time shown, or was not told of, stands under a root that holds what its children
know of that parent. Pure, and without recursion: a pod may fork in a chain as long as it likes.

Must not live here: which processes are shown (`store`), counts by name (`pairs`), words for people.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from collector.model import TaskRow
from collector.views.times import stamp

__all__ = ["SHOWN", "Forest", "forest"]

# Levels that are written out. JSON readers and writers give up at some hundreds, and nobody reads that far to the right.
SHOWN: Final = 64


class Forest(NamedTuple):
    """`roots`: those with most descendants first. `depth`: forks from a root to the last of its line, hidden ones included.
    `fan_out`: the most children that one process forked. `processes`: of the rows, each counted once."""

    roots: list[dict[str, Any]]
    depth: int
    fan_out: int
    processes: int


def forest(rows: Iterable[TaskRow]) -> Forest:
    """Every node: `seen` (its own fork is among the rows), `forks` (direct children), `descendants`, `depth` (0 at a root),
    `children` in the order of time, and `hidden`: descendants that are not written out, for they lie too deep.

    `comm`: what the process was called when it last forked; else, what its parent was called when it was forked.
    """
    tasks: dict[str, TaskRow] = {}
    for row in sorted(rows, key=lambda row: (row.time, row.entity)):
        tasks.setdefault(row.entity, row)
    children: dict[str, list[TaskRow]] = defaultdict(list)
    depths: dict[str, int] = {}
    for task in tasks.values():  # the oldest first, so that a parent's depth is known before its child's
        if (above := _above(task, tasks)) is None:
            depths[task.entity] = 0
        else:
            children[above].append(task)
            depths[task.entity] = depths.setdefault(above, 0) + 1
    descendants: dict[str, int] = defaultdict(int)
    for task in reversed(tasks.values()):
        if (above := _above(task, tasks)) is not None:
            descendants[above] += 1 + descendants[task.entity]
    # A parent is not older than its own unseen root, so roots first and then the oldest first: parents before children.
    nodes: dict[str, dict[str, Any]] = {}
    unseen = [(entity, mine[-1]) for entity, mine in children.items() if entity not in tasks]
    for entity, child in unseen:
        nodes[entity] = _unseen(entity, child) | _sums(entity, children, descendants, 0)
    for task in tasks.values():
        depth = depths[task.entity]
        if depth <= SHOWN:
            nodes[task.entity] = _seen(task, children[task.entity]) | _sums(task.entity, children, descendants, depth)
            if (above := _above(task, tasks)) is not None:
                nodes[above]["children"].append(nodes[task.entity])
    roots = [node for node in nodes.values() if node["depth"] == 0]
    return Forest(
        sorted(roots, key=lambda root: -root["descendants"]),
        max(depths.values(), default=0),
        max(map(len, children.values()), default=0),
        len(tasks),
    )


def _above(task: TaskRow, tasks: dict[str, TaskRow]) -> str | None:
    """The entity that it hangs on; None: nothing is known above it.

    Whoever forks was forked before. An agent that says otherwise could else tie a knot that no root leads into.
    """
    parent = tasks.get(task.parent) if task.parent else None
    return None if task.parent is None or (parent and parent.time >= task.time) else task.parent


def _seen(task: TaskRow, children: list[TaskRow]) -> dict[str, Any]:
    return {
        "entity": task.entity,
        "comm": (children[-1].parent_comm if children else None) or task.comm,
        "pid": task.pid,
        "ns_pid": task.ns_pid,
        "container": task.container,
        "time": stamp(task.time),
        "seen": True,
    }


def _unseen(entity: str, child: TaskRow) -> dict[str, Any]:
    """A parent by what its newest child says of it."""
    known = {"comm": child.parent_comm, "pid": child.parent_pid, "ns_pid": child.parent_ns_pid}
    return {"entity": entity, **known, "container": None, "time": None, "seen": False}


def _sums(entity: str, children: dict[str, list[TaskRow]], descendants: dict[str, int], depth: int) -> dict[str, Any]:
    below = descendants.get(entity, 0)
    return {
        "forks": len(children.get(entity, ())),
        "descendants": below,
        "depth": depth,
        "hidden": below if depth == SHOWN else 0,
        "children": [],
    }
