"""One pod in `forklore top`, as lines of text: what it is, its containers, its storms and gaps, its pairs, its latest forks.

Pure. Must not live here: the lineage (`cli.text.tree_lines`), widgets.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

from cli.client.json_view import Said
from cli.text.fork_line import compact, named
from cli.text.pieces import Piece
from cli.text.words import padded, spark, width_of
from cli.top.rows import is_counted, is_hidden, missing_pieces
from wire.names import visible
from wire.numbers import number, per_second
from wire.times import clock

__all__ = ["latest_lines", "overview_lines", "pair_lines"]

Line = list[Piece]
POINTS: Final = 60  # intervals that are drawn at most; a collector tells 30


def overview_lines(pod: Said) -> Iterator[Line]:
    """`pod`: of /v1/pods/{namespace}/{pod}, or an entry of /v1/pods, which knows less."""
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
    rate = None if is_hidden(pod) else pod["rate"].real
    yield [Piece(per_second(rate), "strong"), Piece(" forks/s   "), *_counts(pod)]
    yield [Piece("missing   ", "dim"), *missing_pieces(pod)]
    yield []
    if not is_hidden(pod):
        yield from _history(pod)
    for name, value in facts:
        if value:
            yield [Piece(f"{name:<16}", "dim"), Piece(value)]
    yield []
    yield from _table(
        ("container", "kind", "forks/s", "processes", "threads", "came in", "image"),
        (_container(one, counted=not is_hidden(pod)) for one in pod["containers"]),
    )
    told = [*map(_storm, pod["storms"]), *map(_gap, pod["gaps"]), *(_gap(gap, pod["node"].text) for gap in pod["node_gaps"])]
    if told:
        yield []
        yield [Piece("storms and gaps", "strong")]
        yield from told
    for other in pod["others"]:
        yield [
            Piece("of the same name: ", "dim"),
            Piece(f"{visible(other['pod_uid'].text)} on {visible(other['node'].text)}"),
        ]


def pair_lines(tree: Said) -> Iterator[Line]:
    """`tree`: of /v1/pods/{namespace}/{pod}/tree."""
    pairs = list(tree["pairs"])
    if not pairs:
        yield [Piece("no forks in the last hour", "dim")]
        return
    yield from _table(("forks", "from", "to", "first", "last"), map(_pair, pairs))


def latest_lines(pod: Said) -> Iterator[Line]:
    latest = list(pod["latest"])
    if not latest:
        yield [Piece("no forks are here", "dim")]
    yield from (compact(fork) for fork in latest)


def _counts(entry: Said) -> list[Piece]:
    known = is_counted(entry)
    counts = [(entry[key].whole if known else None, word) for key, word in (("processes", "processes"), ("threads", "threads"))]
    counts += [(entry["entered"].whole if known else None, "came in"), (entry["delivered"].whole, "here as events")]
    return [Piece("   ".join(f"{number(count)} {word}" for count, word in counts))]


def _history(pod: Said) -> Iterator[Line]:
    """The line of rates, and under it what was going on: S a storm, ! forks missing, ? missing on its node."""
    rates = [one.real for one in pod["history"]][-POINTS:]
    start, end = (_seconds(pod["history_interval"][side].text) for side in ("start", "end"))
    if not rates or start is None or end is None or end <= start:
        return
    yield [
        Piece(spark(rates, len(rates)), "name"),
        Piece(f"  {_clock(pod['history_interval']['start'])} to {_clock(pod['history_interval']['end'])} UTC", "dim"),
    ]
    marks = [" "] * len(rates)
    for sign, told in (("?", pod["node_gaps"]), ("!", pod["gaps"]), ("S", pod["storms"])):
        for one in told:
            first = _seconds(one["interval"]["start"].text)
            last = _seconds(one["interval"]["end"].text or (None if one["state"].text == "now" else one["as_of"].text))
            if first is None or one["here"].raw is False:
                continue
            step = (end - start) / len(rates)
            until = len(rates) if last is None else int((last - start) / step) + 1
            for place in range(max(0, int((first - start) // step)), min(len(rates), until)):
                marks[place] = sign
    if any(mark != " " for mark in marks):
        yield [Piece("".join(marks), "bad"), Piece("  S storm, ! forks missing, ? missing on its node", "dim")]
    yield []


def _container(one: Said, *, counted: bool) -> Sequence[str]:
    known = counted and is_counted(one)
    name = one["name"].text or (one["id"].text or "")[:12]
    counts = [number(one[key].whole if known else None) for key in ("processes", "threads", "entered")]
    return [
        named(name) if name else "outside containers",
        visible(one["kind"].text),
        per_second(one["rate"].real if counted else None),
        *counts,
        visible(one["image"].text),
    ]


def _pair(pair: Said) -> Sequence[str]:
    child = pair["child"].text
    to = "(forked nothing)" if child is None else named(child)
    return [number(pair["forks"].whole), named(pair["parent"].text), to, clock(pair["first"].text), clock(pair["last"].text)]


def _storm(storm: Said) -> Line:
    counts, interval = storm["counts"], storm["interval"]
    forks = (counts["processes"].whole or 0) + (counts["threads"].whole or 0)
    when = (
        f"{_clock(interval['start'])} to {_clock(interval['end'])}"
        if interval["end"].text
        else f"since {_clock(interval['start'])}"
    )
    state = {"now": "goes on", "over": "over"}.get(storm["state"].text or "", "its end was not told")
    only = f"{number(counts['suppressed'].whole)} only counted"
    words = f"{number(forks)} forks, {only}; the limit is {number(storm['limit'].whole)} a second"
    return [Piece(f"storm, {state}: ", "bad" if state == "goes on" else "warn"), Piece(words), Piece(f"  {when}", "dim")]


def _gap(gap: Said, node: str | None = None) -> Line:
    what = "forks" if gap["missing"].text == "sched_process_fork" else visible(gap["missing"].text)
    where = f", on the way to {visible(gap['sink'].text)}" if gap["sink"].text else ""
    of = f", of {visible(node)} as a whole: nobody knows of which pods" if node is not None else ""
    words = f"{number(gap['count'].whole)} {what} missing: {visible(gap['reason'].text).replace('_', ' ')}{where}{of}"
    return [Piece(words, "warn"), Piece(f"  {_clock(gap['interval']['start'])} to {_clock(gap['interval']['end'])}", "dim")]


def _table(titles: Sequence[str], lines: Iterable[Sequence[str]]) -> Iterator[Line]:
    told = list(lines)
    widths = [max(width_of(line[place]) for line in [titles, *told]) for place in range(len(titles))]
    for place, line in enumerate([titles, *told]):
        yield [
            Piece(
                "  ".join(padded(word, width) for word, width in zip(line, widths, strict=True)).rstrip(),
                "" if place else "strong",
            )
        ]


def _clock(stamp: Said) -> str:
    return clock(stamp.text)[:8]


def _seconds(stamp: str | None) -> float | None:
    try:
        return datetime.fromisoformat((stamp or "")[:19]).replace(tzinfo=UTC).timestamp()
    except (ValueError, OverflowError):
        return None
