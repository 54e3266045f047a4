"""What was counted in each pod, by attribution: for /v1/pods and for the series of pods."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from agent.interfaces import AttributionSource
from agent.ledger import Account, totals
from agent.model import Counters
from agent.reporting.metrics import PodCounts

__all__ = ["pod_counts", "pods_json"]


def pods_json(
    counters_by_cgroup: Mapping[int, Counters], attributions: AttributionSource, accounts: Mapping[str, Account]
) -> dict[str, Any]:
    """One entry for each container. `accounts`: of the stream, by sink."""
    entries: dict[tuple[str | None, str | None], dict[str, Any]] = {}
    for cgroup, counters in counters_by_cgroup.items():
        attribution = attributions.resolve_now(cgroup)
        container = attribution.container
        entry = entries.setdefault(
            (attribution.pod_uid, container.id if container else None),
            {
                "namespace": attribution.pod.namespace if attribution.pod else None,
                "pod": attribution.pod.name if attribution.pod else None,
                "pod_uid": attribution.pod_uid,
                "container": container.name if container else None,
                "container_id": container.id if container else None,
                "kind": container.kind if container else None,
                **dict.fromkeys(totals([]), 0),
                "delivered": dict.fromkeys(accounts, 0),
            },
        )
        for name, count in totals([counters]).items():
            entry[name] += count
        for name, account in accounts.items():
            entry["delivered"][name] += account.delivered[cgroup]
    return {"pods": list(entries.values())}


def pod_counts(
    counters_by_cgroup: Mapping[int, Counters], attributions: AttributionSource, alive: Collection[str]
) -> Iterator[PodCounts]:
    """Of each cgroup that is a pod's. `alive`: uids of the pods that are there."""
    for cgroup, counters in counters_by_cgroup.items():
        attribution = attributions.resolve_now(cgroup)
        uid, pod = attribution.pod_uid, attribution.pod
        if uid is not None:
            counts = totals([counters])
            namespace, name = (pod.namespace, pod.name) if pod else ("", uid)
            chosen = [counts[what] for what in ("processes", "threads", "suppressed", "lost")]
            yield PodCounts(uid, namespace, name, cgroup, uid in alive, *chosen)
