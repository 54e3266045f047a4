"""Who forked whom, as rows: the lineage walked from its roots down, what is alike folded together; and the pairs.

Pure. Must not live here: how the lineage is made out of forks (`lineage`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

from collector.views.links import search_href
from collector.views.times import clock
from collector.views.words import UNKNOWN, number, visible

__all__ = ["forest_rows", "pair_rows"]

ROWS: Final = 250
FOLD: Final = 3  # children of one process that bear one name and forked nothing: from so many on they are one row
DEEPEST: Final = 20  # steps to the right; beyond, the row says how deep it is
BAR: Final = 100  # a bar's width, in its own units


def forest_rows(roots: Sequence[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], int]:
    """The rows from above, and how many processes found no room. Walks with a stack: a chain may be as long as it likes."""
    rows: list[dict[str, Any]] = []
    waiting: list[tuple[int, list[Mapping[str, Any]]]] = [(0, group) for group in reversed(_folded(roots))]
    while waiting and len(rows) < ROWS:
        level, group = waiting.pop()
        rows.append(_row(level, group))
        waiting += [(level + 1, one) for one in reversed(_folded(group[0]["children"]))]  # those folded have none
    return rows, sum(1 + one["descendants"] for _, group in waiting for one in group)


def pair_rows(pairs: Sequence[Mapping[str, Any]], fork_query: Mapping[str, str]) -> list[dict[str, Any]]:
    """`sought`: the pod, for the links to its forks."""
    most = max((pair["forks"] for pair in pairs), default=1)
    return [
        {
            "key": f"{pair['parent']!r} {pair['child']!r}",
            "parent": visible(pair["parent"]),
            "child": visible(pair["child"]) if pair["child"] is not None else "",
            "forks": number(pair["forks"]),
            "width": f"{max(1.5, pair['forks'] / most * BAR):.1f}",
            "first": clock(pair["first"])[:8],
            "last": clock(pair["last"])[:8],
            "href": search_href(**fork_query, parent_comm=pair["parent"]) if pair["parent"] else "",
        }
        for pair in pairs
    ]


def _folded(children: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """Each for itself, but many of one name without children of their own together, where the first of them was."""
    alike: dict[tuple[str | None, str | None], list[Mapping[str, Any]]] = defaultdict(list)
    for child in children:
        if not child["descendants"]:
            alike[child["comm"], child["container"]].append(child)
    groups: list[list[Mapping[str, Any]]] = []
    for child in children:
        same = [] if child["descendants"] else alike[child["comm"], child["container"]]
        if len(same) < FOLD:
            groups.append([child])
        elif same[0] is child:
            groups.append(same)
    return groups


def _row(level: int, group: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    one, last = group[0], group[-1]
    many = len(group) > 1
    oldest, newest = clock(one["time"]), clock(last["time"])  # children come in the order of time
    return {
        "key": one["entity"],
        "level": min(level, DEEPEST),
        "deep": level,
        "comm": visible(one["comm"]),
        "many": number(len(group)) if many else "",
        "pid": _between(one["pid"], last["pid"]) if many else _plain(one["pid"]),
        "ns_pid": _between(one["ns_pid"], last["ns_pid"]) if many else _plain(one["ns_pid"]),
        "time": f"{oldest[:8]} to {newest[:8]}" if oldest[:8] != newest[:8] else oldest,
        "stamp": one["time"] or "",
        "seen": one["seen"],
        "forks": "" if many else number(one["forks"]),
        "descendants": "" if many else number(one["descendants"]),
        "hidden": f"{number(one['hidden'])} more below, too deep to be written out" if one["hidden"] else "",
        "href": search_href(entity=one["entity"], from_="-7d"),
    }


def _between(one: int | None, other: int | None) -> str:
    if one is None or other is None:
        return UNKNOWN
    low, high = sorted((one, other))
    return f"{low} … {high}"


def _plain(value: int | None) -> str:
    """A pid: no commas in it."""
    return UNKNOWN if value is None else str(value)
