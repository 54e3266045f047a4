"""Storms and gaps of a pod: from when to when for the bands behind its timeline, and in words beside it.

Pure. Must not live here: the timeline itself (`timelane`), HTML.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from collector.model import Span
from collector.views.nodes.reasons import gap_text
from collector.views.timeline.storms import NOW
from collector.views.times import SECOND, moment, span
from collector.views.words import length, number, visible

__all__ = ["bands_of", "gap_words", "storm_words"]

_LABELS: Final = {"storm": "storm", "gap": "gap", "node": "node"}


def bands_of(entry: Mapping[str, Any], within: Span) -> tuple[list[dict[str, Any]], int]:
    """Those of the range, newest first, and how many more there are outside it.

    `kind`: storm, gap, or node (of the whole node: nobody knows of which pod). `start`, `end`: seconds since 1970.
    """
    bands: list[dict[str, Any]] = []
    outside = 0
    for kind, told in (
        *(("storm", storm) for storm in entry["storms"]),
        *(("gap", gap) for gap in entry["gaps"]),
        *(("node", gap) for gap in entry["node_gaps"]),
    ):
        first = moment(told["interval"]["start"])
        said = told["interval"]["end"] or (None if told["state"] == NOW else told["as_of"])
        last = within.end if said is None else moment(said)
        if last < within.start or first > within.end:
            outside += 1
            continue
        words = storm_words(told) if kind == "storm" else gap_words(told, entry["node"] if kind == "node" else None)
        bands.append(
            {
                "key": f"{kind} {words['key']}",
                "kind": kind,
                "here": kind == "storm" or bool(told["here"]),  # what another receiver lacks, is no gap in this timeline
                "now": kind == "storm" and told["state"] == NOW,
                "label": _LABELS[kind],
                "start": first / SECOND,
                "end": last / SECOND,
                "text": words["text"],
                "when": words["when"],
            }
        )
    return sorted(bands, key=lambda band: -float(band["start"])), outside


def storm_words(storm: Mapping[str, Any]) -> dict[str, str]:
    """`storm` as in `storms.storms_json`."""
    start, end = storm["interval"]["start"], storm["interval"]["end"]
    counts = storm["counts"]
    forks = f"{number(counts['processes'] + counts['threads'])} forks"
    limit = f"{number(counts['suppressed'])} of them only counted, the limit being {number(storm['limit'])} a second"
    if end is not None:
        text = f"Storm of {length((moment(end) - moment(start)) // SECOND)}: {forks}, {limit}"
    elif storm["state"] == NOW:
        text = f"Storm that goes on: {forks} when it was noticed, {limit}"
    else:
        text = f"Storm, its end not told: {forks} when it was noticed, {limit}"
    return {"key": f"{storm['storm']} {start}", "text": text, "when": span(start, end)}


def gap_words(gap: Mapping[str, Any], of: str | None = None) -> dict[str, str]:
    """`gap` as in `ledger.gap_json`. `of`: the node that it is of as a whole."""
    whose = "" if of is None else f". They are of {visible(of)} as a whole: nobody knows of which pods"
    return {"key": gap["id"], "text": gap_text(gap) + whose, "when": span(gap["interval"]["start"], gap["interval"]["end"])}
