"""What of all this a sink gets: which subjects, which kinds of events. Pure.

What it takes out is not sent at all, and counted as filtered{select}. Must not live here: what leaves out a part of an event
(redaction).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase

from agent.model import Attribution, Event
from agent.sinks.encoders.fragments import ATTRIBUTIONS, Fragments
from wire.events import GAP, KINDS, NODE_SUMMARY

__all__ = ["Requirement", "Selection"]

Requirement = tuple[str, frozenset[str] | None, bool]
"""A label's key, the values it is compared with (None: any), and whether it must be one of them or must not."""


class Selection:
    """`include` (empty: all) and `exclude`: namespaces, as the shell's patterns. `labels`: all must hold. `host`: what is in no
    pod. `kinds`: of events.

    Of a pod that the API has not named yet neither namespace nor labels are known: what must be so is not met, what must not be
    so is. `all_subjects`: none is taken out.
    """

    def __init__(
        self,
        include: Collection[str] = (),
        exclude: Collection[str] = (),
        labels: Collection[Requirement] = (),
        *,
        host: bool = True,
        kinds: Collection[str] = KINDS,
    ) -> None:
        self._include = include
        self._exclude = exclude
        self._labels = labels
        self._host = host
        self._kinds = frozenset(kinds)
        self._attributions: Fragments[Attribution, bool] = Fragments(self._attribution, ATTRIBUTIONS)
        self.selects_all_attributions = host and not (include or exclude or labels)

    def selects_attribution(self, attribution: Attribution) -> bool:
        return self._attributions[attribution]

    def selects_kind(self, kind: str) -> bool:
        """Whether events of this kind are asked for at all."""
        return kind in self._kinds

    def selects_event(self, event: Event) -> bool:
        """Of an event of the agent's own: is its kind asked for, and what it tells of?

        The node's heartbeat, and what is missing and is nobody's in particular, are no subject's: only `kinds` takes them out.
        Nor does anything else take out what this sink itself has lost: it had been chosen, whoever it was counted for.
        """
        kind = event["event"]
        if not self.selects_kind(kind):
            return False
        cgroup = event.get("cgroup")
        if kind == NODE_SUMMARY or (kind == GAP and (event.get("sink") is not None or cgroup is None or cgroup["id"] == 0)):
            return True
        k8s = event["k8s"]
        return self._holds(event["enrichment"]["state"] == "host", k8s["namespace"], k8s["labels"])

    def _attribution(self, attribution: Attribution) -> bool:
        namespace, labels = (attribution.pod.namespace, attribution.pod.labels) if attribution.pod else (None, None)
        return self._holds(attribution.state == "host", namespace, labels)

    def _holds(self, host: bool, namespace: str | None, labels: Mapping[str, str] | None) -> bool:
        if host:
            return self._host
        if self._include and not _any(namespace, self._include):
            return False
        if _any(namespace, self._exclude):
            return False
        labels = labels or {}
        return all(
            (key in labels if values is None else labels.get(key) in values) is wanted for key, values, wanted in self._labels
        )


def _any(namespace: str | None, patterns: Collection[str]) -> bool:
    return namespace is not None and any(fnmatchcase(namespace, pattern) for pattern in patterns)
