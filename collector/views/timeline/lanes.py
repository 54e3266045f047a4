"""A pod's timeline as lanes: a table of exact counts that the page's script draws as a line.

A lane is one horizontal band of the plot: of the containers with one name, or of a host. The script reads the table, so
table and drawing cannot differ. (`Lane` in `collector.store.received_ids` is something else: a series of ids.)
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from collector.model import PointRow, Span, TimelineRow
from collector.views.formatting import UNKNOWN, format_duration, number, per_second, visible
from collector.views.timeline.series import STEPS, default_step
from collector.views.times import SECOND, stamp, time_of_day
from wire.api import ContainerEntry

__all__ = ["container_lanes", "host_lane", "step_for"]

MAX_LANES: Final = 12  # all further containers share one more lane
COLUMNS: Final = ("forks", "threads", "only counted", "lost")
_REST: Final = "\x00rest"  # not the name of a container: the kernel's names end at a NUL


def container_lanes(
    rows: Sequence[TimelineRow], containers: Sequence[ContainerEntry], span: Span, step: int
) -> list[dict[str, Any]]:
    """`containers`: those that fork most first. `step` in ns; `span` is a whole number of them.

    A container that restarted has another id and the same name: it stays in one lane.
    """
    by_lane: dict[str, list[ContainerEntry]] = defaultdict(list)
    lane_of: dict[str | None, str] = {}
    for container in containers:
        name = container["name"] or container["id"] or ""
        lane = name if name in by_lane or len(by_lane) < MAX_LANES else _REST
        by_lane[lane].append(container)
        lane_of[container["id"]] = lane
    counts: dict[str, dict[int, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    for row in rows:
        lane = lane_of.get(row.container, row.name or row.container or "")
        if lane not in by_lane:
            by_lane[lane] = []  # only the timeline has this container
        index = (row.start - span.start) // step
        counts[lane][index].update(processes=row.processes, threads=row.threads, suppressed=row.suppressed, lost=row.lost)
    return [_lane(lane, members, counts[lane], span, step) for lane, members in by_lane.items()]


def step_for(span: Span, points: Iterable[PointRow]) -> int:
    """ns. Not shorter than the agent's interval: a shorter step would show holes where there are none."""
    usual = default_step(span)
    lengths = sorted(point.end - point.start for point in points)
    least = lengths[len(lengths) // 2] if lengths else 0
    return next((step * SECOND for step in STEPS if step * SECOND >= max(usual, least)), usual)


def host_lane(history: Sequence[float | None], span: Span | None) -> list[dict[str, Any]]:
    """A node's forks outside pods: rates only."""
    if span is None or not history:
        return []
    step = (span.end - span.start) // len(history)
    steps = [_step(span.start + index * step, rate, None, [per_second(rate)]) for index, rate in enumerate(history)]
    return [{**_frame("outside pods", step), "columns": ["forks/s"], "steps": steps, **_peak(steps), "sums": [], "facts": []}]


def _lane(
    name: str, containers: Sequence[ContainerEntry], counts: Mapping[int, Mapping[str, int]], span: Span, step: int
) -> dict[str, Any]:
    steps = []
    for index in range((span.end - span.start) // step):
        known = counts.get(index)
        values = None if known is None else [known[count] for count in ("processes", "threads", "suppressed", "lost")]
        rate, threads = (None, None) if values is None else (values[0] * SECOND / step, values[1] * SECOND / step)
        cells = [UNKNOWN] * len(COLUMNS) if values is None else [number(value) for value in values]
        steps.append(_step(span.start + index * step, rate, threads, cells))
    rates = [container["rate"] for container in containers if container["rate"] is not None]
    title, details = _title_and_details(name, containers)
    return {
        **_frame(title, step),
        "title": visible(containers[0]["id"]) if containers and containers[0]["id"] else "",
        "details": [detail for detail in details if detail],
        "columns": list(COLUMNS),
        "steps": steps,
        **_peak(steps),
        "rate": per_second(sum(rates)) if rates else UNKNOWN,
        "processes": _total(container["processes"] for container in containers),
        "threads": _total(container["threads"] for container in containers),
        "since": _total(container["since"] for container in containers),
        "entered": _total(container["entered"] for container in containers),
        "delivered": _total(container["delivered"] for container in containers),
        "suppressed": _total(container["suppressed"] for container in containers),
        "lost": _total(container["lost"] for container in containers),
        "known": bool(containers),
    }


def _title_and_details(name: str, containers: Sequence[ContainerEntry]) -> tuple[str, list[str]]:
    if name == _REST:
        return f"{number(len(containers))} more containers", []
    newest = containers[0] if containers else None
    kinds = {container["kind"] for container in containers if container["kind"] and container["kind"] != "app"}
    details = [f"{visible(kind)} container" for kind in sorted(kinds)]
    if newest and newest["image"]:
        details.append(visible(newest["image"]))
    if len(containers) > 1:
        details.append(f"{number(len(containers))} times")
    is_id = newest is not None and name and name == newest["id"]
    return visible(name)[:12] if is_id else visible(name) or "no container", details


def _total(counts: Iterable[int | None]) -> str:
    """The sum of those that are known; unknown where none is, as with a pod that has a kernel of its own."""
    known = [count for count in counts if count is not None]
    return number(sum(known) if known else None)


def _frame(name: str, step: int) -> dict[str, Any]:
    return {"key": name, "name": name, "step": format_duration(step // SECOND), "step_s": step / SECOND}


def _step(start: int, rate: float | None, threads: float | None, cells: list[str]) -> dict[str, Any]:
    """`value`, `threads`: rates to be drawn; "" where unknown."""
    time = stamp(start)
    value, thread_value = ("" if one is None else f"{one:.6g}" for one in (rate, threads))
    return {
        "at": start // SECOND,
        "stamp": time,
        "day": time[:10],
        "time": time_of_day(time)[:8],
        "value": value,
        "threads": thread_value,
        "cells": cells,
    }


def _peak(steps: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """`peak`: the highest rate. `summary`: the drawing in words."""
    known = [float(one["value"]) for one in steps if one["value"]]
    if not known:
        return {"peak": "", "summary": "no rate of this range is known"}
    threads = max((float(one["threads"]) for one in steps if one["threads"]), default=0.0)
    summary = f"at most {per_second(max(known))} forks a second, at last {per_second(known[-1])}"
    return {
        "peak": per_second(max(known)),
        "summary": f"{summary}; at most {per_second(threads)} threads" if threads else summary,
    }
