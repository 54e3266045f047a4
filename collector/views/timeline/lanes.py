"""A timeline as lanes, one for each container, each a table of exact counts that the page's script draws as a line.

The table is what the drawing is made of, so the two can't differ. Pure. Must not live here: storms and gaps (`bands`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from collector.model import PointRow, Span, TimelineRow
from collector.views.timeline.series import STEPS, usual_step
from collector.views.times import SECOND, clock, stamp
from collector.views.words import UNKNOWN, length, number, per_second, visible

__all__ = ["host_lane", "lanes_of", "step_of"]

MOST: Final = 12  # lanes; what is beyond is one lane together
COLUMNS: Final = ("forks", "threads", "only counted", "lost")
_REST: Final = "\x00rest"  # no container is called so: the kernel's names end at a zero
_SUMS: Final = ("processes", "threads", "since", "entered", "delivered", "suppressed", "lost")

Counts = tuple[int, int, int, int]


def lanes_of(
    rows: Sequence[TimelineRow], containers: Sequence[Mapping[str, Any]], span: Span, step: int
) -> list[dict[str, Any]]:
    """`containers` as in `pods.pod_json`, those that fork most first. `step` in ns; `span` is a whole number of them.

    A container that was started anew has another id and the same name: one lane, for what it does goes on.
    """
    by_lane: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    lane_of: dict[str | None, str] = {}
    for container in containers:
        name = container["name"] or container["id"] or ""
        lane = name if name in by_lane or len(by_lane) < MOST else _REST
        by_lane[lane].append(container)
        lane_of[container["id"]] = lane
    counts: dict[str, dict[int, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    for row in rows:
        lane = lane_of.get(row.container, row.name or row.container or "")
        if lane not in by_lane:
            by_lane[lane] = []  # nothing but the timeline has heard of it
        place = (row.start - span.start) // step
        counts[lane][place].update(processes=row.processes, threads=row.threads, suppressed=row.suppressed, lost=row.lost)
    return [_lane(lane, mine, counts[lane], span, step) for lane, mine in by_lane.items()]


def step_of(span: Span, points: Iterable[PointRow]) -> int:
    """ns. Not shorter than what the agent sums up at once: a shorter one would show holes where there are none."""
    usual = usual_step(span)
    lengths = sorted(point.end - point.start for point in points)
    least = lengths[len(lengths) // 2] if lengths else 0
    return next((step * SECOND for step in STEPS if step * SECOND >= max(usual, least)), usual)


def host_lane(history: Sequence[float | None], span: Span | None) -> list[dict[str, Any]]:
    """A node's forks outside pods: rates only, as its line has them."""
    if span is None or not history:
        return []
    step = (span.end - span.start) // len(history)
    steps = [_step(span.start + place * step, rate, None, [per_second(rate)]) for place, rate in enumerate(history)]
    return [{**_frame("outside pods", step), "columns": ["forks/s"], "steps": steps, **_peak(steps), "sums": [], "facts": []}]


def _lane(
    name: str, containers: Sequence[Mapping[str, Any]], counts: Mapping[int, Mapping[str, int]], span: Span, step: int
) -> dict[str, Any]:
    steps = []
    for place in range((span.end - span.start) // step):
        known = counts.get(place)
        told = None if known is None else [known[part] for part in ("processes", "threads", "suppressed", "lost")]
        rate, threads = (None, None) if told is None else (told[0] * SECOND / step, told[1] * SECOND / step)
        cells = [UNKNOWN] * len(COLUMNS) if told is None else [number(one) for one in told]
        steps.append(_step(span.start + place * step, rate, threads, cells))
    now = [one["rate"] for one in containers if one["rate"] is not None]
    newest: Mapping[str, Any] = containers[0] if containers else {}
    kinds = {one["kind"] for one in containers if one["kind"] and one["kind"] != "app"}
    said = [*sorted(f"{visible(kind)} container" for kind in kinds), visible(newest["image"]) if newest.get("image") else ""]
    if name == _REST:
        title, said = f"{number(len(containers))} more containers", []
    else:
        title = visible(name)[:12] if name and name == newest.get("id") else visible(name) or "no container"
    if len(containers) > 1 and name != _REST:
        said.append(f"{number(len(containers))} times")
    return {
        **_frame(title, step),
        "title": visible(newest["id"]) if newest.get("id") else "",
        "said": [word for word in said if word],
        "columns": list(COLUMNS),
        "steps": steps,
        **_peak(steps),
        "rate": per_second(sum(now)) if now else UNKNOWN,
        **{part: number(_sum(one[part] for one in containers)) for part in _SUMS},
        "known": bool(containers),
    }


def _sum(counts: Iterable[int | None]) -> int | None:
    """None: unknown, of all of them, as with a pod that has a kernel of its own."""
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _frame(name: str, step: int) -> dict[str, Any]:
    return {"key": name, "name": name, "step": length(step // SECOND), "step_s": step / SECOND}


def _step(start: int, rate: float | None, threads: float | None, cells: list[str]) -> dict[str, Any]:
    """`value`, `threads`: a second, to be drawn; "" where nothing is known."""
    sent = stamp(start) or ""
    value, made = ("" if one is None else f"{one:.6g}" for one in (rate, threads))
    said = {"at": start // SECOND, "stamp": sent, "day": sent[:10], "time": clock(sent)[:8]}
    return {**said, "value": value, "threads": made, "cells": cells}


def _peak(steps: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    known = [float(one["value"]) for one in steps if one["value"]]
    if not known:
        return {"peak": "", "line_says": "nothing is known of this range"}
    threads = max((float(one["threads"]) for one in steps if one["threads"]), default=0.0)
    said = f"at most {per_second(max(known))} forks a second, at last {per_second(known[-1])}"
    return {
        "peak": per_second(max(known)),
        "line_says": f"{said}; at most {per_second(threads)} threads" if threads else said,
    }
