"""Who forked whom, as lines: the tree of a pod with a step to the right for each fork, what is alike folded together.

Pure, and without recursion: a pod may fork in a chain as long as it likes. Must not live here: asking for it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from cli.client.json_view import Said
from cli.text.fork_line import named, pids
from cli.text.pieces import Piece
from wire.names import UNKNOWN, visible
from wire.numbers import number
from wire.times import clock, span

__all__ = ["FOLD", "heading", "lineage"]

FOLD: Final = 3  # children of one process that bear one name and forked nothing: from so many on they are one line
DEEPEST: Final = 20  # steps to the right that are drawn; further in, the line says how far


class Guides(NamedTuple):
    """The lines that lead from a parent to its children, and past them."""

    child: str
    last: str
    past: str
    beyond: str


LINES: Final = Guides("├─ ", "└─ ", "│  ", "…")
ASCII: Final = Guides("|- ", "`- ", "|  ", "...")


def heading(tree: Said) -> list[Piece]:
    """What is shown, in one line. `tree`: as the collector tells it."""
    processes, when = tree["processes"].whole, _from_to(tree["from"].text, tree["to"].text)
    counts = f"{number(processes)} process{'' if processes == 1 else 'es'} forked"
    shape = f"{number(tree['depth'].whole)} deep, at most {number(tree['fan_out'].whole)} out of one"
    told = [Piece(counts, "strong"), Piece(f"{when}; {shape}" if processes else when)]
    if tree["observable"].raw is False:
        told.append(
            Piece("; of its sandbox: the pod has a kernel of its own, so what it forks itself is not observable", "warn")
        )
    return told


def lineage(tree: Said, *, fold: bool = True, drawn: bool = True) -> Iterator[list[Piece]]:
    """One line a process, or for several of one parent that are alike. `drawn`: the terminal has lines to draw with."""
    guides = LINES if drawn else ASCII
    waiting = [("", True, 0, group, None) for group in reversed(_groups(tree["roots"], fold))]
    stack: list[tuple[str, bool, int, list[Said], str | None]] = list(waiting)
    while stack:
        before, last, level, group, container = stack.pop()
        own = (guides.last if last else guides.child) if level else ""
        shown = before + own
        if level > DEEPEST:
            shown = f"{guides.beyond}{level} {shown[-3 * DEEPEST :]}"
        yield [Piece(shown, "dim"), *(_line(group[0], container) if len(group) == 1 else _fold(group, container))]
        if len(group) > 1:
            continue
        one = group[0]
        after = before + ("   " if last else guides.past) if level else ""
        inner = one["container"].text or container
        children = _groups(one["children"], fold)
        stack += [
            (after, place == len(children) - 1, level + 1, child, inner) for place, child in reversed([*enumerate(children)])
        ]
        if hidden := one["hidden"].whole:
            yield [Piece(f"{after}{guides.last}", "dim"), Piece(f"{number(hidden)} more, too deep to be told", "warn")]


def _groups(children: Said, fold: bool) -> list[list[Said]]:
    """Each for itself, but many of one name without forks of their own together, where the first of them was."""
    each = list(children)
    if not fold:
        return [[child] for child in each]
    alike: dict[tuple[str | None, str | None], list[Said]] = defaultdict(list)
    for child in each:
        if _is_leaf(child):
            alike[child["comm"].text, child["container"].text].append(child)
    groups: list[list[Said]] = []
    for child in each:
        same = alike[child["comm"].text, child["container"].text] if _is_leaf(child) else []
        if len(same) < FOLD:
            groups.append([child])
        elif same[0].raw is child.raw:
            groups.append(same)
    return groups


def _is_leaf(node: Said) -> bool:
    return not node["children"] and not node["forks"].whole


def _line(node: Said, container: str | None) -> list[Piece]:
    forks, below = node["forks"].whole, node["descendants"].whole
    told = f"{number(forks)} fork{'' if forks == 1 else 's'}" if forks else ""
    told += f", {number(below)} below" if below is not None and below != forks else ""
    when = clock(node["time"].text) if node["time"].text else "forked before"
    return [
        Piece(named(node["comm"].text), "strong"),
        Piece(f" {pids(node['pid'].whole, node['ns_pid'].whole)}  "),
        Piece(when, "dim"),
        *_where(node, container),
        Piece(f"  {told}" if told else ""),
    ]


def _fold(group: Sequence[Said], container: str | None) -> list[Piece]:
    first, last = group[0], group[-1]
    known = [pid for one in group if (pid := one["pid"].whole) is not None]
    between = f"{min(known)} to {max(known)}" if known else UNKNOWN
    return [
        Piece(f"{number(len(group))} times "),
        Piece(named(first["comm"].text), "strong"),
        Piece(f" {between}  "),
        Piece(f"{clock(first['time'].text)} to {clock(last['time'].text)}", "dim"),
        *_where(first, container),
    ]


def _where(node: Said, container: str | None) -> list[Piece]:
    """Its container, where that is not its parent's."""
    own = node["container"].text
    return [Piece(f"  in {named(own[:12])}", "name")] if own and own != container else []


def _from_to(start: str | None, end: str | None) -> str:
    if not start or not end:
        return ""
    return f" from {visible(span(start, end))} UTC"
