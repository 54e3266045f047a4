"""Tries each request that the agent makes of the Kubernetes API once, to see whether the API allows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from agent.attribution.pods.requests import REQUEST_ERRORS, connect, describe

__all__ = ["ApiAccess", "try_access"]

_REQUEST_S: Final = 10.0
_NO_SUCH_POD: Final = ("default", "forklore-doctor-asks")  # 404 for a client that may get pods, else 403


@dataclass(frozen=True)
class ApiAccess:
    """`server`: its URL. `statuses`: the answer's status for each RBAC verb on pods. `error`: why one is missing."""

    server: str = ""
    statuses: Mapping[str, int] = field(default_factory=dict)
    error: str | None = None


async def try_access(node: str, kubeconfig: Path | None, *, strict_x509: bool = False) -> ApiAccess:
    """`kubeconfig`, `strict_x509`: as for `connect`. Errors of the API and of its settings are returned, not raised."""
    selector, statuses, server, proxy = f"spec.nodeName={node}", dict[str, int](), "", None
    try:
        async with connect(kubeconfig, strict_x509=strict_x509) as requests:
            proxy = requests.proxy
            server, pods = requests.server, requests.pods
            answer = await pods(fieldSelector=selector, limit=1, timeout=_REQUEST_S)
            statuses["list"] = answer.status
            answer.close()
            answer = await pods(fieldSelector=selector, watch="true", resourceVersion="0", timeoutSeconds=1, timeout=_REQUEST_S)
            statuses["watch"] = answer.status
            answer.close()
            namespace, name = _NO_SUCH_POD
            answer = await requests.pod(namespace, name, timeout=_REQUEST_S)
            statuses["get"] = answer.status
            answer.close()
    except REQUEST_ERRORS as error:
        return ApiAccess(server, statuses, describe(error, proxy))
    return ApiAccess(server, statuses)
