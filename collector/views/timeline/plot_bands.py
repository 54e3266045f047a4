"""Storms and gaps of a pod: as bands behind its timeline, and in words beside it."""

from __future__ import annotations

from typing import Any, Final, Literal, NamedTuple

from collector.model import Span
from collector.views.formatting import format_duration, number, visible
from collector.views.nodes.loss_reasons import gap_text
from collector.views.timeline.storms import NOW
from collector.views.times import SECOND, format_span, parse_stamp
from wire.api import GapEntry, StormEntry
from wire.storms import limit_text

__all__ = ["PlotBands", "plot_bands"]

Kind = Literal["storm", "gap", "node"]
_LABELS: Final = {"storm": "storm", "gap": "gap", "node": "node"}


class PlotBands(NamedTuple):
    """`inside`: those of the range, newest first. `outside`: how many others there are.

    `kind`: storm, gap, or node (a gap of the whole node: its pods are not known). `start`, `end`: seconds since 1970.
    """

    inside: list[dict[str, Any]]
    outside: int


def plot_bands(storms: list[StormEntry], gaps: list[GapEntry], node_gaps: list[GapEntry], node: str, within: Span) -> PlotBands:
    """`node`: the name of the node that `node_gaps` are of."""
    bands = [
        *(_storm(storm, within) for storm in storms),
        *(_gap(gap, "gap", gap_text(gap)) for gap in gaps),
        *(
            _gap(gap, "node", f"{gap_text(gap)}, of the whole node {visible(node)}; their pods are not known")
            for gap in node_gaps
        ),
    ]
    inside = [band for band in bands if band["end"] >= within.start / SECOND and band["start"] <= within.end / SECOND]
    return PlotBands(sorted(inside, key=lambda band: -float(band["start"])), len(bands) - len(inside))


def _storm(storm: StormEntry, within: Span) -> dict[str, Any]:
    start, end = storm["interval"]["start"], storm["interval"]["end"]
    counts, goes_on = storm["counts"], storm["state"] == NOW
    forks = f"{number(counts['processes'] + counts['threads'])} forks"
    limit = f"{number(counts['suppressed'])} of them only counted; {limit_text(storm['reason'], storm['limit'])}"
    if end is not None:
        text = f"Storm of {format_duration((parse_stamp(end) - parse_stamp(start)) // SECOND)}: {forks}, {limit}"
    elif goes_on:
        text = f"Storm that goes on: {forks} when it was noticed, {limit}"
    else:
        text = f"Storm, end not reported: {forks} when it was noticed, {limit}"
    last = within.end if end is None and goes_on else parse_stamp(end or storm["as_of"])
    return {
        **_band("storm", f"{storm['storm']} {start}", parse_stamp(start), last),
        "here": True,
        "now": goes_on,
        "text": text,
        "when": format_span(start, end),
    }


def _gap(gap: GapEntry, kind: Kind, text: str) -> dict[str, Any]:
    """`here` false: another sink's gap, which is none in this timeline."""
    start, end = gap["interval"]["start"], gap["interval"]["end"]
    return {
        **_band(kind, gap["id"], parse_stamp(start), parse_stamp(end)),
        "here": gap["here"],
        "now": False,
        "text": text,
        "when": format_span(start, end),
    }


def _band(kind: Kind, key: str, start: int, end: int) -> dict[str, Any]:
    return {"key": f"{kind} {key}", "kind": kind, "label": _LABELS[kind], "start": start / SECOND, "end": end / SECOND}
