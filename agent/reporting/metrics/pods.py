"""Series for single pods: a bounded number, each as long as its pod is there; their counters never fall."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from agent.reporting.metrics.measures import PodCounts

__all__ = ["PodSeries"]


class Counts(NamedTuple):
    """Of one cgroup, or of a pod."""

    processes: int
    threads: int
    suppressed: int
    lost: int


_NONE: Final = Counts(0, 0, 0, 0)


@dataclass
class _Pod:
    """`gone`: what was counted in cgroups that are not there any more; a counter must not fall."""

    name: tuple[str, str]
    cgroups: dict[int, Counts] = field(default_factory=dict)
    gone: Counts = _NONE


class PodSeries:
    """`most`: how many pods have series. The first ones keep theirs until they are gone, so that no series comes and goes.

    `left_out`: pods that forked and have no series.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._pods: dict[str, _Pod] = {}
        self.left_out = 0

    def update(self, counted: Iterable[PodCounts]) -> None:
        """`counted`: of all cgroups of pods that there are."""
        by_pod: dict[str, list[PodCounts]] = {}
        for one in counted:
            if one.alive:
                by_pod.setdefault(one.uid, []).append(one)
        for uid in self._pods.keys() - by_pod.keys():
            del self._pods[uid]
        names = {pod.name for pod in self._pods.values()}
        self.left_out = 0
        for uid, cgroups in by_pod.items():
            pod, name = self._pods.get(uid), _name(cgroups)
            # Two pods can't have one name, but a hostile API can return that; a scrape with one series twice is refused.
            taken = name in names
            if pod is None:
                if len(self._pods) >= self._most or taken:
                    self.left_out += 1
                    continue
                pod = self._pods[uid] = _Pod(name)
            elif not taken:
                pod.name = name  # its forks can come before the API has reported it
            names.add(name)
            now = {one.cgroup: Counts(one.processes, one.threads, one.suppressed, one.lost) for one in cgroups}
            for cgroup in pod.cgroups.keys() - now.keys():
                pod.gone = _sum(pod.gone, pod.cgroups[cgroup])
            pod.cgroups = now

    def __iter__(self) -> Iterator[tuple[tuple[str, str], Counts]]:
        """Namespace and name, and what was counted."""
        for pod in self._pods.values():
            yield pod.name, _sum(pod.gone, *pod.cgroups.values())


def _name(cgroups: Sequence[PodCounts]) -> tuple[str, str]:
    return max((one.namespace, one.pod) for one in cgroups)  # where one cgroup has no namespace, another may


def _sum(*counts: Counts) -> Counts:
    return Counts(*map(sum, zip(*counts, strict=True)))
