"""Who forked whom, as the rows of two tables: the lineage from its roots down, with similar children in one row; and the
pairs of names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from collector.views.formatting import UNKNOWN, number, plain_number, visible
from collector.views.links import search_href
from collector.views.times import time_of_day
from wire.api import NamePair, TreeNode

__all__ = ["TreeRows", "pair_rows", "tree_rows"]

MAX_ROWS: Final = 250
FOLD: Final = 3  # from so many children of one process with one name and no children of their own on, they are one row
MAX_INDENT: Final = 20  # steps to the right; beyond, the row shows its level as a number
BAR: Final = 100  # the width of a bar, in its own units


class TreeRows(NamedTuple):
    """`hidden`: processes beyond `MAX_ROWS`."""

    rows: list[dict[str, Any]]
    hidden: int


def tree_rows(roots: Sequence[TreeNode]) -> TreeRows:
    """From the top. Uses a stack: a chain may be of any length."""
    rows: list[dict[str, Any]] = []
    waiting: list[tuple[int, list[TreeNode]]] = [(0, group) for group in reversed(_folded(roots))]
    while waiting and len(rows) < MAX_ROWS:
        level, group = waiting.pop()
        rows.append(_row(level, group))
        waiting += [(level + 1, one) for one in reversed(_folded(group[0]["children"]))]  # those folded have none
    return TreeRows(rows, sum(1 + node["descendants"] for _, group in waiting for node in group))


def pair_rows(pairs: Sequence[NamePair], pod: Mapping[str, str]) -> list[dict[str, Any]]:
    """`pod`: search parameters that select its forks, for the links."""
    most = max((pair["forks"] for pair in pairs), default=1)
    return [
        {
            "key": f"{pair['parent']!r} {pair['child']!r}",
            "parent": visible(pair["parent"]),
            "child": visible(pair["child"]) if pair["child"] is not None else "",
            "forks": number(pair["forks"]),
            "width": f"{max(1.5, pair['forks'] / most * BAR):.1f}",
            "first": time_of_day(pair["first"])[:8],
            "last": time_of_day(pair["last"])[:8],
            "href": search_href(**pod, parent_comm=pair["parent"]) if pair["parent"] else "",
        }
        for pair in pairs
    ]


def _folded(children: Sequence[TreeNode]) -> list[list[TreeNode]]:
    """Each in a group of its own, but many of one name without children in one group, in the place of the first."""
    alike: dict[tuple[str | None, str | None], list[TreeNode]] = defaultdict(list)
    for child in children:
        if not child["descendants"]:
            alike[child["comm"], child["container"]].append(child)
    groups: list[list[TreeNode]] = []
    for child in children:
        same = [] if child["descendants"] else alike[child["comm"], child["container"]]
        if len(same) < FOLD:
            groups.append([child])
        elif same[0] is child:
            groups.append(same)
    return groups


def _row(level: int, group: Sequence[TreeNode]) -> dict[str, Any]:
    first, last = group[0], group[-1]
    is_group = len(group) > 1
    oldest, newest = time_of_day(first["time"]), time_of_day(last["time"])  # children come in the order of time
    return {
        "key": first["entity"],
        "level": min(level, MAX_INDENT),
        "deep": level,
        "comm": visible(first["comm"]),
        "many": number(len(group)) if is_group else "",
        "pid": _range(first["pid"], last["pid"]) if is_group else plain_number(first["pid"]),
        "ns_pid": _range(first["ns_pid"], last["ns_pid"]) if is_group else plain_number(first["ns_pid"]),
        "time": f"{oldest[:8]} to {newest[:8]}" if oldest[:8] != newest[:8] else oldest,
        "stamp": first["time"] or "",
        "seen": first["seen"],
        "forks": "" if is_group else number(first["forks"]),
        "descendants": "" if is_group else number(first["descendants"]),
        "hidden": f"{number(first['hidden'])} more descendants, too deep to be listed" if first["hidden"] else "",
        "href": search_href(entity=first["entity"], from_="-7d"),
    }


def _range(one: int | None, other: int | None) -> str:
    if one is None or other is None:
        return UNKNOWN
    low, high = sorted((one, other))
    return f"{low} … {high}"
