"""Checks whether the Kubernetes API answers, and which verb on pods is missing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from agent.attribution.pods.access import ApiAccess
from agent.doctor.check_result import CheckResult, fail, ok, warn

__all__ = ["judge_access"]

_NAME: Final = "Kubernetes API"
_NEEDED: Final = ("list", "watch")
_RULE: Final = "bind a ClusterRole to the agent's service account: get, list, watch on pods (the chart's rbac.create)"


def judge_access(access: ApiAccess) -> Iterator[CheckResult]:
    codes = set(access.statuses.values())
    if access.error or not access.statuses:
        cure = (
            "is it up, and reachable? Outside of a pod set kubernetes.kubeconfig; without a cluster kubernetes.enabled: false"
        )
        yield fail(_NAME, f"{access.server} {access.error}".strip(), cure)
    elif 401 in codes:
        cure = "the token or certificate is not accepted: see the service account, or the kubeconfig's user"
        yield fail(_NAME, f"{access.server} answers 401", cure)
    else:
        refused = [verb for verb, status in access.statuses.items() if status == 403]
        wanted = [verb for verb in refused if verb in _NEEDED]
        other = {verb: status for verb, status in access.statuses.items() if status not in (200, 403) and verb in _NEEDED}
        if wanted:
            yield fail(_NAME, f"{access.server} answers 403: may not {' or '.join(refused)} pods", _RULE)
        elif other:
            answers = ", ".join(f"{verb}: {status}" for verb, status in other.items())
            yield fail(_NAME, f"{access.server} answers {answers}", "the agent retries by itself; check the server's health")
        elif refused:
            yield warn(_NAME, f"{access.server}: may not get pods; list and watch are enough for the agent", _RULE)
        else:
            yield ok(_NAME, f"{access.server}: may get, list and watch pods")
