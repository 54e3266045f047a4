"""Decides which forks and events a sink gets, by namespace, label and kind. Pure.

What is not selected is not sent, and is counted as filtered{select}. Parts of events are left out by `redaction`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase
from typing import NamedTuple

from agent.model import Attribution, Event
from agent.sinks.encoders.fragments import FragmentCache
from wire.events import GAP, KINDS, NODE_SUMMARY

__all__ = ["LabelRequirement", "Selection"]


class LabelRequirement(NamedTuple):
    """`values` None: any value. `must_match`: whether the label must be there with one of the values, or must not."""

    key: str
    values: frozenset[str] | None
    must_match: bool


class Selection:
    """`include` (empty: all) and `exclude`: namespaces, as shell patterns. `labels`: all must be met. `host`: whether what is
    in no pod is selected. `kinds`: of events. `selects_all_attributions`: nothing is left out by namespace, label or host.

    Namespace and labels of a pod are unknown until the API has named it: until then what must be so is not met, and what must
    not be so is met.
    """

    def __init__(
        self,
        include: Collection[str] = (),
        exclude: Collection[str] = (),
        labels: Collection[LabelRequirement] = (),
        *,
        host: bool = True,
        kinds: Collection[str] = KINDS,
    ) -> None:
        self._include = include
        self._exclude = exclude
        self._labels = labels
        self._host = host
        self._kinds = frozenset(kinds)
        self._attributions: FragmentCache[Attribution, bool] = FragmentCache(self._attribution)
        self.selects_all_attributions = host and not (include or exclude or labels)

    def selects_attribution(self, attribution: Attribution) -> bool:
        return self._attributions[attribution]

    def selects_kind(self, kind: str) -> bool:
        """Whether any events of this kind are selected."""
        return kind in self._kinds

    def selects_event(self, event: Event) -> bool:
        """Whether an event of the agent itself is selected, by its kind and its pod.

        Node summaries, and gaps that no cgroup is known of, belong to no pod: only `kinds` leaves them out. The same is true of
        gaps for what this sink has lost, since that had been selected.
        """
        kind = event["event"]
        if not self.selects_kind(kind):
            return False
        cgroup = event.get("cgroup")
        if kind == NODE_SUMMARY or (kind == GAP and (event.get("sink") is not None or cgroup is None or cgroup["id"] == 0)):
            return True
        k8s = event["k8s"]
        return self._matches(event["enrichment"]["state"] == "host", k8s["namespace"], k8s["labels"])

    def _attribution(self, attribution: Attribution) -> bool:
        namespace, labels = (attribution.pod.namespace, attribution.pod.labels) if attribution.pod else (None, None)
        return self._matches(attribution.state == "host", namespace, labels)

    def _matches(self, host: bool, namespace: str | None, labels: Mapping[str, str] | None) -> bool:
        if host:
            return self._host
        if self._include and not _any(namespace, self._include):
            return False
        if _any(namespace, self._exclude):
            return False
        labels = labels or {}
        return all(
            (key in labels if values is None else labels.get(key) in values) is must_match
            for key, values, must_match in self._labels
        )


def _any(namespace: str | None, patterns: Collection[str]) -> bool:
    return namespace is not None and any(fnmatchcase(namespace, pattern) for pattern in patterns)
