"""Who forked whom: the forked processes of a pod as a forest, with depth, fan-out and descendants.

A process whose parent was forked before the range, or whose parent's fork is not stored, stands under a root that holds what
its children report of that parent. Without recursion: a pod may fork in a chain of any length.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Final, NamedTuple

from collector.model import TaskRow
from collector.views.times import stamp
from wire.api import TreeNode

__all__ = ["MAX_DEPTH", "Forest", "forest"]

# Levels that are listed. Parsers and writers of JSON give up at some hundreds, and people read no further to the right.
MAX_DEPTH: Final = 64


class Forest(NamedTuple):
    """`roots`: those with most descendants first. `depth`: forks from a root to the last of its line, hidden ones included.
    `fan_out`: the most children that one process forked. `processes`: of the rows, each counted once."""

    roots: list[TreeNode]
    depth: int
    fan_out: int
    processes: int


def forest(rows: Iterable[TaskRow]) -> Forest:
    """`children` are in the order of time.

    `comm`: the name of the process when it last forked; else, the name of its parent when it was forked.
    """
    tasks: dict[str, TaskRow] = {}
    for row in sorted(rows, key=lambda row: (row.time, row.entity)):
        tasks.setdefault(row.entity, row)
    children: dict[str, list[TaskRow]] = defaultdict(list)
    depths: dict[str, int] = {}
    for task in tasks.values():  # the oldest first, so that a parent's depth is known before its child's
        if (parent := _parent(task, tasks)) is None:
            depths[task.entity] = 0
        else:
            children[parent].append(task)
            depths[task.entity] = depths.setdefault(parent, 0) + 1
    descendants: dict[str, int] = defaultdict(int)
    for task in reversed(tasks.values()):
        if (parent := _parent(task, tasks)) is not None:
            descendants[parent] += 1 + descendants[task.entity]
    # Roots that are not among the rows first, then the rows, the oldest first: parents before children.
    nodes: dict[str, TreeNode] = {}
    for entity, forked in children.items():
        if entity not in tasks:
            nodes[entity] = _unseen(entity, forked, descendants[entity])
    for task in tasks.values():
        depth = depths[task.entity]
        if depth <= MAX_DEPTH:
            nodes[task.entity] = _seen(task, children[task.entity], descendants[task.entity], depth)
            if (parent := _parent(task, tasks)) is not None:
                nodes[parent]["children"].append(nodes[task.entity])
    roots = [node for node in nodes.values() if node["depth"] == 0]
    return Forest(
        sorted(roots, key=lambda root: -root["descendants"]),
        max(depths.values(), default=0),
        max(map(len, children.values()), default=0),
        len(tasks),
    )


def _parent(task: TaskRow, tasks: dict[str, TaskRow]) -> str | None:
    """The entity that it stands under; None: its parent is not known.

    A parent was forked before its child. Without this check an agent that reports otherwise could make a cycle without a root.
    """
    parent = tasks.get(task.parent) if task.parent else None
    return None if task.parent is None or (parent and parent.time >= task.time) else task.parent


def _seen(task: TaskRow, children: list[TaskRow], descendants: int, depth: int) -> TreeNode:
    return {
        "entity": task.entity,
        "comm": (children[-1].parent_comm if children else None) or task.comm,
        "pid": task.pid,
        "ns_pid": task.ns_pid,
        "container": task.container,
        "time": stamp(task.time),
        "seen": True,
        "forks": len(children),
        "descendants": descendants,
        "depth": depth,
        "hidden": descendants if depth == MAX_DEPTH else 0,
        "children": [],
    }


def _unseen(entity: str, children: list[TaskRow], descendants: int) -> TreeNode:
    """A parent by what its newest child reports of it."""
    newest = children[-1]
    return {
        "entity": entity,
        "comm": newest.parent_comm,
        "pid": newest.parent_pid,
        "ns_pid": newest.parent_ns_pid,
        "container": None,
        "time": None,
        "seen": False,
        "forks": len(children),
        "descendants": descendants,
        "depth": 0,
        "hidden": 0,
        "children": [],
    }
