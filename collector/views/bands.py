"""Storms and gaps of a pod: as bands under its line of rates, and in words beside it.

Pure. Must not live here: the line itself (`display.spark`), HTML.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from collector.views.rates import POINTS
from collector.views.reasons import gap_text
from collector.views.storms import NOW
from collector.views.times import SECOND, clock, moment, span
from collector.views.words import length, number, per_second, visible

__all__ = ["bands_of", "gap_words", "line_words", "storm_words"]

NARROWEST: Final = 3.0  # in the line's own units: what lasted a moment must be seen, too


def bands_of(entry: Mapping[str, Any], width: int, height: int) -> list[dict[str, str]]:
    """The parts of the line's time in which something is missing. `kind`: storm, gap, or node (nobody knows of which pod)."""
    interval = entry["history_interval"]
    if interval is None:
        return []
    start, end = moment(interval["start"]), moment(interval["end"])
    start += (end - start) // POINTS  # a rate is drawn where its interval ends
    bands = []
    for kind, told in (
        *(("storm", storm) for storm in entry["storms"]),
        *(("node", gap) for gap in entry["node_gaps"]),
        *(("gap", gap) for gap in entry["gaps"] if gap["here"]),
    ):
        first = moment(told["interval"]["start"])
        last = moment(told["interval"]["end"] or (interval["end"] if told["state"] == NOW else told["as_of"]))
        if last < start or first > end:
            continue
        x = (max(first, start) - start) / (end - start) * width
        wide = max((min(last, end) - start) / (end - start) * width - x, NARROWEST)
        words = storm_words(told) if kind == "storm" else gap_words(told)
        bands.append(
            {
                "key": f"{kind} {told.get('id') or words['key']}",
                "kind": kind,
                "x": f"{min(x, width - NARROWEST):.1f}",
                "width": f"{wide:.1f}",
                "height": str(height),
                "text": f"{words['text']}, {words['when']}",
            }
        )
    return bands


def line_words(entry: Mapping[str, Any]) -> str:
    """The line, for those who do not see it."""
    known = [rate for rate in entry["history"] if rate is not None]
    if entry["history_interval"] is None or not known:
        return "No rates are known"
    start, end = (clock(entry["history_interval"][side])[:8] for side in ("start", "end"))
    return f"Forks a second from {start} to {end} UTC: now {per_second(entry['rate'])}, at most {per_second(max(known))}"


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
    return {"key": f"{storm['storm']} {start}", "text": text, "when": span(start, end), "state": storm["state"]}


def gap_words(gap: Mapping[str, Any], of: str | None = None) -> dict[str, str]:
    """`gap` as in `ledger.gap_json`. `of`: the node that it is of as a whole."""
    whose = "" if of is None else f". They are of {visible(of)} as a whole: nobody knows of which pods"
    return {"key": gap["id"], "text": gap_text(gap) + whose, "when": span(gap["interval"]["start"], gap["interval"]["end"])}
