"""One pod in `forklore top` as lines: its facts, containers, storms and gaps, its pairs of parent and child, its latest forks.

Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

from cli.client.json_view import JsonView
from cli.text.fork_line import fork_line, quoted
from cli.text.formatting import padded, sparkline, width_of
from cli.text.pieces import Piece
from cli.top.rows import is_counted, is_unobservable, missing_pieces
from wire.names import visible
from wire.numbers import number, per_second
from wire.storms import limit_text
from wire.times import clock

__all__ = ["latest_lines", "overview_lines", "pair_lines"]

Line = list[Piece]
MAX_INTERVALS: Final = 60  # drawn at most; a collector sends 30


def overview_lines(pod: JsonView) -> Iterator[Line]:
    """`pod`: the answer of /v1/pods/{namespace}/{pod}, or an entry of /v1/pods, which has fewer keys."""
    workload = pod["workload"]
    facts = (
        ("workload", f"{visible(workload['kind'].text)} {visible(workload['name'].text)}" if workload else None),
        ("node", pod["node"].text and visible(pod["node"].text)),
        ("cluster", pod["cluster"].text and visible(pod["cluster"].text)),
        ("uid", pod["pod_uid"].text and visible(pod["pod_uid"].text)),
        ("qos class", pod["qos"].text and visible(pod["qos"].text)),
        ("service account", pod["service_account"].text and visible(pod["service_account"].text)),
        ("labels", ", ".join(visible(f"{key}={value.text}") for key, value in pod["labels"].items)),
    )
    rate = None if is_unobservable(pod) else pod["rate"].number
    yield [Piece(per_second(rate), "strong"), Piece(" forks/s   "), *_counts(pod)]
    yield [Piece("missing   ", "dim"), *missing_pieces(pod)]
    yield []
    if not is_unobservable(pod):
        yield from _history(pod)
    for name, value in facts:
        if value:
            yield [Piece(f"{name:<16}", "dim"), Piece(value)]
    yield []
    yield from _table(
        ("container", "kind", "forks/s", "processes", "threads", "entered", "image"),
        (_container(container, counted=not is_unobservable(pod)) for container in pod["containers"]),
    )
    lines = [*map(_storm, pod["storms"]), *map(_gap, pod["gaps"]), *(_gap(gap, pod["node"].text) for gap in pod["node_gaps"])]
    if lines:
        yield []
        yield [Piece("storms and gaps", "strong")]
        yield from lines
    for other in pod["others"]:
        yield [
            Piece("of the same name: ", "dim"),
            Piece(f"{visible(other['pod_uid'].text)} on {visible(other['node'].text)}"),
        ]


def pair_lines(tree: JsonView) -> Iterator[Line]:
    """`tree`: the answer of /v1/pods/{namespace}/{pod}/tree."""
    pairs = list(tree["pairs"])
    if not pairs:
        yield [Piece("no forks in the last hour", "dim")]
        return
    yield from _table(("forks", "from", "to", "first", "last"), map(_pair, pairs))


def latest_lines(pod: JsonView) -> Iterator[Line]:
    latest = list(pod["latest"])
    if not latest:
        yield [Piece("no forks", "dim")]
    yield from (fork_line(fork) for fork in latest)


def _counts(entry: JsonView) -> list[Piece]:
    known = is_counted(entry)
    counts = [(entry[key].integer if known else None, key) for key in ("processes", "threads", "entered")]
    counts.append((entry["delivered"].integer, "delivered as events"))
    return [Piece("   ".join(f"{number(count)} {title}" for count, title in counts))]


def _history(pod: JsonView) -> Iterator[Line]:
    """The sparkline of rates, and below it marks: S a storm, ! forks missing, ? forks missing on its node."""
    rates = [rate.number for rate in pod["history"]][-MAX_INTERVALS:]
    start, end = (_seconds(pod["history_interval"][side].text) for side in ("start", "end"))
    if not rates or start is None or end is None or end <= start:
        return
    yield [
        Piece(sparkline(rates, len(rates)), "name"),
        Piece(f"  {_clock(pod['history_interval']['start'])} to {_clock(pod['history_interval']['end'])} UTC", "dim"),
    ]
    marks = [" "] * len(rates)
    for sign, incidents in (("?", pod["node_gaps"]), ("!", pod["gaps"]), ("S", pod["storms"])):
        for one in incidents:
            first = _seconds(one["interval"]["start"].text)
            last = _seconds(one["interval"]["end"].text or (None if one["state"].text == "now" else one["as_of"].text))
            if first is None or one["here"].raw is False:
                continue
            step = (end - start) / len(rates)
            until = len(rates) if last is None else int((last - start) / step) + 1
            for index in range(max(0, int((first - start) // step)), min(len(rates), until)):
                marks[index] = sign
    if any(mark != " " for mark in marks):
        yield [Piece("".join(marks), "bad"), Piece("  S storm, ! forks missing, ? missing on its node", "dim")]
    yield []


def _container(container: JsonView, *, counted: bool) -> Sequence[str]:
    known = counted and is_counted(container)
    name = container["name"].text or (container["id"].text or "")[:12]
    counts = [number(container[key].integer if known else None) for key in ("processes", "threads", "entered")]
    return [
        quoted(name) if name else "outside containers",
        visible(container["kind"].text),
        per_second(container["rate"].number if counted else None),
        *counts,
        visible(container["image"].text),
    ]


def _pair(pair: JsonView) -> Sequence[str]:
    child = pair["child"].text
    to = "(no children)" if child is None else quoted(child)
    return [number(pair["forks"].integer), quoted(pair["parent"].text), to, clock(pair["first"].text), clock(pair["last"].text)]


def _storm(storm: JsonView) -> Line:
    counts, interval = storm["counts"], storm["interval"]
    forks = (counts["processes"].integer or 0) + (counts["threads"].integer or 0)
    when = (
        f"{_clock(interval['start'])} to {_clock(interval['end'])}"
        if interval["end"].text
        else f"since {_clock(interval['start'])}"
    )
    state = {"now": "goes on", "over": "over"}.get(storm["state"].text or "", "end not reported")
    only = f"{number(counts['suppressed'].integer)} only counted"
    text = f"{number(forks)} forks, {only}; {limit_text(storm['reason'].text, storm['limit'].integer)}"
    return [Piece(f"storm, {state}: ", "bad" if state == "goes on" else "warn"), Piece(text), Piece(f"  {when}", "dim")]


def _gap(gap: JsonView, node: str | None = None) -> Line:
    what = "forks" if gap["missing"].text == "sched_process_fork" else visible(gap["missing"].text)
    where = f", on the way to {visible(gap['sink'].text)}" if gap["sink"].text else ""
    of = f", of the whole node {visible(node)}; their pods are not known" if node is not None else ""
    text = f"{number(gap['count'].integer)} {what} missing: {visible(gap['reason'].text).replace('_', ' ')}{where}{of}"
    return [Piece(text, "warn"), Piece(f"  {_clock(gap['interval']['start'])} to {_clock(gap['interval']['end'])}", "dim")]


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[Line]:
    table = [titles, *rows]
    widths = [max(map(width_of, column)) for column in zip(*table, strict=True)]
    for index, row in enumerate(table):
        text = "  ".join(padded(cell, width) for cell, width in zip(row, widths, strict=True)).rstrip()
        yield [Piece(text, "" if index else "strong")]


def _clock(stamp: JsonView) -> str:
    return clock(stamp.text)[:8]


def _seconds(stamp: str | None) -> float | None:
    try:
        return datetime.fromisoformat((stamp or "")[:19]).replace(tzinfo=UTC).timestamp()
    except (ValueError, OverflowError):
        return None
