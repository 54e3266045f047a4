"""The pods of one workload side by side, on one scale and one stretch of time, and which of them is unlike the others.

Pure. Must not live here: a pod's own numbers (`pods`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from math import log
from statistics import median
from typing import Any, Final, NamedTuple

from collector.model import PointRow, Snapshot
from collector.views.pods.entries import pod_entries
from collector.views.pods.list_page import row_of
from collector.views.pods.sandboxes import without_counts
from collector.views.timeline.rates import POINTS, grid_of, line_of
from collector.views.timeline.sparkline import drawn, filled, level
from collector.views.times import clock, stamp
from collector.views.words import UNKNOWN, number, per_second, visible

__all__ = ["workload_model"]

WIDTH, HEIGHT = 220, 64  # of one drawing, in its own units
ENOUGH: Final = 3  # pods without which nobody is the odd one out
SPREADS: Final = 3.5  # times the usual distance from the median
_NORMAL: Final = 1.4826  # makes a median distance comparable with a standard deviation
TWOFOLD: Final = 2.0  # and at least so many times the median, or as many times below it
LEAST: Final = 0.05  # forks a second: less than 3 a minute is no difference


class _Odd(NamedTuple):
    is_odd: bool
    words: str
    place: float  # -1 to 1: how far from the median, on a scale that ends at eight times, or an eighth


def workload_model(snapshot: Snapshot, names: tuple[str, str, str, str], now: int) -> dict[str, Any]:
    """`names`: cluster, namespace, kind, name. The odd ones come first, then those that fork most. `now` in ns."""
    cluster, namespace, kind, name = names
    pods = [without_counts(pod) for pod in pod_entries(snapshot, now)]
    lines, within = _lines(snapshot, pods, now)
    means = [_mean(line) for line in lines]
    known = [mean for mean in means if mean is not None]
    middle = median(known) if known else 0.0
    spread = median([abs(mean - middle) for mean in known]) * _NORMAL if known else 0.0
    top = max([rate for line in lines for rate in line if rate is not None], default=0.0)
    usual = Counter(pod["top"][0]["comm"] for pod in pods if pod["top"]).most_common(1)
    rates = [pod["rate"] for pod in pods if pod["rate"] is not None]
    cells = []
    for pod, line, mean in zip(pods, lines, means, strict=True):
        odd = _odd(mean, middle, spread, len(known))
        first = pod["top"][0]["comm"] if pod["top"] else None
        other = bool(pod["top"] and usual and len(pods) >= ENOUGH and usual[0][1] > len(pods) / 2 and first != usual[0][0])
        cells.append(
            {
                **row_of(pod),
                "draw": drawn(line, top, WIDTH, HEIGHT),
                "fill": filled(line, top, WIDTH, HEIGHT),
                "mean": per_second(mean),
                "odd": odd.is_odd,
                "odd_words": odd.words,
                "at": f"{50 + 46 * odd.place:.1f}",
                "other_top": f"others mostly fork out of {visible(usual[0][0])}" if other else "",
                "order": (not odd.is_odd, -abs(odd.place) if odd.is_odd else -(mean or 0.0), pod["pod"] or ""),
            }
        )
    cells.sort(key=lambda cell: cell.pop("order"))
    return {
        "cluster": visible(cluster),
        "namespace": visible(namespace),
        "kind": visible(kind),
        "name": visible(name),
        "pods": cells,
        "count": _count(len(cells), snapshot.pods_in_all),
        "median": per_second(middle) if known else UNKNOWN,
        "median_y": f"{level(middle, top, HEIGHT):.1f}",
        "top": per_second(top),
        "range": within,
        "odd": sum(cell["odd"] for cell in cells),
        "few": 0 < len(known) < ENOUGH,
        "forks": number(sum(pod["processes"] or 0 for pod in pods)),
        "rate": per_second(round(sum(rates), 3)) if rates else UNKNOWN,
    }


def _lines(snapshot: Snapshot, pods: Sequence[Mapping[str, Any]], now: int) -> tuple[list[list[float | None]], str]:
    """The pods' rates on one grid, and from when to when it goes."""
    pod_of = {counter_source.id: counter_source.pod for counter_source in snapshot.counter_sources}
    points: dict[int | None, list[PointRow]] = defaultdict(list)
    for point in snapshot.points:
        points[pod_of.get(point.counter_source)].append(point)
    mine = [points[pod["key"]] if pod["observable"] else [] for pod in pods]
    grid = grid_of([point for some in mine for point in some], now)
    if grid is None:
        return [[] for _ in pods], ""
    until, length = grid
    lines = [line_of(some, now, grid) for some in mine]
    within = f"{clock(stamp(until - POINTS * length))[:8]} to {clock(stamp(until))[:8]} UTC"
    return [line[0] if line else [] for line in lines], within


def _mean(line: Sequence[float | None]) -> float | None:
    known = [rate for rate in line if rate is not None]
    return sum(known) / len(known) if known else None


def _odd(mean: float | None, middle: float, spread: float, pods: int) -> _Odd:
    """Far from the median, both measured by how far the others are, and as a multiple."""
    if mean is None:
        return _Odd(False, "no rates are known", 0.0)
    times = (mean + 1e-9) / (middle + 1e-9)
    place = max(-1.0, min(1.0, _log8(times)))
    if middle < LEAST and mean < LEAST:
        return _Odd(False, "as the median", 0.0)
    words = f"{_times(times)}× the median"  # noqa: RUF001
    if 1 / 1.1 < times < 1.1:
        return _Odd(False, "as the median", place)
    if middle < LEAST or times > 1000:
        words = f"{per_second(mean)}/s, the median being {per_second(middle)}/s"
    elif times < 0.001:
        words = "nothing, unlike the median"
    far = abs(mean - middle)
    is_odd = pods >= ENOUGH and far > LEAST and far > SPREADS * spread and (times >= TWOFOLD or times <= 1 / TWOFOLD)
    return _Odd(is_odd, words, place)


def _log8(times: float) -> float:
    return log(max(times, 1e-9), 8)


def _times(times: float) -> str:
    return number(round(times)) if times >= 10 else f"{times:.1f}" if times >= 1 else f"{times:.2f}"


def _count(shown: int, in_all: int) -> str:
    pods = f"{number(in_all)} pod{'' if in_all == 1 else 's'}"
    return pods if shown == in_all else f"{pods}, the {number(shown)} seen last shown"
