"""Series of their own for pods: so many and no more, each as long as its pod is there, and never less than it was.

Must not live here: names of metrics.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from agent.reporting.metrics.measures import PodCounts

__all__ = ["PodSeries"]

Counts = tuple[int, int, int, int]  # processes, threads, suppressed, lost
_NONE: Counts = (0, 0, 0, 0)


@dataclass
class _Pod:
    """`gone`: what was counted in rows that are not there any more; a counter must not fall."""

    name: tuple[str, str]
    rows: dict[int, Counts] = field(default_factory=dict)
    gone: Counts = _NONE


class PodSeries:
    """`most`: pods that have series. Who came first keeps its place until it is gone, so that no series comes and goes.

    `left_out`: pods that forked and found no place.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._pods: dict[str, _Pod] = {}
        self.left_out = 0

    def update(self, counted: Iterable[PodCounts]) -> None:
        """Takes all rows that there are."""
        by_pod: dict[str, list[PodCounts]] = {}
        for row in counted:
            if row.alive:
                by_pod.setdefault(row.uid, []).append(row)
        for uid in self._pods.keys() - by_pod.keys():
            del self._pods[uid]
        names = {pod.name for pod in self._pods.values()}
        self.left_out = 0
        for uid, rows in by_pod.items():
            pod, name = self._pods.get(uid), _name(rows)
            # Two pods can't have one name, but a hostile API can say so; a scrape with one series twice is refused whole.
            taken = name in names
            if pod is None:
                if len(self._pods) >= self._most or taken:
                    self.left_out += 1
                    continue
                pod = self._pods[uid] = _Pod(name)
            elif not taken:
                pod.name = name  # its forks come before the API has named it
            names.add(name)
            now = {row.cgroup: (row.processes, row.threads, row.suppressed, row.lost) for row in rows}
            for cgroup in pod.rows.keys() - now.keys():
                pod.gone = _sum(pod.gone, pod.rows[cgroup])
            pod.rows = now

    def __iter__(self) -> Iterator[tuple[tuple[str, str], Counts]]:
        """Namespace and name, and what was counted."""
        for pod in self._pods.values():
            yield pod.name, _sum(pod.gone, *pod.rows.values())


def _name(rows: Sequence[PodCounts]) -> tuple[str, str]:
    return max((row.namespace, row.pod) for row in rows)  # where one row knows no namespace, another may


def _sum(*counts: Counts) -> Counts:
    processes, threads, suppressed, lost = map(sum, zip(*counts, strict=True))
    return processes, threads, suppressed, lost
