"""The content of a fork: what the kernel recorded, and nothing that an agent, a sink or an encoding adds. Pure.

Two forks with one id are compared by their values, so it does not matter in which form they came. Attribution (pod, container,
labels, paths), the method and the lag of it are no content: the same fork may come again after its pod is known.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final, NamedTuple

import orjson

from collector.model import CheckedFork
from collector.model.fork_columns import ForkColumns

__all__ = ["Content", "content_of", "content_of_row", "is_same"]

_ATTRIBUTION: Final = ("enrichment",)


class Content(NamedTuple):
    """`cgroup`: the one that the kernel recorded; None: it is not known, for the fork was attributed to another one."""

    cgroup: int | None
    time: int
    own: tuple[Any, ...]
    context: dict[str, Any]
    rest: dict[str, Any]


def content_of(fork: CheckedFork) -> Content:
    return content_of_row(fork.attribution.cgroup, fork.time, fork.columns)


def content_of_row(cgroup: int | None, time: int, columns: ForkColumns) -> Content:
    attached, context = _context(columns.context)
    rest = _recorded(orjson.loads(columns.rest)) if columns.rest else {}
    return Content(None if attached else cgroup, time, columns[:-2], context, rest)


def is_same(one: Content, other: Content) -> bool:
    """An unknown cgroup fits every other one."""
    if None in (one.cgroup, other.cgroup):
        one, other = one._replace(cgroup=None), other._replace(cgroup=None)
    return one == other


@lru_cache(1024)  # a batch has few different ones; each is at most a line
def _context(text: bytes) -> tuple[bool, dict[str, Any]]:
    """Whether the fork was attributed to another cgroup than its own, and what the kernel recorded."""
    context: dict[str, Any] = orjson.loads(text)
    return (context.get("enrichment") or {}).get("by") == "attach", _recorded(context)


def _recorded(fields: dict[str, Any]) -> dict[str, Any]:
    recorded = {name: value for name, value in fields.items() if name not in _ATTRIBUTION}
    if isinstance(parent := recorded.get("parent_cgroup"), dict):
        recorded["parent_cgroup"] = parent.get("id")
    return recorded
