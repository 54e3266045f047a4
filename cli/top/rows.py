"""The rows of `forklore top`: a collector's pods as cells of text, in the order that is wished for.

Pure. Must not live here: widgets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

from cli.client.json_view import Said
from cli.text.fork_line import named
from cli.text.pieces import Piece, plain
from cli.text.words import spark, width_of
from wire.names import visible
from wire.numbers import number, per_second

__all__ = [
    "COLUMNS",
    "SORTS",
    "Column",
    "Row",
    "Wish",
    "as_text",
    "cells",
    "chosen",
    "is_counted",
    "is_hidden",
    "missing_pieces",
    "rows_of",
    "summary",
]

SPARK: Final = 20  # intervals in a row's line: 200 s by default
LONGEST: Final = 48  # letters of a cell; the pod's own screen has all of them


class Column(NamedTuple):
    """`sort`: the order that its heading stands for."""

    key: str
    title: str
    right: bool = False
    sort: str = ""


COLUMNS: Final = (
    Column("pod", "pod", sort="name"),
    Column("rate", "forks/s", right=True, sort="rate"),
    Column("line", "lately"),
    Column("forks", "processes", right=True, sort="forks"),
    Column("threads", "threads", right=True, sort="threads"),
    Column("top", "forks most"),
    Column("missing", "missing", sort="missing"),
    Column("workload", "workload"),
    Column("node", "node", sort="node"),
)
SORTS: Final = ("rate", "forks", "threads", "missing", "name", "node")
_UP: Final = ("name", "node")  # these begin with the least


class Wish(NamedTuple):
    """`find`: text that is somewhere in a row's names. `turned`: the other way round than the order usually goes."""

    sort: str = "rate"
    turned: bool = False
    find: str = ""


class Row(NamedTuple):
    """A pod, or, without a pod's name and uid, a node's forks outside pods. `rate` None: not known. `words`: what a
    filter looks through. `entry`: all that the collector said."""

    key: str
    cluster: str | None
    namespace: str | None
    pod: str | None
    uid: str | None
    node: str | None
    workload: str | None
    rate: float | None
    history: tuple[float | None, ...]
    processes: int | None
    threads: int | None
    top: str | None
    missing: tuple[Piece, ...]
    missing_in_all: int
    in_storm: bool
    is_host: bool
    words: str
    entry: Said

    @property
    def name(self) -> str:
        """The best there is, fit for a terminal."""
        if self.is_host:
            return "outside pods"
        if self.pod is None:
            return f"uid {named(self.uid)}" if self.uid else "cgroups without a name"
        return f"{visible(self.namespace)}/{visible(self.pod)}"


def rows_of(answer: Said) -> list[Row]:
    """`answer`: of /v1/pods."""
    return [_row(entry, is_host=kind == "host") for kind in ("pods", "host") for entry in answer[kind]]


def chosen(rows: Iterable[Row], wish: Wish) -> list[Row]:
    find = wish.find.strip().lower()
    found = [row for row in rows if find in row.words]
    # Twice, as sorts are stable: those that are alike stand by name, whichever way the others are turned.
    found.sort(key=_ORDERS["name"])
    found.sort(key=_ORDERS[wish.sort], reverse=wish.turned != (wish.sort not in _UP))
    return found


def cells(row: Row) -> list[list[Piece]]:
    """In the order of `COLUMNS`."""
    return [
        [Piece(_short(row.name), "bad" if row.in_storm else "strong" if row.rate else "")],
        [Piece(per_second(row.rate), "strong" if row.rate else "dim")],
        [Piece(spark(row.history, SPARK), "bad" if row.in_storm else "name")],
        [Piece(number(row.processes))],
        [Piece(number(row.threads))],
        [Piece(_short(row.top or ""))],
        [*row.missing],
        [Piece(_short(row.workload or ""))],
        [Piece(_short(visible(row.node)))],
    ]


def summary(answer: Said, rows: Sequence[Row], shown: int) -> list[Piece]:
    """How many there are, and what is wrong, in one line."""
    pods = [row for row in rows if not row.is_host]
    in_all = answer["pods_in_all"].whole
    known = (
        f"{number(len(pods))} pods"
        if in_all is None or in_all <= len(pods)
        else f"{number(len(pods))} of {number(in_all)} pods, the latest"
    )
    told = [Piece(known, "strong")]
    if shown != len(rows):
        told.append(Piece(f", {number(shown)} shown"))
    told.append(Piece(f"  {per_second(sum(row.rate or 0.0 for row in rows))} forks/s"))
    if storms := sum(row.in_storm for row in rows):
        told += [Piece("  "), Piece(f"{number(storms)} in a storm", "bad")]
    if missing := sum(row.missing_in_all for row in rows):
        told += [Piece("  "), Piece(f"{number(missing)} missing", "warn")]
    silent = [node for node in answer["nodes"] if node["silent"].raw is True]
    if silent:
        names = ", ".join(named(node["node"].text) for node in silent[:3])
        told += [Piece("  "), Piece(f"silent: {names}{' ...' if len(silent) > 3 else ''}", "bad")]
    return told


def missing_pieces(entry: Said) -> list[Piece]:
    """What is not here of a pod's forks, in words; never nothing."""
    if is_hidden(entry):
        return [Piece("not observable: it has a kernel of its own", "warn")]
    told = [Piece("in a storm", "bad")] if entry["storm"] else []
    told += [
        Piece(f"{number(count.whole)} {visible(reason).replace('_', ' ')}", "warn") for reason, count in entry["missing"].items
    ]
    share = sum(count.whole or 0 for _, count in entry["unknown_share"].items)
    awaited = entry["awaited"].whole
    if entry["summed"].raw is False:
        told.append(Piece("not summed up yet", "dim"))
    elif awaited:
        told.append(Piece(f"{number(awaited)} not here yet", "dim"))
    if share:
        told.append(Piece(f"its share of {number(share)} is not known", "warn"))
    if not told:
        told = [Piece("complete", "dim")]
    if storms := entry["storms_in_all"].whole:
        told.append(Piece(f"{number(storms)} storm{'' if storms == 1 else 's'} so far", "dim"))
    return [piece for place, one in enumerate(told) for piece in ([Piece(", "), one] if place else [one])]


def is_hidden(entry: Said) -> bool:
    """Its agent said that it can't see what the pod forks: a sandbox with a kernel of its own (Kata, gVisor)."""
    return entry["observable"].raw is False


def is_counted(entry: Said) -> bool:
    """Its counts are its own. Before the first sum nothing is known, and of what is hidden never; 0 would be a claim."""
    return entry["summed"].raw is not False and not is_hidden(entry)


def as_text(rows: Sequence[Row]) -> list[list[Piece]]:
    """The table as lines, for where no screen is."""
    table = [[[Piece(column.title, "strong")] for column in COLUMNS], *(cells(row) for row in rows)]
    widths = [max(width_of(plain(line[place])) for line in table) for place in range(len(COLUMNS))]
    lines = []
    for line in table:
        padded: list[Piece] = []
        for column, width, cell in zip(COLUMNS, widths, line, strict=True):
            gap = Piece(" " * (width - width_of(plain(cell))))
            padded += [gap, *cell, Piece("  ")] if column.right else [*cell, gap, Piece("  ")]
        lines.append(padded[:-2])
    return lines


def _row(entry: Said, *, is_host: bool) -> Row:
    top = next(iter(entry["top"]), Said(None))
    workload = entry["workload"]
    missing = [count.whole or 0 for _, count in entry["missing"].items]
    known, hidden = is_counted(entry), is_hidden(entry)
    names = [entry[key].text for key in ("cluster", "node", "namespace", "pod", "pod_uid")]
    words = [*names, workload["kind"].text, workload["name"].text, *(one["name"].text for one in entry["containers"])]
    words += [*(one["comm"].text for one in entry["top"]), "outside pods" if is_host else None]
    forks = top["forks"].whole
    return Row(
        key="\0".join(str(name) for name in (is_host, *names)),
        cluster=names[0],
        node=names[1],
        namespace=names[2],
        pod=names[3],
        uid=names[4],
        workload=f"{visible(workload['kind'].text)}/{visible(workload['name'].text)}" if workload else None,
        rate=None if hidden else entry["rate"].real,
        history=() if hidden else tuple(one.real for one in entry["history"]),
        processes=entry["processes"].whole if known else None,
        threads=entry["threads"].whole if known else None,
        top=f"{named(top['comm'].text)} {number(forks)}" if top else None,
        missing=tuple(missing_pieces(entry)),
        missing_in_all=sum(missing),
        in_storm=bool(entry["storm"]),
        is_host=is_host,
        words="\n".join(word for word in words if word).lower(),
        entry=entry,
    )


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


_ORDERS: Final[dict[str, Callable[[Row], Any]]] = {
    "rate": lambda row: -1.0 if row.rate is None else row.rate,
    "forks": lambda row: -1 if row.processes is None else row.processes,
    "threads": lambda row: -1 if row.threads is None else row.threads,
    "missing": lambda row: (row.in_storm, row.missing_in_all),
    "name": lambda row: (row.is_host, row.namespace or "", row.pod or "", row.uid or "", row.node or ""),
    "node": lambda row: (row.node or "", -(row.rate or 0.0)),
}
