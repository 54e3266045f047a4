"""The rows of `forklore top`: a collector's pods, filtered, sorted and rendered as cells. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

from cli.client.json_view import JsonView
from cli.text.fork_line import quoted
from cli.text.formatting import sparkline, width_of
from cli.text.pieces import Piece, plain
from wire.names import visible
from wire.numbers import number, per_second

__all__ = [
    "COLUMNS",
    "SORTS",
    "Column",
    "Row",
    "TableView",
    "as_text",
    "cells",
    "is_counted",
    "is_unobservable",
    "missing_pieces",
    "rows_of",
    "summary",
    "visible_rows",
]

SPARKLINE: Final = 20  # intervals, 200 s by default
MAX_CELL: Final = 48  # characters; the pod's own screen shows all of them


class Column(NamedTuple):
    """`sort`: the order that a click on its heading selects."""

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
_ASCENDING: Final = ("name", "node")  # the others are sorted in descending order


class TableView(NamedTuple):
    """Which rows are shown, and in which order. `reverse`: against the sort's default direction. `filter_text`: is contained in
    one of a row's names."""

    sort: str = "rate"
    reverse: bool = False
    filter_text: str = ""


class Row(NamedTuple):
    """A pod, or, without a pod's name and uid, a node's forks outside pods. `rate`: forks per second; None: not known.
    `search_text`: what the filter searches. `entry`: the collector's JSON."""

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
    total_missing: int
    in_storm: bool
    is_host: bool
    search_text: str
    entry: JsonView

    @property
    def name(self) -> str:
        """The name, or the uid where the name is not known; safe for a terminal."""
        if self.is_host:
            return "outside pods"
        if self.pod is None:
            return f"uid {quoted(self.uid)}" if self.uid else "cgroups without a name"
        return f"{visible(self.namespace)}/{visible(self.pod)}"


def rows_of(answer: JsonView) -> list[Row]:
    """`answer`: of /v1/pods."""
    return [_row(entry, is_host=kind == "host") for kind in ("pods", "host") for entry in answer[kind]]


def visible_rows(rows: Iterable[Row], view: TableView) -> list[Row]:
    filter_text = view.filter_text.strip().lower()
    found = [row for row in rows if filter_text in row.search_text]
    # Sorted twice, because sorts are stable: equal rows are in the order of their names, in both directions.
    found.sort(key=_ORDERS["name"])
    found.sort(key=_ORDERS[view.sort], reverse=view.reverse != (view.sort not in _ASCENDING))
    return found


def cells(row: Row) -> list[list[Piece]]:
    """In the order of `COLUMNS`."""
    return [
        [Piece(_short(row.name), "bad" if row.in_storm else "strong" if row.rate else "")],
        [Piece(per_second(row.rate), "strong" if row.rate else "dim")],
        [Piece(sparkline(row.history, SPARKLINE), "bad" if row.in_storm else "name")],
        [Piece(number(row.processes))],
        [Piece(number(row.threads))],
        [Piece(_short(row.top or ""))],
        [*row.missing],
        [Piece(_short(row.workload or ""))],
        [Piece(_short(visible(row.node)))],
    ]


def summary(answer: JsonView, rows: Sequence[Row], shown: int) -> list[Piece]:
    """The number of pods, their rate, and what is wrong, in one line."""
    pods = [row for row in rows if not row.is_host]
    total = answer["pods_in_all"].integer
    known = (
        f"{number(len(pods))} pods"
        if total is None or total <= len(pods)
        else f"{number(len(pods))} of {number(total)} pods, the latest"
    )
    pieces = [Piece(known, "strong")]
    if shown != len(rows):
        pieces.append(Piece(f", {number(shown)} shown"))
    pieces.append(Piece(f"  {per_second(sum(row.rate or 0.0 for row in rows))} forks/s"))
    if storms := sum(row.in_storm for row in rows):
        pieces += [Piece("  "), Piece(f"{number(storms)} in a storm", "bad")]
    if missing := sum(row.total_missing for row in rows):
        pieces += [Piece("  "), Piece(f"{number(missing)} missing", "warn")]
    if silent := [node for node in answer["nodes"] if node["silent"].raw is True]:
        pieces += [Piece("  "), Piece(f"silent: {_names(silent)}", "bad")]
    if forged := [node for node in answer["nodes"] if node["conflicts"].integer]:
        conflicts = number(sum(node["conflicts"].integer or 0 for node in forged))
        pieces += [Piece("  "), Piece(f"{conflicts} conflicts: {_names(forged)}", "bad")]
    return pieces


def _names(nodes: Sequence[JsonView]) -> str:
    return ", ".join(quoted(node["node"].text) for node in nodes[:3]) + (" ..." if len(nodes) > 3 else "")


def missing_pieces(entry: JsonView) -> list[Piece]:
    """What is missing of a pod's forks, or `complete`; never empty."""
    if is_unobservable(entry):
        return [Piece("not observable: it has a kernel of its own", "warn")]
    pieces = [Piece("in a storm", "bad")] if entry["storm"] else []
    pieces += [
        Piece(f"{number(count.integer)} {visible(reason).replace('_', ' ')}", "warn")
        for reason, count in entry["missing"].items
    ]
    share = sum(count.integer or 0 for _, count in entry["unknown_share"].items)
    awaited = entry["awaited"].integer
    if entry["summed"].raw is False:
        pieces.append(Piece("not summed up yet", "dim"))
    elif awaited:
        pieces.append(Piece(f"{number(awaited)} not arrived yet", "dim"))
    if share:
        pieces.append(Piece(f"its share of {number(share)} is not known", "warn"))
    if not pieces:
        pieces = [Piece("complete", "dim")]
    if storms := entry["storms_in_all"].integer:
        pieces.append(Piece(f"{number(storms)} storm{'' if storms == 1 else 's'} so far", "dim"))
    return [part for index, piece in enumerate(pieces) for part in ([Piece(", "), piece] if index else [piece])]


def is_unobservable(entry: JsonView) -> bool:
    """The agent reported that it can't observe the pod's forks: its sandbox has a kernel of its own (Kata, gVisor)."""
    return entry["observable"].raw is False


def is_counted(entry: JsonView) -> bool:
    """Its counts are known: not before the first summary, and never for a pod that is not observable. 0 would be a claim."""
    return entry["summed"].raw is not False and not is_unobservable(entry)


def as_text(rows: Sequence[Row]) -> list[list[Piece]]:
    """The table as lines, for an output that is no terminal."""
    table = [[[Piece(column.title, "strong")] for column in COLUMNS], *(cells(row) for row in rows)]
    widths = [max(width_of(plain(line[index])) for line in table) for index in range(len(COLUMNS))]
    lines = []
    for line in table:
        padded: list[Piece] = []
        for column, width, cell in zip(COLUMNS, widths, line, strict=True):
            gap = Piece(" " * (width - width_of(plain(cell))))
            padded += [gap, *cell, Piece("  ")] if column.right else [*cell, gap, Piece("  ")]
        lines.append(padded[:-2])
    return lines


def _row(entry: JsonView, *, is_host: bool) -> Row:
    top = next(iter(entry["top"]), JsonView(None))
    workload = entry["workload"]
    missing = [count.integer or 0 for _, count in entry["missing"].items]
    counted, unobservable = is_counted(entry), is_unobservable(entry)
    names = [entry[key].text for key in ("cluster", "node", "namespace", "pod", "pod_uid")]
    search_text = [*names, workload["kind"].text, workload["name"].text, *(one["name"].text for one in entry["containers"])]
    search_text += [*(one["comm"].text for one in entry["top"]), "outside pods" if is_host else None]
    forks = top["forks"].integer
    return Row(
        key="\0".join(str(name) for name in (is_host, *names)),
        cluster=names[0],
        node=names[1],
        namespace=names[2],
        pod=names[3],
        uid=names[4],
        workload=f"{visible(workload['kind'].text)}/{visible(workload['name'].text)}" if workload else None,
        rate=None if unobservable else entry["rate"].number,
        history=() if unobservable else tuple(one.number for one in entry["history"]),
        processes=entry["processes"].integer if counted else None,
        threads=entry["threads"].integer if counted else None,
        top=f"{quoted(top['comm'].text)} {number(forks)}" if top else None,
        missing=tuple(missing_pieces(entry)),
        total_missing=sum(missing),
        in_storm=bool(entry["storm"]),
        is_host=is_host,
        search_text="\n".join(word for word in search_text if word).lower(),
        entry=entry,
    )


def _short(text: str) -> str:
    return text if len(text) <= MAX_CELL else f"{text[: MAX_CELL - 1]}…"


_ORDERS: Final[dict[str, Callable[[Row], Any]]] = {
    "rate": lambda row: -1.0 if row.rate is None else row.rate,
    "forks": lambda row: -1 if row.processes is None else row.processes,
    "threads": lambda row: -1 if row.threads is None else row.threads,
    "missing": lambda row: (row.in_storm, row.total_missing),
    "name": lambda row: (row.is_host, row.namespace or "", row.pod or "", row.uid or "", row.node or ""),
    "node": lambda row: (row.node or "", -(row.rate or 0.0)),
}
