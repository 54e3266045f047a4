"""The tree of a pod's processes as lines, indented by generation. Similar siblings share a line.

Pure, and without recursion, because a chain of forks may have any length.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from cli.client.json_view import JsonView
from cli.text.fork_line import pids, quoted
from cli.text.pieces import Piece
from wire.names import UNKNOWN, visible
from wire.numbers import number
from wire.times import clock, span

__all__ = ["MIN_FOLDED", "heading", "tree_lines"]

MIN_FOLDED: Final = 3  # so many children of one process with one name and no children of their own share a line
MAX_INDENT: Final = 20  # generations; a deeper line shows its depth as a number


class Guides(NamedTuple):
    """The characters that connect a parent with its children. `past`: beside the descendants of a child that has later
    siblings. `deeper`: before the depth of a line beyond MAX_INDENT."""

    child: str
    last: str
    past: str
    deeper: str


LINES: Final = Guides("├─ ", "└─ ", "│  ", "…")
ASCII: Final = Guides("|- ", "`- ", "|  ", "...")


def heading(tree: JsonView) -> list[Piece]:
    """A summary in one line. `tree`: the collector's answer."""
    processes, when = tree["processes"].integer, _from_to(tree["from"].text, tree["to"].text)
    counts = f"{number(processes)} process{'' if processes == 1 else 'es'} forked"
    shape = f"{number(tree['depth'].integer)} deep, at most {number(tree['fan_out'].integer)} children of one process"
    pieces = [Piece(counts, "strong"), Piece(f"{when}; {shape}" if processes else when)]
    if tree["observable"].raw is False:
        pieces.append(
            Piece("; of its sandbox: the pod has a kernel of its own, so what it forks itself is not observable", "warn")
        )
    return pieces


class _Group(NamedTuple):
    """Siblings that share a line. `prefix`: the guides of the generations above. `container`: the parent's."""

    prefix: str
    is_last: bool
    level: int
    nodes: list[JsonView]
    container: str | None


def tree_lines(tree: JsonView, *, fold: bool = True, line_drawing: bool = True) -> Iterator[list[Piece]]:
    """A line for each process, or for several similar siblings. `line_drawing`: the terminal has box-drawing characters."""
    guides = LINES if line_drawing else ASCII
    stack = [_Group("", True, 0, group, None) for group in reversed(_sibling_groups(tree["roots"], fold))]
    while stack:
        prefix, last, level, group, container = stack.pop()
        own = (guides.last if last else guides.child) if level else ""
        indent = prefix + own
        if level > MAX_INDENT:
            indent = f"{guides.deeper}{level} {indent[-3 * MAX_INDENT :]}"
        yield [Piece(indent, "dim"), *(_line(group[0], container) if len(group) == 1 else _folded_line(group, container))]
        if len(group) > 1:
            continue
        node = group[0]
        after = prefix + ("   " if last else guides.past) if level else ""
        inner = node["container"].text or container
        children = _sibling_groups(node["children"], fold)
        stack += [
            _Group(after, index == len(children) - 1, level + 1, child, inner)
            for index, child in reversed([*enumerate(children)])
        ]
        if hidden := node["hidden"].integer:
            yield [Piece(f"{after}{guides.last}", "dim"), Piece(f"{number(hidden)} more, too deep to be shown", "warn")]


def _sibling_groups(children: JsonView, fold: bool) -> list[list[JsonView]]:
    """Each child alone; but at least MIN_FOLDED of one name and container without children together, at the first one's
    place."""
    each = list(children)
    if not fold:
        return [[child] for child in each]
    alike: dict[tuple[str | None, str | None], list[JsonView]] = defaultdict(list)
    for child in each:
        if _is_leaf(child):
            alike[child["comm"].text, child["container"].text].append(child)
    groups: list[list[JsonView]] = []
    for child in each:
        same = alike[child["comm"].text, child["container"].text] if _is_leaf(child) else []
        if len(same) < MIN_FOLDED:
            groups.append([child])
        elif same[0].raw is child.raw:
            groups.append(same)
    return groups


def _is_leaf(node: JsonView) -> bool:
    return not node["children"] and not node["forks"].integer


def _line(node: JsonView, container: str | None) -> list[Piece]:
    forks, below = node["forks"].integer, node["descendants"].integer
    counts = f"{number(forks)} fork{'' if forks == 1 else 's'}" if forks else ""
    counts += f", {number(below)} below" if below is not None and below != forks else ""
    when = clock(node["time"].text) if node["time"].text else "forked before"
    return [
        Piece(quoted(node["comm"].text), "strong"),
        Piece(f" {pids(node['pid'].integer, node['ns_pid'].integer)}  "),
        Piece(when, "dim"),
        *_container_pieces(node, container),
        Piece(f"  {counts}" if counts else ""),
    ]


def _folded_line(group: Sequence[JsonView], container: str | None) -> list[Piece]:
    first, last = group[0], group[-1]
    known = [pid for node in group if (pid := node["pid"].integer) is not None]
    between = f"{min(known)} to {max(known)}" if known else UNKNOWN
    return [
        Piece(f"{number(len(group))} times "),
        Piece(quoted(first["comm"].text), "strong"),
        Piece(f" {between}  "),
        Piece(f"{clock(first['time'].text)} to {clock(last['time'].text)}", "dim"),
        *_container_pieces(first, container),
    ]


def _container_pieces(node: JsonView, container: str | None) -> list[Piece]:
    """The container, where it differs from the parent's."""
    own = node["container"].text
    return [Piece(f"  in {quoted(own[:12])}", "name")] if own and own != container else []


def _from_to(start: str | None, end: str | None) -> str:
    if not start or not end:
        return ""
    return f" from {visible(span(start, end))} UTC"
