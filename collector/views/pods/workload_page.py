"""The pods of one workload side by side, on one scale and over one time, and which of them differ from the others."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from math import log
from statistics import median
from typing import Any, Final, NamedTuple

from collector.model import PointRow, Snapshot
from collector.views.formatting import UNKNOWN, number, per_second, visible
from collector.views.pods.entries import pod_entries
from collector.views.pods.list_page import pod_row
from collector.views.pods.sandboxes import without_counts
from collector.views.timeline.rates import POINTS, rate_grid, rate_line
from collector.views.timeline.sparkline import area_path, line_path, y_of
from collector.views.times import stamp, time_of_day
from wire.api import PodEntry

__all__ = ["WorkloadName", "workload_model"]

WIDTH, HEIGHT = 220, 64  # of one drawing, in its own units
MIN_PODS: Final = 3  # with fewer pods none is called an outlier
MAX_SPREADS: Final = 3.5  # an outlier is further from the median than this many times the usual distance
_NORMAL: Final = 1.4826  # makes a median distance comparable with a standard deviation
MIN_FACTOR: Final = 2.0  # and at least so many times the median, or as many times below it
MIN_RATE: Final = 0.05  # forks a second: less than 3 a minute is no difference


class WorkloadName(NamedTuple):
    cluster: str
    namespace: str
    kind: str
    name: str


class _Deviation(NamedTuple):
    """`position`: -1 to 1, how far from the median, on a logarithmic scale that ends at eight times, or an eighth."""

    is_outlier: bool
    text: str
    position: float


def workload_model(snapshot: Snapshot, workload: WorkloadName, now: int) -> dict[str, Any]:
    """The outliers come first, then those that fork most. `now` in ns."""
    pods = [without_counts(pod) for pod in pod_entries(snapshot, now)]
    lines, within = _lines(snapshot, pods, now)
    means = [_mean(line) for line in lines]
    known = [mean for mean in means if mean is not None]
    middle = median(known) if known else 0.0
    spread = median([abs(mean - middle) for mean in known]) * _NORMAL if known else 0.0
    top = max([rate for line in lines for rate in line if rate is not None], default=0.0)
    most_common_comm = _comm_of_most(pods)
    rates = [pod["rate"] for pod in pods if pod["rate"] is not None]
    cells = []
    for pod, line, mean in zip(pods, lines, means, strict=True):
        deviation = _deviation(mean, middle, spread, len(known))
        differs = bool(pod["top"]) and most_common_comm is not None and pod["top"][0]["comm"] != most_common_comm.comm
        cells.append(
            {
                **pod_row(pod),
                "draw": line_path(line, top, WIDTH, HEIGHT),
                "fill": area_path(line, top, WIDTH, HEIGHT),
                "mean": per_second(mean),
                "outlier": deviation.is_outlier,
                "deviation": deviation.text,
                "at": f"{50 + 46 * deviation.position:.1f}",
                "other_top": f"in most others, {visible(most_common_comm.comm)} forks most"
                if differs and most_common_comm
                else "",
                "order": (
                    not deviation.is_outlier,
                    -abs(deviation.position) if deviation.is_outlier else -(mean or 0.0),
                    pod["pod"] or "",
                ),
            }
        )
    cells.sort(key=lambda cell: cell.pop("order"))
    return {
        "cluster": visible(workload.cluster),
        "namespace": visible(workload.namespace),
        "kind": visible(workload.kind),
        "name": visible(workload.name),
        "pods": cells,
        "count": _count(len(cells), snapshot.pods_in_all),
        "median": per_second(middle) if known else UNKNOWN,
        "median_y": f"{y_of(middle, top, HEIGHT):.1f}",
        "top": per_second(top),
        "range": within,
        "outliers": sum(cell["outlier"] for cell in cells),
        "few": 0 < len(known) < MIN_PODS,
        "forks": number(sum(pod["processes"] or 0 for pod in pods)),
        "rate": per_second(round(sum(rates), 3)) if rates else UNKNOWN,
    }


class _Comm(NamedTuple):
    comm: str | None


def _comm_of_most(pods: Sequence[PodEntry]) -> _Comm | None:
    """The name that forks most in more than half of the pods."""
    names = Counter(pod["top"][0]["comm"] for pod in pods if pod["top"]).most_common(1)
    if not names or len(pods) < MIN_PODS or names[0][1] <= len(pods) / 2:
        return None
    return _Comm(names[0][0])


def _lines(snapshot: Snapshot, pods: Sequence[PodEntry], now: int) -> tuple[list[list[float | None]], str]:
    """The pods' rates on one grid, and its range as text."""
    pod_of = {counter_source.id: counter_source.pod for counter_source in snapshot.counter_sources}
    points: dict[int | None, list[PointRow]] = defaultdict(list)
    for point in snapshot.points:
        points[pod_of.get(point.counter_source_id)].append(point)
    by_pod = [points[pod["key"]] if pod["observable"] else [] for pod in pods]
    grid = rate_grid([point for pod_points in by_pod for point in pod_points], now)
    if grid is None:
        return [[] for _ in pods], ""
    lines = [rate_line(pod_points, now, grid) for pod_points in by_pod]
    start, end = stamp(grid.end - POINTS * grid.interval), stamp(grid.end)
    return [line.rates if line else [] for line in lines], f"{time_of_day(start)[:8]} to {time_of_day(end)[:8]} UTC"


def _mean(line: Sequence[float | None]) -> float | None:
    known = [rate for rate in line if rate is not None]
    return sum(known) / len(known) if known else None


def _deviation(mean: float | None, middle: float, spread: float, pods: int) -> _Deviation:
    """How far a pod's mean is from the median: measured by how far the others are, and as a multiple."""
    if mean is None:
        return _Deviation(False, "no rates are known", 0.0)
    times = (mean + 1e-9) / (middle + 1e-9)
    position = max(-1.0, min(1.0, _log8(times)))
    if middle < MIN_RATE and mean < MIN_RATE:
        return _Deviation(False, "like the median", 0.0)
    if 1 / 1.1 < times < 1.1:
        return _Deviation(False, "like the median", position)
    text = f"{_times(times)}× the median"  # noqa: RUF001
    if middle < MIN_RATE or times > 1000:
        text = f"{per_second(mean)}/s; the median is {per_second(middle)}/s"
    elif times < 0.001:
        text = f"0/s; the median is {per_second(middle)}/s"
    distance = abs(mean - middle)
    is_far = distance > MIN_RATE and distance > MAX_SPREADS * spread
    is_multiple = times >= MIN_FACTOR or times <= 1 / MIN_FACTOR
    return _Deviation(pods >= MIN_PODS and is_far and is_multiple, text, position)


def _log8(times: float) -> float:
    return log(max(times, 1e-9), 8)


def _times(times: float) -> str:
    return number(round(times)) if times >= 10 else f"{times:.1f}" if times >= 1 else f"{times:.2f}"


def _count(shown: int, in_all: int) -> str:
    pods = f"{number(in_all)} pod{'' if in_all == 1 else 's'}"
    return pods if shown == in_all else f"{pods}, the {number(shown)} seen last shown"
